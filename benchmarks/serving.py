"""Serving: milliseconds from text to label, for one text and for 32, beside ONNX Runtime and transformers.

One model everywhere: the encoder of `--init` with a head of two classes, whose weights are drawn once. The
candidates are what a user would run, tokenization included and padded to the longest of the batch:

  SavedModel     kbert's export in a session of TensorFlow, as TF Serving runs it
  REST, gRPC     the same behind serve.py, asked over one connection that stays open
  SavedModel int8, ONNX Runtime int8   the same in 8 bits; ONNX Runtime by its dynamic quantization
  ONNX Runtime   the model written by torch.onnx.export, float32, with the tokenizer of transformers
  transformers   torch in float32, and in bfloat16 by autocast, with that tokenizer

Each has a process of its own with `--threads` threads, and they take turns, a round each; the others wait.
Before that the probabilities of all are compared. Median and 95th percentile over the rounds.

  python benchmarks/serving.py --init=FOLDER --text=../shared/data/sst2/dev.tsv
"""

import json
import os
import shutil
import sys
import tempfile
import time

import numpy as np
from absl import flags, logging
from serving_candidates import CANDIDATES, ONNX, lacking, too_slow, write_models  # beside this script
from speed.cases import sentences_of
from speed.turns import Candidates

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Hugging Face folder of an encoder, with vocab.txt.", required=True)
flags.DEFINE_string("text", None, "TSV with a header and a column `sentence`.", required=True)
flags.DEFINE_integer("rows", 256, "Texts of a round.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Rounds of each candidate.", lower_bound=1)
flags.DEFINE_integer("threads", os.cpu_count(), "Of each candidate.", lower_bound=1)
flags.DEFINE_float("tolerance", 1e-4, "Of probabilities; bfloat16 a hundred times, int8 two thousand.")
flags.DEFINE_string("role", None, "A candidate (used by the script itself).")
flags.DEFINE_string("work", None, "Folder of the models (used by the script itself).")

SIZES = (1, 32)


def read_texts():
    """The first rows of the file."""
    return sentences_of(FLAGS.text)[: FLAGS.rows]


def work_off():
    """A candidate: says its probabilities, then runs a round for each batch size that comes in a line."""
    texts = read_texts()
    with CANDIDATES[FLAGS.role](FLAGS.work, FLAGS.threads) as answer:
        batches = {size: [texts[i : i + size] for i in range(0, len(texts), size)] for size in SIZES}
        said = [np.asarray(answer(batch)).tolist() for batch in batches[1]]
        for batch in batches[SIZES[-1]]:  # every width once, before anything is timed
            answer(batch)
        print(json.dumps([row for rows in said for row in rows]), flush=True)
        for line in sys.stdin:
            seconds = []
            for batch in batches[int(line)]:
                started = time.perf_counter()
                answer(batch)
                seconds.append(time.perf_counter() - started)
            print(json.dumps(seconds), flush=True)


def check_equal(said):
    """Compares what the candidates said at first.

    Raises:
        InputError: They are not those of one model.
    """
    said = {name: np.array(values) for name, values in said.items()}
    for name, values in said.items():
        gap = float(np.abs(values - said["SavedModel"]).max())
        logging.info("%s: probabilities within %.1g of the SavedModel's", name, gap)
        if not gap <= FLAGS.tolerance * (100 if "bfloat16" in name else 2000 if "int8" in name else 1):
            raise InputError(f"{name} answers otherwise, by {gap:.2g}; the models are not the same")


def take_turns(running):
    """(name, batch size) -> seconds of each request."""
    seconds = {(name, size): [] for size in SIZES for name in running.commands}
    for round_ in range(FLAGS.rounds):
        for size in SIZES:
            for name in running.commands:
                seconds[name, size] += running.turn(name, str(size))
        logging.info("round %d of %d", round_ + 1, FLAGS.rounds)
    return seconds


def main():
    """Prints a table of milliseconds."""
    if FLAGS.role:
        return work_off()
    missing = lacking(ONNX)
    if missing:
        raise InputError(f"{', '.join(missing)} cannot be imported; pip install '.[bench]' brings them")
    logs = tempfile.mkdtemp(prefix="serving-logs-")
    with tempfile.TemporaryDirectory() as work:
        write_models(FLAGS.init, work, read_texts())
        again = [sys.executable, __file__, *sys.argv[1:], f"--work={work}"]
        commands = {name: [*again, f"--role={name}"] for name in CANDIDATES if name not in too_slow()}
        with Candidates(commands, logs) as running:
            check_equal(running.introductions)
            seconds = take_turns(running)
    shutil.rmtree(logs)  # Where one failed they stay, for the error names its file.
    print(f"{'':24}" + "".join(f"{f'{size} text(s): median':>20}{'95 %':>8}" for size in SIZES) + "   ms")
    for name in commands:
        cells = [1000 * np.array(seconds[name, size]) for size in SIZES]
        print(f"{name:24}" + "".join(f"{np.median(c):20.2f}{np.percentile(c, 95):8.2f}" for c in cells))


if __name__ == "__main__":
    entry.run(main)
