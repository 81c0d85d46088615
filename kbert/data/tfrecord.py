"""Pretraining records: written once, read by every run.

A record holds `token_ids`, `segment_ids` and `next_sentence_label`, not masks: those are drawn afresh each
time a record is read, so that a second pass over the data hides other words.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import tensorflow as tf

from kbert import features
from kbert.errors import InputError
from kbert.text.masking import TokenMasker

_DESCRIPTION = "records.json"
_WIDTH_STEP = 8


@dataclass(frozen=True)
class RecordsDescription:
    """What a folder of records holds, stored beside them as `records.json`.

    Args:
        num_records: Instances in all shards.
        max_length: Most pieces of an instance.
        vocab_size: Entries of the vocabulary the ids refer to.
        vocab_sha256: Of the vocabulary file's bytes.
        lowercase: How the text was normalised.
        seed: Of the pairs.
        shards: File names, in order.
    """

    num_records: int
    max_length: int
    vocab_size: int
    vocab_sha256: str
    lowercase: bool
    seed: int
    shards: tuple[str, ...]

    @classmethod
    def read(cls, folder: str | os.PathLike) -> "RecordsDescription":
        """Reads a folder's description.

        Raises:
            InputError: The folder has none, or a shard is missing.
        """
        path = Path(folder) / _DESCRIPTION
        if not path.is_file():
            raise InputError(
                f"{path}: is missing; make the records with tf_scripts/build_pretraining_data.py"
            )
        values = json.loads(path.read_text(encoding="utf-8"))
        description = cls(**{**values, "shards": tuple(values["shards"])})
        missing = [name for name in description.shards if not (Path(folder) / name).is_file()]
        if missing:
            raise InputError(
                f"{folder}: the shards {', '.join(missing)} are missing; build the records again"
            )
        return description

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `records.json`; done last, it says that the shards are complete."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        (Path(folder) / _DESCRIPTION).write_text(text, encoding="utf-8")


def serialize(token_ids: Iterable[int], segment_ids: Iterable[int], next_sentence_label: int) -> bytes:
    """One instance as a serialized `tf.train.Example`."""

    def ints(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    feature = {
        features.TOKEN_IDS: ints(token_ids),
        features.SEGMENT_IDS: ints(segment_ids),
        features.NEXT_SENTENCE_LABEL: ints([next_sentence_label]),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def pretraining_batches(
    folder: str | os.PathLike, masker: TokenMasker, batch_size: int, seed: int, shuffle_buffer: int = 10_000
) -> tf.data.Dataset:
    """An endless stream of masked batches.

    Args:
        folder: Made by `build_pretraining_data.py`.
        masker: Draws the masks; the n-th record of the stream gets seed (`seed`, n).
        batch_size: Rows of a global batch.
        seed: Of the order and the masks.
        shuffle_buffer: Records kept in memory to draw from.

    Returns:
        Dataset of (inputs, targets): `token_ids`, `segment_ids`, `padding_mask` int32 (B, S) with S the
        longest row rounded up to a multiple of 8, `mask_positions` int32 (B, P); and `mask_ids`
        int32 (B, P), `mask_weights` float32 (B, P), `next_sentence_label` int32 (B).
    """
    files = [str(Path(folder) / name) for name in RecordsDescription.read(folder).shards]

    def example(number, serialized):
        parsed = tf.io.parse_single_example(
            serialized,
            {
                features.TOKEN_IDS: tf.io.RaggedFeature(tf.int64),
                features.SEGMENT_IDS: tf.io.RaggedFeature(tf.int64),
                features.NEXT_SENTENCE_LABEL: tf.io.FixedLenFeature([], tf.int64),
            },
        )
        row = {name: tf.cast(value, tf.int32) for name, value in parsed.items()}
        row[features.PADDING_MASK] = tf.ones_like(row[features.TOKEN_IDS])
        return row | masker(row[features.TOKEN_IDS], tf.stack([tf.constant(seed, tf.int64), number]))

    dataset = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed=seed)
    dataset = dataset.interleave(tf.data.TFRecordDataset, cycle_length=min(4, len(files)))
    dataset = dataset.shuffle(shuffle_buffer, seed=seed).repeat().enumerate()
    dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.padded_batch(batch_size).map(_split).prefetch(tf.data.AUTOTUNE)


def _split(batch: dict) -> tuple[dict, dict]:
    width = tf.shape(batch[features.TOKEN_IDS])[1]
    missing = tf.math.floormod(-width, _WIDTH_STEP)
    for name in (features.TOKEN_IDS, features.SEGMENT_IDS, features.PADDING_MASK):
        batch[name] = tf.pad(batch[name], tf.stack([[0, 0], [0, missing]]))
    targets = (features.MASK_IDS, features.MASK_WEIGHTS, features.NEXT_SENTENCE_LABEL)
    return {k: v for k, v in batch.items() if k not in targets}, {k: batch[k] for k in targets}
