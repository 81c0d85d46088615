"""Chinese tasks from a small model of one's own: with pretraining, without it, and without a network.

Fine-tunes the encoder of --init, and the same sizes from random weights, alike: same vocabulary, rows, seeds,
epochs and rates. Where texts get classes, a logistic regression on counts of characters stands beside them:
what the words alone say, without their order. How to pretrain the encoder:
everything.py, chinese_corpus to chinese_pretrained. Runs are in results.json as soon as they are done; the
same command goes on where it was stopped.

  python benchmarks/chinese.py --init=PRETRAINED --size=mini --data=../shared/data --output=FOLDER
"""

import dataclasses
import importlib.util
import json
import pathlib
import statistics
import sys

import children  # beside this script
from absl import flags, logging
from kept_results import KeptResults, settings_of_flags

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Folder that pretrain.py wrote.", required=True)
flags.DEFINE_string("size", "mini", "Its size, tiny to large.")
flags.DEFINE_string("data", None, "Folder of the data sets.", required=True)
flags.DEFINE_string("output", None, "Folder for the runs and results.json.", required=True)
flags.DEFINE_list("sets", "chnsenticorp,ocnli,peoples-daily-ner,cmrc2018,drcd", "Data sets.")
flags.DEFINE_list("seeds", "1,2,3", "Seeds of the runs.")
flags.DEFINE_integer("epochs", 2, "Passes over the rows.", lower_bound=1)
flags.DEFINE_float("learning_rate", 1e-4, "Peak.", lower_bound=0)
flags.DEFINE_integer("max_length", 128, "Pieces of a text or window.", lower_bound=16)

BAG = "bag of characters"
ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Chinese:
    """One data set: its task, its files, its customary measure, and what its task must be told."""

    task: str
    train: str
    dev: str
    score: str
    text_column: str | None = None
    measure: str = "auto"


SETS = {
    "chnsenticorp": Chinese("classification", "train.tsv", "dev.tsv", "accuracy", text_column="text_a"),
    "ocnli": Chinese("classification", "train.jsonl", "dev.jsonl", "accuracy"),
    "peoples-daily-ner": Chinese("tagging", "train.txt", "dev.txt", "f1"),
    "cmrc2018": Chinese("question_answering", "train.json", "dev.json", "f1", measure="cmrc"),
    "drcd": Chinese("question_answering", "train.json", "dev.json", "f1", measure="cmrc"),
}


def fine_tuned(name, start, seed):
    """The score of a run of finetune.py."""
    chosen = SETS[name]
    folder = pathlib.Path(FLAGS.output, f"{name}-{start}-{seed}")
    starts = {
        "pretrained": [f"--init={FLAGS.init}"],
        "untrained": [f"--size={FLAGS.size}", f"--vocab={FLAGS.init}/vocab.txt"],
    }
    command = [
        sys.executable, str(ROOT / "tf_scripts/finetune.py"), f"--task={chosen.task}",
        f"--train={FLAGS.data}/{name}/{chosen.train}", f"--dev={FLAGS.data}/{name}/{chosen.dev}",
        f"--seed={seed}", f"--epochs={FLAGS.epochs}", f"--model_dir={folder}",
        f"--learning_rate={FLAGS.learning_rate}", f"--max_length={FLAGS.max_length}", *starts[start],
    ]  # fmt: skip
    if chosen.text_column:
        command.append(f"--text_column={chosen.text_column}")
    if chosen.task == "question_answering":
        command.append(f"--measure={chosen.measure}")
    children.run(command, stdout=sys.stderr)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return {"score": next(row["value"] for row in report["scores"] if row["name"] == chosen.score)}


def bag_of_characters(name):
    """Dev accuracy of a logistic regression; of pairs both texts have counts of their own."""
    import scipy.sparse
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    from kbert.tasks import Columns, task_class

    kind, chosen = task_class("classification"), SETS[name]
    columns = Columns(text=chosen.text_column)
    rows = {
        split: kind.read(f"{FLAGS.data}/{name}/{file}", columns)
        for split, file in (("train", chosen.train), ("dev", chosen.dev))
    }
    fields = ("text",) if rows["train"][0].pair is None else ("text", "pair")
    counters = {field: CountVectorizer(analyzer="char") for field in fields}
    for field, counter in counters.items():
        counter.fit([getattr(row, field) for row in rows["train"]])
    counts = {
        split: scipy.sparse.hstack(
            [
                counter.transform([getattr(row, field) for row in of_split])
                for field, counter in counters.items()
            ]
        )
        for split, of_split in rows.items()
    }
    labels = {split: [row.label for row in of_split] for split, of_split in rows.items()}
    model = LogisticRegression(max_iter=2000).fit(counts["train"], labels["train"])
    return {"score": float(model.score(counts["dev"], labels["dev"]))}


def told(name, found):
    """A line on one set: the mean of each start, and its ends."""
    scores = {start: [row["score"] for row in rows.values()] for start, rows in found.items()}
    figures = ", ".join(
        f"{start} {statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"
        for start, values in scores.items()
    )
    return f"{name} {SETS[name].score}: {figures}"


def main():
    """Prints a line for each set; everything is in results.json."""
    unknown = [name for name in FLAGS.sets if name not in SETS]
    if unknown:
        raise InputError(f"--sets={','.join(unknown)} is not known; choose of {', '.join(SETS)}")
    counts = importlib.util.find_spec("sklearn") is not None
    if not counts:
        logging.info("without bags of characters: scikit-learn is missing; pip install scikit-learn")
    results = KeptResults(FLAGS.output, settings_of_flags("size", "epochs", "learning_rate", "max_length"))
    if any(isinstance(scores, list) for of_set in results.rows.values() for scores in of_set.values()):
        raise InputError(f"{results.path} is of an earlier version, without seeds; choose another --output")
    for name in FLAGS.sets:
        asked = dict.fromkeys(("pretrained", "untrained"), FLAGS.seeds)
        for start in asked:
            for seed in FLAGS.seeds:
                results.add(name, start, seed, lambda of=(name, start, seed): fine_tuned(*of))
        if counts and SETS[name].task == "classification":
            asked[BAG] = ["any"]
            results.add(name, BAG, "any", lambda name=name: bag_of_characters(name))
        print(told(name, results.of(name, asked)), flush=True)


if __name__ == "__main__":
    entry.run(main)
