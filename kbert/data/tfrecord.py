"""Pretraining records: written once, read by every run.

A record holds `token_ids`, `segment_ids` and `next_sentence_label`, not masks: those are drawn afresh each
time a record is read, so that a second pass over the data hides other words. Where words count, it holds
`word_starts` too; where there is no next-sentence task, no label. Records with masks, of Google's form, can
be made and read as well (see `kbert.data.google_records`).
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import tensorflow as tf

from kbert import features
from kbert.data import google_records
from kbert.data.record_stream import count_records, masked_batches, shuffled_records
from kbert.errors import InputError
from kbert.text.masking import TokenMasker
from kbert.whole_files import check_local

_DESCRIPTION = "records.json"

# TensorFlow looks up its parts anew at every mention, which is felt a million times.
_Feature, _Int64List = tf.train.Feature, tf.train.Int64List


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
        shard_records: Instances of each shard.
        shard_bytes: Size of each.
        next_sentence: "nsp", "sop" or "none".
        word_starts: Whether instances say where words begin.
        masks: None, or whose form the stored masks have: "google" or "model_garden".
    """

    num_records: int
    max_length: int
    vocab_size: int
    vocab_sha256: str
    lowercase: bool
    seed: int
    shards: tuple[str, ...]
    shard_records: tuple[int, ...]
    shard_bytes: tuple[int, ...]
    next_sentence: str = "nsp"
    word_starts: bool = False
    masks: str | None = None

    @classmethod
    def read(cls, folder: str | os.PathLike) -> "RecordsDescription":
        """Reads a folder's description, and looks whether the shards are whole.

        Raises:
            InputError: The folder has none, or one of another version; or a shard is missing, longer or
                shorter than it was.
        """
        check_local(folder)
        path = Path(folder) / _DESCRIPTION
        if not path.is_file():
            raise InputError(
                f"{path}: is missing; make the records with tf_scripts/build_pretraining_data.py"
            )
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            lists = {name: tuple(values[name]) for name in ("shards", "shard_records", "shard_bytes")}
            description = cls(**{**values, **lists})
        except (ValueError, KeyError, TypeError) as error:
            known = ", ".join(field.name for field in fields(cls))
            raise InputError(
                f"{path}: is no description of this version ({error}); expected JSON of {known}; build the "
                f"records again"
            ) from error
        description._check_shards(Path(folder))
        return description

    def _check_shards(self, folder: Path) -> None:
        missing = [name for name in self.shards if not (folder / name).is_file()]
        if missing:
            raise InputError(
                f"{folder}: the shards {', '.join(missing)} are missing; build the records again"
            )
        for name, size, records in zip(self.shards, self.shard_bytes, self.shard_records, strict=True):
            found = (folder / name).stat().st_size
            if found != size:
                # Where it was cut off within a record, `count_records` says so.
                whole = count_records(folder / name)
                raise InputError(
                    f"{folder / name}: has {found} bytes and ends before record {whole} (from 0); expected "
                    f"{size} bytes, {records} records; copy it again, or build the records again"
                )

    def files(self, folder: str | os.PathLike) -> list[str]:
        """The paths of the shards."""
        return [str(Path(folder) / name) for name in self.shards]

    @property
    def identity(self) -> str:
        """Short words that are equal for the same records, in whatever folder they lie."""
        digest = hashlib.sha256(self._json().encode()).hexdigest()
        return f"{self.num_records} records, {sum(self.shard_bytes)} bytes, {digest[:12]}"

    def _json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `records.json`; done last, it says that the shards are complete."""
        (Path(folder) / _DESCRIPTION).write_text(self._json(), encoding="utf-8")


def serialize(
    token_ids: Iterable[int],
    segment_ids: Iterable[int],
    next_sentence_label: int | None,
    word_starts: Iterable[int] | None = None,
) -> bytes:
    """One instance as a serialized `tf.train.Example`, the same bytes in every process."""
    columns = {features.TOKEN_IDS: token_ids, features.SEGMENT_IDS: segment_ids}
    if next_sentence_label is not None:
        columns[features.NEXT_SENTENCE_LABEL] = [next_sentence_label]
    if word_starts is not None:
        columns[features.WORD_STARTS] = word_starts
    feature = {name: _Feature(int64_list=_Int64List(value=values)) for name, values in columns.items()}
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


def masked_records(
    folder: str | os.PathLike,
    masker: TokenMasker | None,
    seed: int,
    shuffle_buffer: int = 10_000,
    first: int = 0,
) -> tf.data.Dataset:
    """An endless stream of masked records, one by one, such as `pack_rows` takes.

    Which masks a record gets depends on the seed, the epoch and the record, not on when it is read.

    Args:
        folder: Made by `build_pretraining_data.py`.
        masker: Draws the masks; None for records that hold masks.
        seed: Of the order and the masks.
        shuffle_buffer: Records kept in memory to draw from.
        first: Records of the stream to leave out: those that a run read before it was stopped.

    Returns:
        Dataset of `token_ids`, `segment_ids` int32 (length), `mask_positions`, `mask_ids` int32 (P),
        `mask_weights` float32 (P), `record_number` int64, and, but for records without such a task,
        `next_sentence_label` int32.

    Raises:
        InputError: The records cannot be used, or hold masks and a masker was given, or neither.
    """
    description = RecordsDescription.read(folder)
    if (description.masks is None) != (masker is not None):
        raise InputError(
            f"{folder}: records {'with' if description.masks else 'without'} masks need "
            f"{'no masker' if description.masks else 'a masker'}"
        )
    records = shuffled_records(
        description.files(folder),
        description.shard_records,
        seed=seed,
        shuffle_buffer=shuffle_buffer,
        first=first,
    )
    has_label = description.next_sentence != "none"

    def row(epoch, number, serialized):
        if masker is None:
            parsed = google_records.parse(serialized, description.masks or "")
            named = parsed if has_label else _without_label(parsed)
            return named | {features.RECORD_NUMBER: number}
        parsed = _parse(serialized, has_label, description.word_starts)
        starts = parsed.pop(features.WORD_STARTS, None)
        run = tf.stack([tf.constant(seed, tf.int64), epoch])
        mask_seed: Any = tf.random.fold_in(run, number)  # TensorFlow's stubs call it an int
        masked = masker(parsed[features.TOKEN_IDS], mask_seed, starts)
        return parsed | masked | {features.RECORD_NUMBER: number}

    return records.map(row, num_parallel_calls=tf.data.AUTOTUNE)


def pretraining_batches(
    folder: str | os.PathLike,
    masker: TokenMasker | None,
    batch_size: int,
    seed: int,
    shuffle_buffer: int = 10_000,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """An endless stream of masked batches.

    Args:
        folder: Made by `build_pretraining_data.py`.
        masker: Draws the masks; None for records that hold masks.
        batch_size: Rows of a global batch.
        seed: Of the order and the masks.
        shuffle_buffer: Records kept in memory to draw from.
        first_batch: Batches of the stream to leave out: those that a run read before it was stopped.

    Returns:
        Dataset of (inputs, targets): `token_ids`, `segment_ids`, `padding_mask` int32 (B, S) with S the
        longest row rounded up to a multiple of 8, `mask_positions` int32 (B, P), and `record_number`
        int64 (B), which no model looks at: it says where a batch came from that went wrong; and `mask_ids`
        int32 (B, P), `mask_weights` float32 (B, P), and, but for records without such a task,
        `next_sentence_label` int32 (B).

    Raises:
        InputError: As `masked_records`.
    """
    records = masked_records(folder, masker, seed, shuffle_buffer, first_batch * batch_size)
    return masked_batches(records, batch_size)


def _parse(serialized: tf.Tensor, has_label: bool, has_words: bool) -> dict[str, tf.Tensor]:
    ids = (features.TOKEN_IDS, features.SEGMENT_IDS)
    spec: dict[str, Any] = {name: tf.io.RaggedFeature(tf.int64) for name in ids}
    if has_words:
        spec[features.WORD_STARTS] = tf.io.RaggedFeature(tf.int64)
    if has_label:
        spec[features.NEXT_SENTENCE_LABEL] = tf.io.FixedLenFeature([], tf.int64)
    parsed = tf.io.parse_single_example(serialized, spec)
    return {name: tf.cast(value, tf.int32) for name, value in parsed.items()}


def _without_label(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != features.NEXT_SENTENCE_LABEL}
