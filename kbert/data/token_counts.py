"""How often each token is to be predicted in a folder of records."""

import math
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data import google_records
from kbert.data.record_stream import damage_named
from kbert.data.tfrecord import RecordsDescription

_CHUNK = 1024


def token_counts(
    folder: str | os.PathLike, special_ids: Sequence[int], most_records: int = 100_000
) -> np.ndarray:
    """Counts the tokens that masks can hide; of records with masks of their own, those that they do hide.

    Args:
        folder: Made by `build_pretraining_data.py`.
        special_ids: Of [CLS] and the like, which are never hidden.
        most_records: Of long shards only the first ones, in proportion; they were shuffled when written.

    Returns:
        int64 (vocabulary size).

    Raises:
        InputError: The folder holds no records, or damaged ones.
    """
    description = RecordsDescription.read(folder)
    share = min(1.0, most_records / description.num_records)
    counts = np.zeros(description.vocab_size, np.int64)
    files = description.files(folder)
    with damage_named(files):
        for file, records in zip(files, description.shard_records, strict=True):
            rows = tf.data.TFRecordDataset(file).take(math.ceil(records * share))
            for chunk in rows.map(lambda row: _tokens(row, description.masks)).ragged_batch(_CHUNK):
                counts += np.bincount(chunk.flat_values, minlength=len(counts))
    counts[list(special_ids)] = 0
    return counts


def _tokens(serialized, masks):
    if masks is None:
        form = {features.TOKEN_IDS: tf.io.RaggedFeature(tf.int64)}
        return tf.io.parse_single_example(serialized, form)[features.TOKEN_IDS]
    row = google_records.parse(serialized, masks)
    return tf.boolean_mask(tf.cast(row[features.MASK_IDS], tf.int64), row[features.MASK_WEIGHTS] > 0)
