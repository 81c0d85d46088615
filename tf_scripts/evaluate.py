"""Measures a fine-tuned model on a labelled file; the last line on stdout is one JSON object of metrics.

A file without labels, such as the test file of a benchmark, is answered alone.

Example:
  python tf_scripts/evaluate.py --model_dir=runs/mine --data=dev.tsv --output_dir=runs/mine/dev
  python tf_scripts/evaluate.py --model_dir=runs/rte --data=test.tsv --nolabelled --submission=RTE \
      --output_dir=runs/rte/test
"""

import json
import time
from pathlib import Path

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_bool("labelled", True, "Whether the file says what is right; if not, nothing is measured.")
flags.DEFINE_string("submission", None, "Also writes this file of GLUE, such as RTE or STS-B, or of CLUE.")
flags.DEFINE_string("model_dir", None, "Folder made by finetune.py.", required=True)
flags.DEFINE_string("data", None, "In the form of the training file; or tfds:NAME, as there.", required=True)
flags.DEFINE_string("split", "validation", "Split of a tfds: data set.")
flags.DEFINE_string("text_column", None, "Column of the text; default: a customary name, such as sentence.")
flags.DEFINE_string(
    "pair_column", None, "Column of the second text; default: a customary name, if any. '' = none."
)
flags.DEFINE_string("label_column", None, "Column of the label; default: a customary name, such as label.")
flags.DEFINE_list("columns", None, "Names of all columns, for a TSV or CSV file without a header line.")
flags.DEFINE_string("separator", None, "Between the labels of a row; default: as the training file's.")
flags.DEFINE_string(
    "no_label", None, "Rows with this label are left out; default: as in training. '' = none."
)
flags.DEFINE_string(
    "output_dir", None, "Folder for predictions, metrics.json and report.html.", required=True
)
flags.DEFINE_integer("batch_size", 32, "Texts at a time.", lower_bound=1)


def _columns(task):
    from kbert.tasks import Columns

    given = {name: FLAGS[name].value for name in ("separator", "no_label")}
    return Columns(
        text=FLAGS.text_column,
        pair=FLAGS.pair_column,
        label=FLAGS.label_column,
        names=FLAGS.columns and tuple(FLAGS.columns),
        split=FLAGS.split,
        **task.kept_columns | {name: value for name, value in given.items() if value is not None},
    )


def _check_submission(task):
    """What is no file of a benchmark, or cannot become one, is told at once."""
    from kbert.evaluation import check_submission

    check_submission(FLAGS.submission, task.name, task.spec.get("labels", ()))
    if FLAGS.data.startswith("tfds:"):
        raise InputError(
            f"--submission={FLAGS.submission} numbers the rows, but --data={FLAGS.data} gives them in "
            f"another order than the benchmark's; give the benchmark's own test file"
        )


def _read(task):
    """The rows, each of them where they are numbered in a file to hand in; and their ids, if it has them."""
    from kbert.data import row_ids

    rows = task.read(FLAGS.data, _columns(task), labelled=FLAGS.labelled)
    if FLAGS.submission and FLAGS.labelled:
        count = len(task.read(FLAGS.data, _columns(task), labelled=False))
        if len(rows) != count:
            raise InputError(
                f"{FLAGS.data}: {count - len(rows)} of {count} rows have no label and are left out, but "
                f"--submission={FLAGS.submission} numbers all of them; set --nolabelled"
            )
    return rows, row_ids(FLAGS.data, FLAGS.columns) if FLAGS.submission == "CLUE" else None


def main():
    started = time.monotonic()
    from kbert import inference, run_report
    from kbert.evaluation import benchmark_file, write_whole

    output = Path(FLAGS.output_dir)
    run_report.check_folder(output)
    answering = inference.pipeline(FLAGS.model_dir, FLAGS.batch_size)
    task = answering.task
    if FLAGS.submission:
        _check_submission(task)
    rows, ids = _read(task)
    encoded = task.encode(rows, labelled=FLAGS.labelled)
    answers = answering.answers(rows, encoded)
    metrics = {"examples": len(rows), "truncated": encoded.num_truncated}
    if FLAGS.labelled:
        metrics = {**task.scores(rows, answers), **metrics}
    files = dict([benchmark_file(FLAGS.submission, task.name, answers, ids)]) if FLAGS.submission else {}
    output.mkdir(parents=True, exist_ok=True)
    run_report.remove_old(output, *files)
    run_report.write_predictions(output, task, rows, answers, labelled=FLAGS.labelled)
    for name, text in {**files, "metrics.json": json.dumps(metrics, indent=2) + "\n"}.items():
        write_whole(output / name, text)
    if FLAGS.labelled:
        run_report.write_run_report(
            output,
            task,
            rows,
            answers,
            metrics,
            model=FLAGS.model_dir,
            data={"data": FLAGS.data},
            lengths=encoded.lengths,
            num_truncated=encoded.num_truncated,
            seconds=time.monotonic() - started,
        )
    logging.info(
        "%d predictions in %s%s", len(rows), output, ", and a report: report.html" if FLAGS.labelled else ""
    )
    print(json.dumps(metrics))


if __name__ == "__main__":
    entry.run(main)
