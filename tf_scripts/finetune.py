"""Fine-tunes a BERT on a labelled file.

A run that was stopped, by Ctrl-C, by SIGTERM (exit code 75) or by a crash, goes on when the same command is
given again. With several seeds or learning rates the best run on dev is kept.

Example:
  python tf_scripts/finetune.py --task=classification --train=train.tsv --dev=dev.tsv \
      --init=uncased_L-4_H-256 --model_dir=runs/mine
"""

import time
from dataclasses import replace
from pathlib import Path

from absl import flags, logging

from kbert import entry
from kbert.dataclass_flags import define_flags, numbers_of, settings_from_flags
from kbert.errors import InputError
from kbert.recipe import Recipe
from kbert.run_settings import RunSettings
from kbert.task_options import TaskOptions
from kbert.whole_files import check_writable

FLAGS = flags.FLAGS
flags.DEFINE_string("task", "classification", "What to learn; docs/finetuning.md lists them.")
flags.DEFINE_string(
    "train", None, "File in the form of the task; or, but for tags and questions, tfds:NAME.", required=True
)
flags.DEFINE_string("dev", None, "File to measure on after each epoch, in the same form; optional.")
flags.DEFINE_string("train_split", "train", "Split of a tfds: training set.")
flags.DEFINE_string("dev_split", "validation", "Split of a tfds: dev set.")
flags.DEFINE_string("text_column", None, "Column of the text; default: a customary name, such as sentence.")
flags.DEFINE_string("pair_column", None, "Column of the second text; default: a customary one. '' = none.")
flags.DEFINE_string("label_column", None, "Column of the label; default: a customary name, such as label.")
flags.DEFINE_list("columns", None, "Names of all columns, for a TSV or CSV file without a header line.")
flags.DEFINE_string("separator", ",", "Between the labels of a row that has several.")
flags.DEFINE_string("no_label", "-", "Rows with this label are left out, as SNLI's; '' = none.")
flags.DEFINE_bool("strict", False, "Whether faults of the data are an error.")
flags.DEFINE_string("init", None, "Checkpoint to start from: a folder or name, see docs/checkpoints.md.")
flags.DEFINE_string("vocab", None, "vocab.txt; default: the one in --init.")
flags.DEFINE_string(
    "size", None, "tiny ... large: start from random weights of that size, with --vocab, instead of --init."
)
flags.DEFINE_bool("lowercase", None, "Lower-case and strip accents; default: what --init or --vocab say.")
flags.DEFINE_integer("num_hidden_layers_used", None, "Of --init, only its first layers.", lower_bound=1)
flags.DEFINE_string("model_dir", None, "Folder to write the model to.", required=True)
flags.DEFINE_integer("max_length", 128, "Most pieces of a text, [CLS] and [SEP] included.", lower_bound=5)
flags.DEFINE_list("seeds", None, "Instead of --seed, several; the best run is kept.")
flags.DEFINE_list("learning_rate", "5e-5", "Peak of the learning rate; of several the best run is kept.")
flags.DEFINE_string("best_score", None, "By which runs are compared; default: the customary one.")
define_flags(TaskOptions)
define_flags(Recipe)
define_flags(RunSettings, leave_out=("learning_rate",))
flags.DEFINE_enum("strategy", "default", ["default", "mirrored", "tpu"], "Which devices.")


def _columns(split):
    from kbert.tasks import Columns

    return Columns(
        text=FLAGS.text_column,
        pair=FLAGS.pair_column,
        label=FLAGS.label_column,
        names=FLAGS.columns and tuple(FLAGS.columns),
        separator=FLAGS.separator,
        no_label=FLAGS.no_label,
        split=split,
    )


def _read(task):
    """The training rows, the dev rows or none, their faults, which are told, and how later files are read."""
    from kbert.data import report_faults

    columns = _columns(FLAGS.train_split)
    train = task.read(FLAGS.train, columns)
    kept = task.columns_to_keep(FLAGS.train, columns, train)
    dev = task.read(FLAGS.dev, replace(_columns(FLAGS.dev_split), **kept)) if FLAGS.dev else []
    faults = task.faults(train, dev)
    report_faults(faults, FLAGS.strict)
    return train, dev, faults, kept


def _check_need_of_dev(num_runs):
    """Refuses what only dev rows can decide, before hours of training."""
    if not FLAGS.dev and (num_runs > 1 or FLAGS.patience is not None):
        needs = f"{num_runs} runs are compared" if num_runs > 1 else "--patience is measured"
        raise InputError(f"{needs} on dev rows; name a file with --dev")


def main():
    started, folder = time.monotonic(), Path(FLAGS.model_dir)
    check_writable(folder)
    from kbert import checkpoints, fine_tuning, run_grid, run_report, training
    from kbert.start import refuse_start_as_target, starting_point, task_options
    from kbert.tasks import task_class
    from kbert.text import WordPieceTokenizer

    training.end_on_sigterm()
    # Before anything else is done with TensorFlow.
    parts = training.share_cores() if FLAGS.strategy == "default" else 1
    strategy = training.strategy_for(FLAGS.strategy)
    seeds = [FLAGS.seed] if FLAGS.seeds is None else numbers_of("seeds", int)
    learning_rates = numbers_of("learning_rate", float)
    settings = settings_from_flags(RunSettings, learning_rate=learning_rates[0])
    recipe = settings_from_flags(Recipe)
    _check_need_of_dev(len(seeds) * len(learning_rates))
    refuse_start_as_target(FLAGS.init, folder)
    kind = task_class(FLAGS.task)
    train, dev, faults, kept = _read(kind)
    start = starting_point(
        init=FLAGS.init, size=FLAGS.size, vocab=FLAGS.vocab, lowercase=FLAGS.lowercase,
        num_hidden_layers_used=FLAGS.num_hidden_layers_used,
    )  # fmt: skip
    tokenizer = WordPieceTokenizer(start.vocab_path, lowercase=start.lowercase)
    max_length = min(FLAGS.max_length, start.config.longest_sequence)
    options = settings_from_flags(TaskOptions).given(FLAGS.task, kind.options)
    options = task_options(options, kind.options, FLAGS.init) | kept
    task = kind.learn(train, tokenizer, max_length, best_score=FLAGS.best_score, **options)
    fine_tuning.check_fits(task, start, dev, init=FLAGS.init, settings=settings, recipe=recipe)
    encoded = task.encode(train)
    logging.info(
        "%d rows, mean length %.1f pieces, %d truncated to %d",
        len(train), encoded.lengths.mean(), encoded.num_truncated, max_length,
    )  # fmt: skip

    def run(own, folder):
        with strategy.scope():
            return fine_tuning.fine_tune(
                task, start, encoded, dev,
                init=FLAGS.init, settings=own, recipe=recipe, model_dir=folder, parts=parts,
            )  # fmt: skip

    best, points = run_grid.run_grid(
        run, settings, recipe, seeds=seeds, learning_rates=learning_rates, model_dir=folder
    )
    checkpoints.save_folder(folder, best.model, task=best.task.spec, vocab_path=start.vocab_path)
    run_report.write_results(
        folder, best, points, dev, encoded,
        flags={flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(__name__)},
        data={"train": FLAGS.train, "dev": FLAGS.dev}, seconds=time.monotonic() - started, faults=faults,
    )  # fmt: skip
    run_grid.clear(points, folder)
    logging.info("saved %s after %.0f s", FLAGS.model_dir, time.monotonic() - started)


if __name__ == "__main__":
    entry.run(main)
