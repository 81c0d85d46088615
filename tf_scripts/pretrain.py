"""Pretrains a BERT on records: masked language model and next-sentence prediction.

Example:
  python tf_scripts/pretrain.py --data_dir=records --vocab=vocab.txt --size=mini --steps=10000 \
      --model_dir=runs/pretrained
"""

import hashlib
import time
from pathlib import Path

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Folder made by build_pretraining_data.py.", required=True)
flags.DEFINE_string("vocab", None, "vocab.txt that the records were made with.", required=True)
flags.DEFINE_string("size", None, "tiny, mini, small, medium, base or large.")
flags.DEFINE_string("config", None, "JSON file of BertConfig, instead of --size.")
flags.DEFINE_string("init", None, "Checkpoint to continue from, instead of --size.")
flags.DEFINE_integer("steps", 10_000, "Optimizer steps.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Records per step, over all devices.", lower_bound=1)
flags.DEFINE_float("learning_rate", 1e-4, "Peak of the learning rate.", lower_bound=0)
flags.DEFINE_float("warmup_ratio", 0.1, "Share of the steps in which the rate rises.", 0, 1)
flags.DEFINE_float("weight_decay", 0.01, "Decoupled weight decay.", lower_bound=0)
flags.DEFINE_string("model_dir", None, "Folder to write the model to.", required=True)
flags.DEFINE_enum("strategy", "default", ["default", "mirrored"], "One device, or all of this machine.")
flags.DEFINE_integer("seed", 12345, "Of new weights, order, masks and dropout.")
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "bfloat16"], "auto: bfloat16 where it is fast.")


def _check_records(description, config):
    if description.vocab_sha256 != hashlib.sha256(Path(FLAGS.vocab).read_bytes()).hexdigest():
        raise InputError(
            f"{FLAGS.data_dir}: the records were made with another vocabulary than {FLAGS.vocab}; "
            f"build them again, or name theirs"
        )
    if description.max_length > config.longest_sequence:
        raise InputError(
            f"{FLAGS.data_dir}: records of up to {description.max_length} pieces, but the model has "
            f"{config.longest_sequence} positions; build them with --max_length={config.longest_sequence}"
        )


def _continue_from(model, folder):
    """Takes over the heads too, where the checkpoint has them."""
    from kbert import checkpoints

    loaded = checkpoints.load(folder)
    if type(loaded) is type(model):
        model.set_weights(loaded.get_weights())
    else:
        checkpoints.load_encoder_into(model, folder)


def main():
    started = time.monotonic()
    import keras

    from kbert import checkpoints, data, manifest, training
    from kbert.models import BertPretrainer, PretrainingObjective
    from kbert.start import starting_point
    from kbert.text import Vocab
    from kbert.text.masking import TokenMasker, max_predictions

    keras.utils.set_random_seed(FLAGS.seed)
    description = data.RecordsDescription.read(FLAGS.data_dir)
    start = starting_point(
        init=FLAGS.init,
        size=FLAGS.size,
        config=FLAGS.config,
        vocab=FLAGS.vocab,
        lowercase=description.lowercase,
    )
    _check_records(description, start.config)
    vocab = Vocab.read(FLAGS.vocab)
    masker = TokenMasker(
        vocab_size=len(vocab),
        mask_id=vocab.mask_id,
        special_ids=(vocab.pad_id, vocab.cls_id, vocab.sep_id),
        slots=max_predictions(description.max_length),
    )
    policy = training.dtype_policy(FLAGS.precision)
    passes = FLAGS.steps * FLAGS.batch_size / description.num_records
    logging.info(
        "%d records, %d steps of %d (%.1f passes), %s",
        description.num_records, FLAGS.steps, FLAGS.batch_size, passes, policy,
    )  # fmt: skip
    with training.strategy_for(FLAGS.strategy).scope():
        model = BertPretrainer(start.config, dtype=policy)
        model.build()
        if FLAGS.init:
            _continue_from(model, FLAGS.init)
        optimizer = training.AdamW(
            training.LinearWarmup(FLAGS.learning_rate, FLAGS.steps, round(FLAGS.warmup_ratio * FLAGS.steps)),
            weight_decay_rate=FLAGS.weight_decay,
        )
        history = training.fit(
            model,
            optimizer,
            PretrainingObjective(),
            data.pretraining_batches(FLAGS.data_dir, masker, FLAGS.batch_size, FLAGS.seed),
            steps_per_epoch=FLAGS.steps,
            callbacks=[training.ProgressLog(), training.SummaryLog(f"{FLAGS.model_dir}/logs", optimizer)],
        )
    task = {"name": "pretraining", "lowercase": start.lowercase, "max_length": description.max_length}
    checkpoints.save_folder(FLAGS.model_dir, model, task=task, vocab_path=FLAGS.vocab)
    manifest.write_manifest(
        FLAGS.model_dir,
        command="pretrain",
        flags={flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(__name__)},
        metrics=history[-1],
        seconds=time.monotonic() - started,
    )
    logging.info("saved %s after %.0f s", FLAGS.model_dir, time.monotonic() - started)


if __name__ == "__main__":
    entry.run(main)
