"""How fast kbert is, beside Keras Hub, transformers and ONNX Runtime: all cases, or some, in one command.

Each candidate has a process of its own and starts from the same weights. First their hidden states are
compared. Then they take turns, A B C A B C, on the same rows, while the others wait; the first turns, in
which graphs are traced and memory is taken, are left out. Where rows are so long that memory does not hold
all at once, or with --apart, each starts anew for its turns. Between turns the rate of large matrix products
is measured, so that a figure can be seen as a share of what the machine could do in that minute. "With
padding" counts the tokens of the batches as they come to the model, whether it leaves their padding out or
not.

  python benchmarks/run.py --init=FOLDER --data=../shared/data --output=FOLDER
  python benchmarks/run.py --init=FOLDER --data=../shared/data --output=FOLDER --cases=train-sst2 --rounds=7

In the folder are then results.json, table.txt and speed.png (extra `plots`), with the cases of earlier runs.
"""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
from absl import flags, logging
from serving_candidates import ONNX, TORCH, lacking, too_slow  # beside this script
from speed import cases, inference, limits, report, training
from speed.turns import Candidates, Turns

from kbert import entry
from kbert.errors import InputError

CASES = {**cases.TRAINING, **cases.INFERENCE}
#: The packages that a candidate needs besides kbert's own, by the beginning of its name.
PACKAGES = {"Keras Hub": ("keras_hub",), "transformers": TORCH, "ONNX Runtime": ONNX}

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Hugging Face folder of an encoder, with vocab.txt.", required=True)
flags.DEFINE_string("data", None, "Folder of the data sets.", required=True)
flags.DEFINE_string("base", None, "Such a folder of size base; default: random weights.")
flags.DEFINE_string("output", None, "Folder for the results.", required=True)
flags.DEFINE_list("cases", list(CASES), "What is timed.")
flags.DEFINE_list("candidates", None, "Some of the candidates; default: all.")
flags.DEFINE_integer("rounds", 5, "Turns that are timed.", lower_bound=1)
flags.DEFINE_integer("warmup", 2, "Turns before them.", lower_bound=0)
flags.DEFINE_integer("steps", None, "Steps or requests of a turn; default: as suits the case.", lower_bound=1)
flags.DEFINE_integer("threads", os.cpu_count(), "Cores of each candidate.", lower_bound=1)
flags.DEFINE_bool("apart", False, "Has one candidate in memory at a time; always so where rows are long.")
flags.DEFINE_string("role", None, "A candidate (used by the script itself).")


def command(case, role):
    """Of the process of a candidate."""
    return [sys.executable, __file__, *sys.argv[1:], f"--cases={case}", f"--role={role}"]


def kind_of(case):
    """The module that runs a case."""
    return training if isinstance(case, cases.TrainingCase) else inference


def chosen(name):
    """The candidates of a case that were asked for, whose packages are there; others are logged.

    Without --candidates those are left out, too, that this processor cannot run in any useful time.
    """
    missing = {who: lacking(packages) for who, packages in PACKAGES.items() if lacking(packages)}
    for who, packages in missing.items():
        logging.info(
            "without %s: %s missing; pip install '.[bench]' in the source folder", who, ", ".join(packages)
        )
    there = CASES[name].candidates
    wanted = [who for who in there if not FLAGS.candidates or who in FLAGS.candidates]
    if not wanted:
        raise InputError(f"{name} has none of {', '.join(FLAGS.candidates)}; it has {', '.join(there)}")
    there = [who for who in wanted if not who.startswith(tuple(missing))]
    return there if FLAGS.candidates else [who for who in there if who not in too_slow()]


def prepare(name):
    """Makes what the candidates load."""
    if kind_of(CASES[name]) is training:
        training.encoder_folder(CASES[name], FLAGS)
    else:
        write_classifier()


@functools.cache
def write_classifier():
    """Makes the classifier that all inference cases share, anew in each run: --init may be another."""
    shutil.rmtree(inference.models_folder(FLAGS), ignore_errors=True)
    subprocess.run(command(next(iter(cases.INFERENCE)), inference.PREPARE), check=True)


def precision(name):
    """What a candidate computes in, as its name says."""
    return next((kind for kind in ("bfloat16", "int8") if kind in name), "float32")


def check_equal(introductions, tolerances):
    """Compares what the candidates said at first: hidden states, or probabilities.

    Raises:
        InputError: They are not those of one model.
    """
    said = {who: np.array(values["compared"]) for who, values in introductions.items() if who != limits.PEAK}
    first = next((who for who in said if precision(who) == "float32"), next(iter(said)))
    for who, values in said.items():
        gap = float(np.abs(values - said[first]).max())
        if not gap <= max(tolerances[precision(who)], tolerances[precision(first)]):
            raise InputError(f"{who} and {first} answer otherwise, by {gap:.2g}; they are not the same model")


def compare(name):
    """Runs one case, and gives its results."""
    case, kind = CASES[name], kind_of(CASES[name])
    prepare(name)
    logs = pathlib.Path(FLAGS.output, "logs", name)
    logs.mkdir(parents=True, exist_ok=True)
    commands = {who: command(name, who) for who in (*chosen(name), limits.PEAK)}
    if FLAGS.apart or getattr(case, "apart", False):
        introductions, turns = one_by_one(commands, logs)
        check_equal(introductions, kind.TOLERANCES)
    else:
        with Candidates(commands, str(logs)) as running:
            introductions = running.introductions
            check_equal(introductions, kind.TOLERANCES)
            turns = running.rounds(FLAGS.rounds, FLAGS.warmup)
    return kind.results(case, FLAGS, introductions, turns)


def one_by_one(commands, logs):
    """Introductions and turns where memory holds one candidate alone: each starts anew for its turns."""
    introductions, turns = {}, {who: [] for who in commands}
    for round_ in range(FLAGS.rounds):
        for who, of_who in commands.items():
            with Candidates({who: of_who}, str(logs)) as alone:
                introductions |= alone.introductions
                turns[who] += alone.rounds(1, FLAGS.warmup)[who]
        logging.info("round %d of %d done", round_ + 1, FLAGS.rounds)
    return introductions, turns


def main():
    """Prints the table."""
    unknown = [name for name in FLAGS.cases if name not in CASES]
    if unknown:
        raise InputError(f"--cases={','.join(unknown)} is not known; choose of {', '.join(CASES)}")
    if FLAGS.role and hasattr(os, "sched_setaffinity"):  # Before a library counts the cores.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: FLAGS.threads])
    if FLAGS.role == limits.PEAK:
        return limits.work_off_peak(Turns())
    if FLAGS.role:
        case = CASES[FLAGS.cases[0]]
        return kind_of(case).work_off(case, FLAGS, Turns())
    os.makedirs(FLAGS.output, exist_ok=True)
    machine, found = report.machine(), {}
    how = {name: FLAGS[name].value for name in ("init", "rounds", "warmup", "threads")}
    for name in FLAGS.cases:
        found[name] = compare(name)
        logging.info("%s done", name)
        # After each case: what was measured is not lost if a later one fails.
        report.add(FLAGS.output, name, found[name], machine | how)
    print(json.dumps(machine))
    print(report.table(found))


if __name__ == "__main__":
    entry.run(main)
