"""Load on serve.py: many clients at once for a while; errors, latency, throughput, and the server's memory.

Each client is a thread with a connection of its own, that sends the next text as soon as it has its answer:
half of them over REST, half over gRPC, every eighth request with eight texts. All run in one process beside
the server's, on the same machine, so that they take a part of its processors. Anything but an answer is an
error, "too busy" too.

  python benchmarks/serving_load.py --model=saved_models/mine --text=../shared/data/sst2/dev.tsv
"""

import itertools
import json
import threading
import time

import numpy as np
from absl import flags, logging
from serve_process import ServeProcess, grpc_client, rest_client  # beside this script

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "Folder of versions with the input `text`.", required=True)
flags.DEFINE_string("text", None, "File of texts, one a line; of a TSV file its first column.", required=True)
flags.DEFINE_integer("clients", 64, "Clients at once.", lower_bound=2)
flags.DEFINE_float("seconds", 60.0, "How long.", lower_bound=1)

#: Of this many requests of a client one has as many texts; the others have one.
BATCH = 8
#: Before the clock starts: each buffer and each shape takes its first memory.
WARMUP_SECONDS = 5.0


class Crowd:
    """The clients; `seconds` has the time of each answer since `start_clock`, `errors` what went wrong."""

    def __init__(self, server, texts):
        self.seconds, self.texts_answered, self.errors = [], 0, []
        self._lock, self._end = threading.Lock(), threading.Event()
        self._counting = False
        kinds = itertools.cycle([rest_client, grpc_client])
        self._threads = [
            threading.Thread(target=self._run, args=(next(kinds)(server), texts, number), daemon=True)
            for number in range(FLAGS.clients)
        ]
        for thread in self._threads:
            thread.start()

    def start_clock(self):
        """Counts from now on."""
        self._counting = True

    def stop(self):
        """Lets each have its last answer."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, ask, texts, number):
        for turn in itertools.count(number):
            if self._end.is_set():
                return
            first, count = turn * FLAGS.clients, 1 if turn % BATCH else BATCH
            batch = [texts[place % len(texts)] for place in range(first, first + count)]
            started = time.perf_counter()
            try:
                ask(batch)
            except Exception as error:  # whatever it is, it counts
                with self._lock:
                    self.errors.append(f"{type(error).__name__}: {error}")
                continue
            took = time.perf_counter() - started
            with self._lock:
                if self._counting:
                    self.seconds.append(took)
                    self.texts_answered += len(batch)


def measure(server, texts):
    """The figures, as a dict for JSON."""
    crowd = Crowd(server, texts)
    time.sleep(min(WARMUP_SECONDS, FLAGS.seconds))
    crowd.start_clock()
    started, memory = time.perf_counter(), [server.resident_mib()]
    for part in ("middle", "end"):
        time.sleep(FLAGS.seconds / 2)
        memory.append(server.resident_mib())
        logging.info("%s: %d requests answered, %d errors", part, len(crowd.seconds), len(crowd.errors))
    elapsed, seconds, answered = time.perf_counter() - started, list(crowd.seconds), crowd.texts_answered
    crowd.stop()
    milliseconds = 1000 * np.array(seconds or [np.nan])
    return {
        "clients": FLAGS.clients,
        "requests": len(seconds),
        "errors": len(crowd.errors),
        "first_errors": crowd.errors[:3],
        "requests_per_second": round(len(seconds) / elapsed, 1),
        "texts_per_second": round(answered / elapsed, 1),
        **{f"p{p}_ms": round(float(np.percentile(milliseconds, p)), 1) for p in (50, 95, 99)},
        "resident_mib": dict(zip(("start", "middle", "end"), map(round, memory), strict=True)),
    }


def main():
    """Prints the figures as one line of JSON; exit code 1 if there was an error."""
    with open(FLAGS.text, encoding="utf-8") as file:
        texts = [line.rstrip("\n").split("\t")[0] for line in file if line.strip()]
    with ServeProcess(FLAGS.model) as server:
        figures = measure(server, texts)
    print(json.dumps(figures))
    return 1 if figures["errors"] else 0


if __name__ == "__main__":
    entry.run(main)
