"""Pretrains a BERT on records: masked language model and next-sentence prediction.

A run that was stopped, by Ctrl-C, by SIGTERM (exit code 75) or by a crash, goes on when the same command is
given again. For several workers see tf_scripts/launch_local.py.

Example:
  python tf_scripts/pretrain.py --data_dir=records --dev_dir=held_out --vocab=vocab.txt --size=mini \
      --steps=10000 --model_dir=runs/pretrained
"""

import time
from pathlib import Path

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError
from kbert.whole_files import check_writable

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Folder made by build_pretraining_data.py.", required=True)
flags.DEFINE_string("dev_dir", None, "Held-out records, to measure on while training.")
flags.DEFINE_string("vocab", None, "vocab.txt that the records were made with.", required=True)
flags.DEFINE_string("size", None, "tiny, mini, small, medium, base or large.")
flags.DEFINE_string("config", None, "JSON file of BertConfig, Google or Hugging Face, instead of --size.")
flags.DEFINE_string("init", None, "Checkpoint to continue from, instead of --size; --vocab may have grown.")
flags.DEFINE_enum("output_bias", "frequencies", ["frequencies", "zeros"], "Of new weights; Google's: zeros.")
flags.DEFINE_integer("steps", 10_000, "Optimizer steps, the second phase included.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Rows per step and micro-batch, over all devices.", lower_bound=1)
flags.DEFINE_integer("accumulate", 1, "Micro-batches of a step.", lower_bound=1)
flags.DEFINE_string("phase2_data_dir", None, "Longer records, for the last --phase2_steps.")
flags.DEFINE_integer("phase2_steps", None, "How many these are; default: a tenth of all.", lower_bound=1)
flags.DEFINE_integer("phase2_batch_size", None, "Rows there; default: --batch_size.", lower_bound=1)
flags.DEFINE_enum("layout", "pools", ["pools", "padded", "packed"], "Rows by length, at random, or full.")
flags.DEFINE_integer("row_length", None, "Pieces of a packed row; default: those of the longest record.")
flags.DEFINE_float("mask_rate", 0.15, "Share of tokens to predict.", 0, 1)
flags.DEFINE_integer("max_span", 1, "Most words hidden together; drawn from 1 to this.", lower_bound=1)
flags.DEFINE_enum(
    "optimizer", "adamw", ["adamw", "bert_adamw", "lamb"], "bert_adamw: without bias correction."
)
flags.DEFINE_float("learning_rate", 1e-4, "Peak of the learning rate.", lower_bound=0)
flags.DEFINE_float("warmup_ratio", 0.1, "Share of the steps in which the rate rises.", 0, 1)
flags.DEFINE_enum("schedule", "linear", ["linear", "google", "cosine", "stable"], "How the rate falls.")
flags.DEFINE_float("weight_decay", 0.01, "Decoupled weight decay.", lower_bound=0)
flags.DEFINE_float("average_decay", None, "Keep averages of the weights, such as 0.999, and save them.", 0, 1)
flags.register_validator("average_decay", lambda decay: decay != 1, "1 would save the first step's weights")
flags.DEFINE_string("model_dir", None, "Folder to write the model to.", required=True)
flags.DEFINE_integer("eval_every", None, "Steps between measurements; default: for about 10.", lower_bound=1)
flags.DEFINE_integer("patience", None, "Measurements without a better one that end the run.", lower_bound=1)
flags.DEFINE_integer("checkpoint_every", 1000, "Steps between checkpoints.", lower_bound=1)
flags.DEFINE_enum("strategy", "default", ["default", "mirrored", "multi_worker", "tpu"], "Which devices.")
flags.DEFINE_integer("seed", 12345, "Of new weights, order, masks and dropout.", 0, 2**32 - 1)
flags.DEFINE_enum(
    "precision", "auto", ["auto", "float32", "bfloat16", "float16"], "auto: bfloat16 where it is fast."
)

#: What may be another when a run goes on: of files and folders the place, not what they hold.
_MAY_CHANGE = {"model_dir", "data_dir", "dev_dir", "phase2_data_dir", "vocab", "init", "config"}
_MAY_CHANGE |= {"checkpoint_every", "strategy"}


