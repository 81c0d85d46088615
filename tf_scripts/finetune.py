"""Fine-tunes a BERT on a labelled file, one text or a pair a row.

Example:
  python tf_scripts/finetune.py --task=classification --train=train.tsv --dev=dev.tsv \
      --init=uncased_L-4_H-256 --model_dir=runs/mine
"""

import time

from absl import flags, logging

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_enum("task", "classification", ["classification"], "What to learn.")
flags.DEFINE_string("train", None, "Training file (.tsv, .csv, .jsonl) or tfds:NAME.", required=True)
flags.DEFINE_string("dev", None, "File to measure on after each epoch, in the same form; optional.")
flags.DEFINE_string("train_split", "train", "Split of a tfds: training set.")
flags.DEFINE_string("dev_split", "validation", "Split of a tfds: dev set.")
flags.DEFINE_string("text_column", None, "Column of the text; default: a customary name, such as sentence.")
flags.DEFINE_string(
    "pair_column", None, "Column of the second text; default: a customary name, if any. '' = none."
)
flags.DEFINE_string("label_column", None, "Column of the label; default: a customary name, such as label.")
flags.DEFINE_string("init", None, "Checkpoint to start from: a kbert, Hugging Face or Google folder.")
flags.DEFINE_string("vocab", None, "vocab.txt; default: the one in --init.")
flags.DEFINE_string(
    "size", None, "tiny ... large: start from random weights of that size, instead of --init."
)
flags.DEFINE_bool("lowercase", None, "Lower-case and strip accents; default: what --init says, else true.")
flags.DEFINE_string("model_dir", None, "Folder to write the model to.", required=True)
flags.DEFINE_integer("epochs", 3, "Passes over the training file.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Texts per step, over all devices.", lower_bound=1)
flags.DEFINE_float("learning_rate", 5e-5, "Peak of the learning rate.", lower_bound=0)
flags.DEFINE_float("warmup_ratio", 0.1, "Share of the steps in which the rate rises.", 0, 1)
flags.DEFINE_float("weight_decay", 0.01, "Decoupled weight decay.", lower_bound=0)
flags.DEFINE_integer("max_length", 128, "Most pieces of a text, [CLS] and [SEP] included.", lower_bound=4)
flags.DEFINE_integer("seed", 42, "Of new weights, order and dropout.")
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "bfloat16"], "auto: bfloat16 where it is fast.")


def _read_data():
    """The training examples and the dev examples, or None."""
    from kbert.data import read_examples

    def read(source, split):
        return read_examples(
            source,
            split=split,
            text_column=FLAGS.text_column,
            pair_column=FLAGS.pair_column,
            label_column=FLAGS.label_column,
        )

    return read(FLAGS.train, FLAGS.train_split), read(FLAGS.dev, FLAGS.dev_split) if FLAGS.dev else None


def _train(model, encoded, evaluate):
    """Runs all epochs and returns their logs."""
    from kbert import training
    from kbert.data import training_batches
    from kbert.models import ClassificationObjective

    steps = -(-len(encoded) // FLAGS.batch_size)
    total = steps * FLAGS.epochs
    optimizer = training.AdamW(
        training.LinearWarmup(FLAGS.learning_rate, total, round(FLAGS.warmup_ratio * total)),
        weight_decay_rate=FLAGS.weight_decay,
    )
    logging.info("%d steps of %d texts, %s", total, FLAGS.batch_size, model.dtype_policy.name)
    return training.fit(
        model,
        optimizer,
        ClassificationObjective(),
        training_batches(encoded, FLAGS.batch_size, FLAGS.epochs, FLAGS.seed),
        steps_per_epoch=steps,
        epochs=FLAGS.epochs,
        callbacks=[training.ProgressLog(), training.SummaryLog(f"{FLAGS.model_dir}/logs", optimizer)],
        evaluate=evaluate,
    )


def _evaluation(model, exact, encoded):
    """The measure of each epoch, in float32, as the model will be loaded and served."""
    from kbert.evaluation import classification_scores
    from kbert.inference import predict_logits

    def evaluate():
        exact.set_weights(model.get_weights())
        predicted = predict_logits(exact, encoded).argmax(-1)
        return classification_scores(encoded.labels, predicted, exact.num_classes)

    return evaluate


def main():
    started = time.monotonic()
    import keras

    from kbert import checkpoints, data, manifest, training
    from kbert.models import BertClassifier
    from kbert.start import starting_point
    from kbert.text import WordPieceTokenizer

    keras.utils.set_random_seed(FLAGS.seed)
    train, dev = _read_data()
    labels, paired = data.label_list(train), train[0].pair is not None
    start = starting_point(init=FLAGS.init, size=FLAGS.size, vocab=FLAGS.vocab, lowercase=FLAGS.lowercase)
    tokenizer = WordPieceTokenizer(start.vocab_path, lowercase=start.lowercase)
    max_length = min(FLAGS.max_length, start.config.longest_sequence)
    form = {"labels": labels, "paired": paired}
    encoded = data.encode(train, tokenizer, max_length, **form)
    encoded_dev = data.encode(dev, tokenizer, max_length, **form) if dev else None
    logging.info(
        "%d rows, labels %s, mean length %.1f pieces, %d truncated to %d",
        len(train), ", ".join(labels), encoded.lengths.mean(), encoded.num_truncated, max_length,
    )  # fmt: skip

    model, exact = (
        BertClassifier(start.config, len(labels), dtype=policy)
        for policy in (training.dtype_policy(FLAGS.precision), "float32")
    )
    model.build()
    exact.build()
    if FLAGS.init:
        checkpoints.load_encoder_into(model, FLAGS.init)
    history = _train(model, encoded, _evaluation(model, exact, encoded_dev) if encoded_dev else None)

    task = {
        "name": FLAGS.task,
        "labels": labels,
        "max_length": max_length,
        "pair": paired,
        "lowercase": start.lowercase,
    }
    checkpoints.save_folder(FLAGS.model_dir, model, task=task, vocab_path=start.vocab_path)
    manifest.write_manifest(
        FLAGS.model_dir,
        command="finetune",
        flags={flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(__name__)},
        metrics={"epochs": history},
        seconds=time.monotonic() - started,
    )
    logging.info("saved %s after %.0f s", FLAGS.model_dir, time.monotonic() - started)


if __name__ == "__main__":
    entry.run(main)
