"""What each recipe of fine-tuning gains or loses, against the plain run with the same seeds.

Each is `finetune.py` as a user runs it, all epochs trained and the last one kept, so that no score is the
best of several; but for early_stop, whose score is that of its best epoch on the same rows. A difference is
that of two runs with the same seed; beside its mean stands its standard error, for what is smaller than twice
that may be luck. Runs are in results.json as soon as they are done; the same command goes on with the run in
which it was stopped, from its beginning, for its time is measured. A recipe that a task refuses is left out.

  python benchmarks/recipes.py --init=FOLDER --data=../shared/data --sets=trec,rte --output=FOLDER
"""

import json
import math
import pathlib
import shutil
import statistics
import subprocess
import sys

import children  # beside this script
from absl import flags, logging
from finetuning_sets import SETS
from kept_results import KeptResults, settings_of_flags

from kbert import entry
from kbert.errors import InputError

#: Name -> flags of finetune.py; what stands here twice counts as it stands last.
RECIPES = {
    "plain": (),
    "head_scale": ("--head_scale=4",),
    "layer_decay": ("--layer_decay=0.8",),
    "reinit_layers": ("--reinit_layers=1",),
    "fgm": ("--fgm_epsilon=1",),
    "rdrop": ("--rdrop_alpha=1",),
    "label_smoothing": ("--label_smoothing=0.1",),
    "class_weights": ("--class_weights=balanced",),
    "average": ("--average_decay=0.99",),
    "freeze_layers": ("--freeze_layers=2",),
    "unfreeze": ("--unfreeze_every=1", "--epochs=7"),
    "lora": ("--lora_rank=8", "--learning_rate=5e-4"),
    "first_layers": ("--num_hidden_layers_used=4",),
    "longer": ("--epochs=10",),
    "early_stop": ("--epochs=10", "--patience=2", "--keep=best"),
    "faster": ("--learning_rate=1e-4",),
    "head_scale_faster": ("--head_scale=4", "--learning_rate=1e-4"),
}

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Folder of the encoder.", required=True)
flags.DEFINE_string("data", None, "Folder of the data sets.", required=True)
flags.DEFINE_string("output", None, "Folder for results.json and the plain runs.", required=True)
flags.DEFINE_list("sets", "trec,rte", "Data sets.")
flags.DEFINE_list("recipes", list(RECIPES), "Of which the plain one is always run.")
flags.DEFINE_list("seeds", "1,2,3", "Seeds of the runs.")

#: Exit code of finetune.py for flags that do not fit.
REFUSED = 2
ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(name, recipe, seed):
    """Score on dev and seconds of a run; the models of recipes are not kept, those of plain runs are."""
    chosen = SETS[name]
    folder = pathlib.Path(FLAGS.output, "runs", f"{name}-{recipe}-{seed}")
    train, dev = (f"{FLAGS.data}/{file}" for file in chosen.files)
    command = [
        sys.executable, str(ROOT / "tf_scripts/finetune.py"), f"--task={chosen.task}", f"--train={train}",
        f"--dev={dev}", f"--init={FLAGS.init}", f"--model_dir={folder}", f"--seed={seed}",
        f"--epochs={chosen.epochs}", f"--max_length={chosen.max_length}", "--keep=last",
        f"--best_score={chosen.score}", *RECIPES[recipe],
    ]  # fmt: skip
    if chosen.names:
        command.append(f"--columns={','.join(chosen.names)}")
    shutil.rmtree(folder, ignore_errors=True)  # One that goes on would tell the seconds of its last part.
    children.run(command, stdout=sys.stderr)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    if recipe != "plain":
        shutil.rmtree(folder)
    score = next(row["value"] for row in report["scores"] if row["name"] == chosen.score)
    return {"score": score, "seconds": report["seconds"]}


def gains(plain, other):
    """Differences to the plain runs, by seed: their mean, and its standard error (NaN of one seed).

    Example:
        gains({"1": {"score": 0.5}, "2": {"score": 0.6}}, {"1": {"score": 0.7}, "2": {"score": 0.6}})
        is (0.1, 0.1).
    """
    differences = [other[seed]["score"] - plain[seed]["score"] for seed in plain if seed in other]
    if len(differences) < 2:
        return differences[0], math.nan
    return statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences))


def table(name, of_recipes):
    """Lines on one set: each recipe's mean score, gain in points, and time as a multiple of the plain one."""
    plain = of_recipes["plain"]
    seconds = {
        recipe: statistics.median(row["seconds"] for row in rows.values())
        for recipe, rows in of_recipes.items()
    }
    lines = [f"{name}, {SETS[name].score}, {len(plain)} seeds"]
    for recipe, rows in of_recipes.items():
        mean = statistics.mean(row["score"] for row in rows.values())
        line = f"  {recipe:16s} {mean:.4f}"
        if recipe != "plain":
            gain, error = gains(plain, rows)
            line += f"  {100 * gain:+.2f} ± {100 * error:.2f} points"
            line += f"  {seconds[recipe] / seconds['plain']:.2f} x the time"
        if "--keep=best" in RECIPES[recipe]:
            line += "  (best epoch on these rows)"
        lines.append(line)
    return "\n".join(lines)


def add_runs(results, name, recipe):
    """Runs all seeds; a recipe that the task refuses has no rows."""
    try:
        for seed in FLAGS.seeds:
            results.add(name, recipe, seed, lambda seed=seed: run(name, recipe, seed))
    except subprocess.CalledProcessError as error:
        if recipe == "plain" or error.returncode != REFUSED:
            raise
        logging.info("%s without %s: it is refused, see above", name, recipe)


def main():
    """Prints a table for each set."""
    for flag, known in (("sets", SETS), ("recipes", RECIPES)):
        unknown = [name for name in FLAGS[flag].value if name not in known]
        if unknown:
            raise InputError(f"--{flag}={','.join(unknown)} is not known; choose of {', '.join(known)}")
    results = KeptResults(FLAGS.output, settings_of_flags())
    asked = dict.fromkeys(["plain", *FLAGS.recipes], FLAGS.seeds)
    for name in FLAGS.sets:
        for recipe in asked:
            add_runs(results, name, recipe)
        print(table(name, results.of(name, asked)), flush=True)


if __name__ == "__main__":
    entry.run(main)