def _records(folder, vocab, config, batch_size=None, **layout):
    from kbert.pretraining_records import Records

    records = Records(
        folder, vocab, batch_size or FLAGS.batch_size,
        mask_rate=FLAGS.mask_rate, max_span=FLAGS.max_span, **layout,
    )  # fmt: skip
    records.check(FLAGS.vocab, config)
    return records


def _phases(vocab, config):
    """[(records, steps)] in their order."""
    from kbert.pretraining import steps_of_phases

    layout = {"layout": FLAGS.layout, "row_length": FLAGS.row_length}  # Records to measure on have none.
    first = _records(FLAGS.data_dir, vocab, config, **layout)
    if FLAGS.phase2_data_dir:
        second = _records(FLAGS.phase2_data_dir, vocab, config, FLAGS.phase2_batch_size, **layout)
        return list(zip((first, second), steps_of_phases(FLAGS.steps, FLAGS.phase2_steps), strict=True))
    if FLAGS.phase2_steps or FLAGS.phase2_batch_size:
        raise InputError("--phase2_steps and --phase2_batch_size have no meaning without --phase2_data_dir")
    return [(first, FLAGS.steps)]


def _optimizer(steps):
    from kbert import training

    optimizers = {"adamw": training.AdamW, "bert_adamw": training.BertAdamW, "lamb": training.Lamb}
    return optimizers[FLAGS.optimizer](
        training.schedule_for(FLAGS.schedule, FLAGS.learning_rate, steps, round(FLAGS.warmup_ratio * steps)),
        weight_decay_rate=FLAGS.weight_decay,
        average_decay=FLAGS.average_decay,
    )


def main():
    started, folder = time.monotonic(), Path(FLAGS.model_dir)
    check_writable(folder)
    import keras

    from kbert import checkpoints, manifest, pretraining, pretraining_start, start, training
    from kbert.text import Vocab

    start.refuse_start_as_target(FLAGS.init, folder)
    parts = training.share_cores() if FLAGS.strategy == "default" else 1  # Before TensorFlow does anything.
    strategy = training.strategy_for(FLAGS.strategy)
    keras.utils.set_random_seed(FLAGS.seed)
    flag_values = {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(__name__)}
    settings = {name: value for name, value in flag_values.items() if name not in _MAY_CHANGE}
    policy, vocab = training.dtype_policy(FLAGS.precision), Vocab.read(FLAGS.vocab)
    with strategy.scope():
        model = pretraining_start.starting_model(
            FLAGS.vocab, init=FLAGS.init, size=FLAGS.size, config=FLAGS.config, dtype=policy
        )
        phases = _phases(vocab, model.config)
        pretraining_start.warn_of_other_case(FLAGS.init, FLAGS.data_dir)
        settings |= pretraining_start.settings_of_start(model, FLAGS.init, parts)
        if FLAGS.output_bias == "frequencies":
            pretraining_start.start_at_frequencies(model, FLAGS.data_dir, vocab)
        saved = training.Checkpoints(
            folder / "checkpoints", FLAGS.checkpoint_every, settings=settings,
            may_differ=pretraining_start.may_differ, marks=pretraining_start.MARKS,
        )  # fmt: skip
        history = pretraining.pretrain(
            model, _optimizer(FLAGS.steps), phases,
            held_out=_records(FLAGS.dev_dir, vocab, model.config) if FLAGS.dev_dir else None,
            model_dir=folder, seed=FLAGS.seed, eval_every=FLAGS.eval_every, patience=FLAGS.patience,
            accumulate=FLAGS.accumulate, parts=parts, checkpoints=saved,
        )  # fmt: skip
        trained = training.seconds_trained(folder / "metrics.jsonl")  # Part of it by an earlier process.
        seconds = max(time.monotonic() - started, trained)
        if training.is_chief():
            form = phases[-1][0].description
            task = {"name": "pretraining", "lowercase": form.lowercase, "max_length": form.max_length}
            checkpoints.save_folder(folder, model, task=task, vocab_path=FLAGS.vocab)
            manifest.write_manifest(
                folder,
                command="pretrain",
                flags=flag_values,
                metrics=pretraining.figures_of_kept(history, FLAGS.average_decay is not None),
                seconds=seconds,
            )
    logging.info("saved %s after %.0f s", folder, seconds)


if __name__ == "__main__":
    entry.run(main)
