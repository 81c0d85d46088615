"""Activation recompute: peak memory and time of training steps with `remat` and without, a process for each.

The same seeds, batches and starting weights for both; the losses must agree. Memory is the highest resident
set of the process, less what it holds just before the first step: model, optimizer and libraries are in it
either way. The first step is traced and not timed.

  python benchmarks/remat_memory.py --size=mini --batch_size=8 --length=512
"""

import json
import resource
import statistics
import subprocess
import sys
import time

from absl import flags

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_string("size", "mini", "Size of the encoder, tiny to large.")
flags.DEFINE_integer("batch_size", 8, "Rows of a batch.", lower_bound=1)
flags.DEFINE_integer("length", 512, "Pieces in each row.", lower_bound=2)
flags.DEFINE_integer("steps", 4, "Training steps that are timed.", lower_bound=1)
flags.DEFINE_enum("only", None, ["plain", "remat"], "One of the two runs (used by the script itself).")

MIB = 2**20


def run(remat):
    """Trains a classifier for some steps, and prints the figures as one line of JSON."""
    import keras
    import numpy as np
    import tensorflow as tf

    from kbert import BertConfig, training
    from kbert.models import BertClassifier, ClassificationObjective

    keras.utils.set_random_seed(1)
    model = BertClassifier(BertConfig.preset(FLAGS.size, max_length=max(512, FLAGS.length)), 2, remat=remat)
    model.build()
    rng = np.random.default_rng(1)
    shape = (FLAGS.batch_size, FLAGS.length)
    inputs = {
        "token_ids": rng.integers(0, model.config.vocab_size, shape).astype("int32"),
        "padding_mask": np.ones(shape, "int32"),
    }
    targets = {"label": (np.arange(FLAGS.batch_size) % 2).astype("int32")}
    times = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            times.append(time.perf_counter())

    optimizer = training.AdamW(1e-4)
    optimizer.build(model.trainable_variables)
    before = resident()
    logs = training.fit(
        model,
        optimizer,
        ClassificationObjective(),
        tf.data.Dataset.from_tensors((inputs, targets)).repeat(),
        steps_per_epoch=FLAGS.steps + 1,
        callbacks=[Clock()],
        steps_per_call=1,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # In KiB, on Linux.
    seconds = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    figures = {
        "peak_mib": round(peak / MIB),
        "step_mib": round((peak - before) / MIB),
        "step_seconds": round(statistics.median(seconds), 3),
        "loss": logs[0]["loss"],
    }
    print(json.dumps(figures))


def resident():
    """Bytes of memory that the process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main():
    """Prints one JSON object."""
    if FLAGS.only:
        run(FLAGS.only == "remat")
        return
    figures = {}
    for name in ("plain", "remat"):
        output = subprocess.run(
            [sys.executable, *sys.argv, f"--only={name}"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        figures[name] = json.loads(output.splitlines()[-1])
    figures["memory_ratio"] = round(figures["remat"]["step_mib"] / figures["plain"]["step_mib"], 3)
    print(json.dumps({"size": FLAGS.size, "batch_size": FLAGS.batch_size, "length": FLAGS.length, **figures}))


if __name__ == "__main__":
    entry.run(main)
