"""Records on disk become shuffled batches: what all forms of pretraining records share."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from kbert import features
from kbert.data.autotuning import without_autotuning
from kbert.errors import InputError

_WIDTH_STEP = 8
_FILES_AT_ONCE = 4
_TARGETS = (
    features.MASK_IDS,
    features.MASK_WEIGHTS,
    features.NEXT_SENTENCE_LABEL,
    features.NEXT_SENTENCE_WEIGHT,
)
_OF_EACH_PIECE = (
    features.TOKEN_IDS,
    features.SEGMENT_IDS,
    features.PADDING_MASK,
    features.PART_IDS,
    features.POSITION_IDS,
)


def shuffled_records(
    files: Sequence[str], sizes: Sequence[int], *, seed: int, shuffle_buffer: int, first: int = 0
) -> tf.data.Dataset:
    """An endless stream of all records, in another order in each epoch.

    Args:
        files: TFRecord files.
        sizes: Records of each; they number the records.
        seed: Of the orders.
        shuffle_buffer: Records kept in memory to draw from.
        first: Records of the stream to leave out at its start, which are then not decoded.

    Returns:
        Dataset of (epoch, number of the record among all files, serialized record): int64, int64, string.
    """
    starts = [sum(sizes[:index]) for index in range(len(sizes))]

    def one_epoch(epoch):
        numbered = tf.data.Dataset.from_tensor_slices((list(files), tf.constant(starts, tf.int64)))
        records = numbered.shuffle(len(files), seed=seed + epoch).interleave(
            lambda file, start: tf.data.TFRecordDataset(file).enumerate(start),  # pyright: ignore
            cycle_length=min(_FILES_AT_ONCE, len(files)),
        )
        records = records.shuffle(shuffle_buffer, seed=seed + epoch)
        return records.map(lambda number, serialized: (epoch, number, serialized))

    first_epoch, left_out = divmod(first, sum(sizes))
    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(one_epoch).skip(left_out)


def masked_batches(rows: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Rows with masks as batches of (inputs, targets), padded to a multiple of 8.

    Args:
        rows: Dicts of `token_ids`, `segment_ids` int32 (length), `mask_positions`, `mask_ids` int32 (P),
            `mask_weights` float32 (P), and `next_sentence_label` int32 where there is such a task; or the
            rows of `pack_rows`.
        batch_size: Rows of a global batch.
    """

    def split(batch):
        width = tf.shape(batch[features.TOKEN_IDS])[1]
        missing = tf.math.floormod(-width, _WIDTH_STEP)
        for name in _OF_EACH_PIECE:
            if name in batch:
                batch[name] = tf.pad(batch[name], tf.stack([[0, 0], [0, missing]]))
        targets = {name: batch.pop(name) for name in _TARGETS if name in batch}
        return batch, targets

    def with_padding_mask(row):
        return {features.PADDING_MASK: tf.ones_like(row[features.TOKEN_IDS])} | row

    batches = rows.map(with_padding_mask).padded_batch(batch_size).map(split).prefetch(tf.data.AUTOTUNE)
    return without_autotuning(batches)


@contextlib.contextmanager
def damage_named(files: Sequence[str | Path]) -> Iterator[None]:
    """A context around the reading of records; a damaged one is named by file and number.

    TensorFlow only says "corrupted record at 65536", and not of which file. When that happens, all files
    are read once more to find it.

    Raises:
        InputError: A record is damaged or cut off.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        for file in files:
            try:
                count_records(file)
            except InputError as found:
                raise found from error
        raise


def count_records(file: str | Path) -> int:
    """The number of records of a file, of which every byte is checked.

    Raises:
        InputError: A record is damaged, cut off, or no `tf.train.Example`.
    """
    number = 0
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            tf.train.Example.FromString(record)
            number += 1
    except (tf.errors.DataLossError, DecodeError) as error:
        raise InputError(
            f"{file}: record {number} (from 0) is damaged or cut off; the {number} before it are sound; "
            f"copy the file again, or build it again"
        ) from error
    return number
