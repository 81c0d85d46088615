"""Loading a checkpoint: seconds after the imports, and the highest memory against the size of the model.

A Hugging Face folder of a randomly weighted BERT is written to a temporary place, and loaded in fresh
processes, one after the other. The file is in the page cache by then: what is timed is the work, not the
disk. Memory is counted from what the process holds after the imports.

  python benchmarks/load_checkpoint.py --size=base --rounds=3
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time

from absl import flags
from speed.turns import peak_mib  # beside this script

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_string("size", "base", "Size of the encoder, tiny to large.")
flags.DEFINE_integer("rounds", 3, "Processes that load it.", lower_bound=1)
flags.DEFINE_string("folder", None, "What to load (used by the script itself).")


def write_checkpoint(folder):
    """A pretrainer of the given size, in Hugging Face's form."""
    from pathlib import Path

    from kbert import BertConfig
    from kbert.checkpoints import huggingface
    from kbert.models import BertPretrainer

    model = BertPretrainer(BertConfig.preset(FLAGS.size))
    model.build()
    huggingface.write(Path(folder), model)


def load_checkpoint(folder):
    """Loads it, and prints the figures as one line of JSON."""
    from kbert import checkpoints

    before = peak_mib()
    started, cpu_started = time.perf_counter(), time.process_time()
    model = checkpoints.load(folder)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = peak_mib() - before
    size = 4 * model.count_params() / 2**20
    figures = {"seconds": seconds, "cpu_seconds": cpu_seconds, "model_mib": size}
    figures |= {"peak_mib": peak, "peak_over_model": peak / size}
    print(json.dumps(figures))


def main():
    """Prints one JSON object: the median of each figure."""
    if FLAGS.folder:
        load_checkpoint(FLAGS.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(folder)
        runs = []
        for _ in range(FLAGS.rounds):
            command = [sys.executable, __file__, f"--folder={folder}"]
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            runs.append(json.loads(output.splitlines()[-1]))
    medians = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}
    print(json.dumps({**medians, "all_seconds": [round(run["seconds"], 3) for run in runs]}, indent=2))


if __name__ == "__main__":
    entry.run(main)
