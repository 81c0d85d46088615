"""How fast kbert is, beside Keras Hub, transformers and ONNX Runtime: all cases, or some, in one command.

Each candidate has a process of its own and starts from the same weights. First their hidden states are
compared. Then they take turns, A B C A B C, on the same rows, while the others wait; the first turns, in
which graphs are traced and memory is taken, are left out. Between turns the rate of large matrix products is
measured, so that a figure can be seen as a share of what the machine could do in that minute.

  python benchmarks/run.py --init=FOLDER --data=../shared/data --output=FOLDER
  python benchmarks/run.py --init=FOLDER --data=../shared/data --output=FOLDER --cases=train-sst2 --rounds=7

In the folder are then results.json, table.txt and speed.png (extra `kbert[plots]`).
"""

import json
import os
import pathlib
import sys

from absl import flags, logging
from speed import cases, report, training  # beside this script
from speed.turns import Candidates, Turns

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Hugging Face folder of an encoder, with vocab.txt.", required=True)
flags.DEFINE_string("data", None, "Folder of the data sets.", required=True)
flags.DEFINE_string("base", None, "Such a folder of size base; default: random weights.")
flags.DEFINE_string("output", None, "Folder for the results.", required=True)
flags.DEFINE_list("cases", list(cases.TRAINING), "What is timed.")
flags.DEFINE_list("candidates", None, "Some of the candidates; default: all.")
flags.DEFINE_integer("rounds", 5, "Turns that are timed.", lower_bound=1)
flags.DEFINE_integer("warmup", 2, "Turns before them.", lower_bound=0)
flags.DEFINE_integer("steps", None, "Of a turn; default: as many as suit the case.", lower_bound=1)
flags.DEFINE_integer("threads", os.cpu_count(), "Of each candidate.", lower_bound=1)
flags.DEFINE_string("role", None, "A candidate (used by the script itself).")


def command(case, role):
    """Of the process of a candidate."""
    return [sys.executable, __file__, *sys.argv[1:], f"--cases={case}", f"--role={role}"]


def compare(name):
    """Runs one case, and gives its results."""
    case = cases.TRAINING[name]
    wanted = FLAGS.candidates or case.candidates
    chosen = [who for who in training.installed(case.candidates) if who in wanted]
    if not chosen:
        raise InputError(f"{name} has none of {', '.join(wanted)}; it has {', '.join(case.candidates)}")
    rows = cases.rows_of(case, FLAGS.data, FLAGS.steps or case.steps)
    init = training.encoder_folder(case, FLAGS)
    logs = pathlib.Path(FLAGS.output, "logs", name)
    logs.mkdir(parents=True, exist_ok=True)
    commands = {who: command(name, who) for who in (*chosen, training.PEAK)}
    with Candidates(commands, str(logs)) as running:
        training.check_equal(running.introductions)
        turns = running.rounds(FLAGS.rounds, FLAGS.warmup)
    return training.results(case, init, rows, running.introductions, turns)


def main():
    """Prints the table."""
    unknown = [name for name in FLAGS.cases if name not in cases.TRAINING]
    if unknown:
        raise InputError(f"--cases={','.join(unknown)} is not known; choose of {', '.join(cases.TRAINING)}")
    if FLAGS.role:
        return training.work_off(cases.TRAINING[FLAGS.cases[0]], FLAGS, Turns())
    os.makedirs(FLAGS.output, exist_ok=True)
    results = {"machine": report.machine(), "cases": {}}
    for name in FLAGS.cases:
        results["cases"][name] = compare(name)
        logging.info("%s done", name)
        # After each case: what was measured is not lost if a later one fails.
        report.write(FLAGS.output, results)
    print(json.dumps(results["machine"]))
    print(report.table(results["cases"]))


if __name__ == "__main__":
    entry.run(main)
