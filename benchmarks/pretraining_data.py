"""What both sides of pretraining.py train on, and how they are measured on held-out text."""

from absl import flags

FLAGS = flags.FLAGS
LENGTH, MASK_RATE, SEED = 128, 0.15, 1
CORPORA = {
    "train": ("brown.train.txt", "speeches.train.txt", "wikitext2.valid.txt"),
    "dev": ("brown.dev.txt", "speeches.dev.txt"),
}


def vocab_path():
    """The vocabulary of both."""
    return f"{FLAGS.data}/vocab/bert-base-uncased.txt"


def records_folder(split):
    """Where `write_corpora` puts the records of a split."""
    return f"{FLAGS.output}/records-{split}"


def write_corpora():
    """Makes the records of both splits, in the place of those that are there."""
    from kbert.data import write_records
    from kbert.data.record_settings import RecordSettings

    for split, names in CORPORA.items():
        settings = RecordSettings(
            vocab=vocab_path(), max_length=LENGTH, next_sentence="none", shards=1, seed=SEED
        )
        files = [f"{FLAGS.data}/corpora/{name}" for name in names]
        write_records(files, records_folder(split), settings)


def records(split):
    """The records as a user of kbert reads them: rows of like length in a batch."""
    from kbert.pretraining_records import Records
    from kbert.text import Vocab

    return Records(records_folder(split), Vocab.read(vocab_path()), FLAGS.batch_size, mask_rate=MASK_RATE)


def token_ids(split):
    """The ids of each record, unpadded."""
    import tensorflow as tf

    def ids(serialized):
        row = tf.io.parse_single_example(serialized, {"token_ids": tf.io.VarLenFeature(tf.int64)})
        return tf.cast(tf.sparse.to_dense(row["token_ids"]), tf.int32)

    folder = records_folder(split)
    return tf.data.TFRecordDataset(list(map(str, records(split).description.files(folder)))).map(ids)


def masked_loss(logits, mask_ids, mask_weights):
    """The cross-entropy of the masked tokens of a batch, added up, and how many they are.

    Args:
        logits: (B, P, V), any float.
        mask_ids: int32 (B, P), the hidden tokens.
        mask_weights: float32 (B, P), 0 for slots without one.
    """
    import tensorflow as tf

    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(mask_ids, tf.cast(logits, tf.float32))
    return tf.reduce_sum(losses * mask_weights), tf.reduce_sum(mask_weights)


def held_out_loss(logits_of):
    """A function that gives the mean loss of a model now, always on the same masked rows.

    Args:
        logits_of: Function from inputs to logits.
    """
    import tensorflow as tf

    batches = list(records("dev").held_out_batches().take(-(-FLAGS.held_out_rows // FLAGS.batch_size)))

    @tf.function(reduce_retracing=True)
    def of_batch(inputs, targets):
        return masked_loss(logits_of(inputs), targets["mask_ids"], targets["mask_weights"])

    def measure():
        sums = [of_batch(inputs, targets) for inputs, targets in batches]
        return float(sum(loss for loss, _ in sums) / sum(weight for _, weight in sums))

    return measure
