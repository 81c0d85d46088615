"""Pretraining records as google-research/bert and Model Garden write and read them: with masks, padded.

kbert's own records hold no masks (see `kbert.data.tfrecord`); these are for going from one to the other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from kbert import features
from kbert.data.record_stream import count_records, masked_batches, shuffled_records
from kbert.errors import InputError

_MASK = "input_mask"
_MASKED = {
    features.MASK_POSITIONS: "masked_lm_positions",
    features.MASK_IDS: "masked_lm_ids",
    features.MASK_WEIGHTS: "masked_lm_weights",
}
_LABEL = "next_sentence_labels"

#: kbert's feature -> its name in google-research/bert, and in Model Garden (`use_v2_feature_names`).
NAMES = {
    "google": {features.TOKEN_IDS: "input_ids", features.SEGMENT_IDS: "segment_ids", **_MASKED},
    "model_garden": {features.TOKEN_IDS: "input_word_ids", features.SEGMENT_IDS: "input_type_ids", **_MASKED},
}


def serialize(
    masked: Mapping[str, Sequence], segment_ids: Sequence[int], label: int, form: str = "google"
) -> bytes:
    """One instance with masks as a serialized `tf.train.Example`, laid out as Google's.

    Args:
        masked: `token_ids`, padded to the length of the record, `mask_positions`, `mask_ids`,
            `mask_weights`, padded to the number of predictions.
        segment_ids: Of the real tokens.
        label: 0 = is next, 1 = random.
        form: "google" or "model_garden": whose names the features have.

    Reference:
        google-research/bert, create_pretraining_data.py, `write_instance_to_example_files`.
    """
    missing = len(masked[features.TOKEN_IDS]) - len(segment_ids)
    padded = {**masked, features.SEGMENT_IDS: [*segment_ids, *[0] * missing]}
    columns = {
        name: (_floats if feature == features.MASK_WEIGHTS else _ints)(padded[feature])
        for feature, name in NAMES[form].items()
    }
    columns[_MASK] = _ints([1] * len(segment_ids) + [0] * missing)
    columns[_LABEL] = _ints([label])
    example = tf.train.Example(features=tf.train.Features(feature=columns))
    return example.SerializeToString(deterministic=True)


def google_batches(
    files: Sequence[str | Path], batch_size: int, seed: int, shuffle_buffer: int = 10_000
) -> tf.data.Dataset:
    """An endless stream of batches from files of google-research/bert or Model Garden, masks as stored.

    Args:
        files: TFRecord files, all of one form.
        batch_size: Rows of a global batch.
        seed: Of the order.
        shuffle_buffer: Records kept in memory to draw from.

    Returns:
        As `pretraining_batches`; `next_sentence_label` only if the files have it.

    Raises:
        InputError: A file is damaged, its records are of neither form, or no file has any.
    """
    sizes = [count_records(file) for file in files]
    if not sum(sizes):
        raise InputError(f"{', '.join(map(str, files))}: no records")
    # Google's tool leaves files empty where it has fewer instances than files.
    form, has_label = _form_of(next(file for file, size in zip(files, sizes, strict=True) if size))
    records = shuffled_records(list(map(str, files)), sizes, seed=seed, shuffle_buffer=shuffle_buffer)
    rows = records.map(
        lambda epoch, number, serialized: parse(serialized, form, has_label),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return masked_batches(rows, batch_size)


def parse(serialized: tf.Tensor, form: str, has_label: bool = True) -> dict[str, tf.Tensor]:
    """A record of either form as kbert's features, without padding of the tokens.

    Args:
        serialized: string scalar.
        form: "google" or "model_garden".
        has_label: Whether there is a next-sentence label.
    """
    names = NAMES[form]
    spec: dict[str, Any] = {name: tf.io.RaggedFeature(tf.int64) for name in (*names.values(), _MASK)}
    spec[_MASKED[features.MASK_WEIGHTS]] = tf.io.RaggedFeature(tf.float32)
    if has_label:
        spec[_LABEL] = tf.io.FixedLenFeature([], tf.int64)
    parsed = tf.io.parse_single_example(serialized, spec)
    row = {feature: parsed[name] for feature, name in names.items()}
    length = tf.reduce_sum(parsed[_MASK])
    for feature in (features.TOKEN_IDS, features.SEGMENT_IDS):
        row[feature] = row[feature][:length]
    if has_label:
        row[features.NEXT_SENTENCE_LABEL] = parsed[_LABEL]
    return {
        feature: value if feature == features.MASK_WEIGHTS else tf.cast(value, tf.int32)
        for feature, value in row.items()
    }


def _form_of(file: str | Path) -> tuple[str, bool]:
    """Whose names a file's features have, and whether the next-sentence label is among them."""
    record = next(tf.data.TFRecordDataset(str(file)).take(1).as_numpy_iterator())
    found = set(tf.train.Example.FromString(record).features.feature)
    for form, names in NAMES.items():
        if {*names.values(), _MASK} <= found:
            return form, _LABEL in found
    raise InputError(
        f"{file}: its records have the features {', '.join(sorted(found))}; expected those of "
        f"google-research/bert ({', '.join(NAMES['google'].values())}, {_MASK}) or of Model Garden"
    )


def _ints(values: Sequence[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values: Sequence[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
