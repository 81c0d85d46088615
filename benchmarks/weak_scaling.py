"""Weak scaling: two worker processes of one core each against one, with the same batch for each worker.

Real tokens per second of the whole run, as a share of twice those of one process, for several sizes. A
control, two processes that do not know of each other, shows how much of the loss is the machine's: two busy
cores share its memory and its caches. All train on packed rows of the records, as `pretrain.py` does, and the
two workers are started by `launch_local.py`. Rounds alternate; medians.

  python benchmarks/weak_scaling.py --data_dir=RECORDS --vocab=vocab.txt --sizes=tiny,mini
"""

import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Records of build_pretraining_data.py.", required=True)
flags.DEFINE_string("vocab", None, "Their vocabulary.", required=True)
flags.DEFINE_list("sizes", "tiny,mini", "Sizes of the encoder; two or more, for the fit of the model.")
flags.DEFINE_integer("batch_size", 32, "Rows of a batch and worker.", lower_bound=1)
flags.DEFINE_integer("accumulate", 1, "Batches of a step, between two exchanges.", lower_bound=1)
flags.DEFINE_integer("row_length", 128, "Pieces of a row.", lower_bound=8)
flags.DEFINE_integer("steps", 12, "Steps that are timed in each run.", lower_bound=2)
flags.DEFINE_integer("rounds", 2, "Runs of each candidate.", lower_bound=1)
flags.DEFINE_list("workers", "8,64,256", "Numbers of workers to predict.")
flags.DEFINE_integer("core", None, "Core of the process (used by the script itself).")

SCRIPT = pathlib.Path(__file__).resolve()
LAUNCHER = SCRIPT.parent.parent / "tf_scripts/launch_local.py"
WARMUP_STEPS = 2


def run(number, size):
    """Trains on one core; as one of several workers where TF_CONFIG says so. Prints seconds and tokens.

    Args:
        number: Of the core, among those that this process may use.
        size: Of the encoder.
    """
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[number]})
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from kbert import BertConfig, training
    from kbert.models import BertMaskedLM, MaskedLMObjective
    from kbert.pretraining_records import Records
    from kbert.text import Vocab

    strategy = training.strategy_for("multi_worker" if "TF_CONFIG" in os.environ else "default")
    keras.utils.set_random_seed(1)
    vocab, ends, tokens = Vocab.read(FLAGS.vocab), [], []

    class Clock(keras.callbacks.Callback):
        """The time after each step, and the tokens of all workers in it."""

        def on_train_batch_end(self, batch, logs=None):
            ends.append(time.perf_counter())
            tokens.append(logs["tokens"])

    with strategy.scope():
        model = BertMaskedLM(BertConfig.preset(size, vocab_size=len(vocab)), dtype="mixed_bfloat16")
        model.build()
        records = Records(
            FLAGS.data_dir,
            vocab,
            FLAGS.batch_size * strategy.num_replicas_in_sync,
            layout="packed",
            row_length=FLAGS.row_length,
        )
        training.fit(
            model,
            training.AdamW(1e-4),
            MaskedLMObjective(),
            records.training_batches(1),
            steps_per_epoch=WARMUP_STEPS + FLAGS.steps,
            callbacks=[Clock()],
            steps_per_call=1,
            accumulate=FLAGS.accumulate,
            counts={"tokens": lambda inputs: tf.reduce_sum(inputs["padding_mask"])},
        )
    timed = ends[WARMUP_STEPS - 1 :]
    found = {
        "seconds": [later - earlier for earlier, later in zip(timed, timed[1:], strict=False)],
        "tokens": sum(tokens[WARMUP_STEPS:]),
        "gradient_bytes": 4 * model.count_params(),
    }
    if training.is_chief(strategy):
        print("FOUND " + json.dumps(found))


def start(size, core, launcher=()):
    """A run in a process of its own."""
    command = [sys.executable, *launcher, str(SCRIPT), *sys.argv[1:], f"--sizes={size}"]
    command += [] if core is None else [f"--core={core}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def found_by(processes):
    """What they measured, when all have ended."""
    outputs = [process.communicate()[0] for process in processes]
    for process in processes:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return [json.loads(output.split("FOUND ")[1].splitlines()[0]) for output in outputs]


def rate(found):
    """Real tokens per second of all that ran at once."""
    return sum(one["tokens"] / sum(one["seconds"]) for one in found)


def measure(size):
    """One process, two apart and two together, in turn."""
    launcher = (str(LAUNCHER), "--workers=2", "--")
    runs = {
        "one": lambda: [start(size, 0)],
        "apart": lambda: [start(size, core) for core in range(2)],
        "together": lambda: [start(size, None, launcher)],
    }
    rates, steps = {name: [] for name in runs}, {name: [] for name in runs}
    for _ in range(FLAGS.rounds):
        for name, begin in runs.items():
            found = found_by(begin())
            rates[name].append(rate(found))
            steps[name].append(statistics.median(found[0]["seconds"]))
            logging.info("%s, %s: %.0f tokens/s", size, name, rates[name][-1])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "tokens_per_second": rates,
        "efficiency": medians["together"] / (2 * medians["one"]),
        "control": medians["apart"] / (2 * medians["one"]),
        "step_seconds": {name: statistics.median(values) for name, values in steps.items()},
        "gradient_bytes": found[0]["gradient_bytes"],
        "deviation": statistics.pstdev(found[0]["seconds"]),
    }


def fitted(exposed):
    """Seconds of latency and bytes per second of the link, from what two workers add to a step.

    A ring of two sends V = 2·(1/2)·bytes and waits 2·α: exposed = V/B + 2·α, a straight line over V.

    Args:
        exposed: Pairs of gradient bytes and seconds, of two sizes at least.
    """
    sizes, seconds = zip(*exposed, strict=True)
    slope, intercept = statistics.linear_regression(sizes, seconds)
    return max(0.0, intercept / 2), 1 / slope if slope > 0 else math.inf


def predicted(workers, step, gradient_bytes, latency, bandwidth, deviation=0.0):
    """E(W) of the limit model: the share of W times one worker's rate, without overlap.

    t / (t + V/B + 2·(W-1)·α + σ·√(2·ln W)), V = 2·(W-1)/W · bytes of the gradient: each worker sends and
    receives that much, and waits for its neighbour 2·(W-1) times; the slowest of W workers sets the pace.
    """
    volume = 2 * (workers - 1) / workers * gradient_bytes
    waiting = volume / bandwidth + 2 * (workers - 1) * latency + deviation * math.sqrt(2 * math.log(workers))
    return step / (step + waiting)


def main():
    """Prints one JSON object."""
    task = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task")
    if task or FLAGS.core is not None:
        run(task["index"] if task else FLAGS.core, FLAGS.sizes[0])
        return
    if len(os.sched_getaffinity(0)) < 2:
        raise InputError("one core: two processes of one core each need two")
    results = {size: measure(size) for size in FLAGS.sizes}
    exposed = [
        (row["gradient_bytes"], row["step_seconds"]["together"] - row["step_seconds"]["apart"])
        for row in results.values()
    ]
    latency, bandwidth = fitted(exposed) if len(exposed) > 1 else (0.0, exposed[0][0] / exposed[0][1])
    for row in results.values():
        row["predicted"] = {
            workers: predicted(
                int(workers),
                row["step_seconds"]["apart"],
                row["gradient_bytes"],
                latency,
                bandwidth,
                row["deviation"],
            )
            for workers in FLAGS.workers
        }
    print(json.dumps({"latency_seconds": latency, "bytes_per_second": bandwidth, **results}))


if __name__ == "__main__":
    entry.run(main)
