"""Batches for fine-tuning: rows of like length together, padded no further than they must."""

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data.encoding import EncodedTexts

#: Rows are sorted by length within pools of this many batches; larger pools pad less but shuffle less.
_POOL_BATCHES = 100


def training_batches(encoded: EncodedTexts, batch_size: int, epochs: int, seed: int) -> tf.data.Dataset:
    """`epochs` passes over all rows, each in an order of its own.

    Args:
        encoded: Of `encode`.
        batch_size: Rows of a global batch; the last of each epoch may be smaller.
        epochs: Passes over the data.
        seed: Of all orders.

    Returns:
        Dataset of (inputs, targets): `token_ids`, `segment_ids`, `padding_mask` int32 (B, S), and
        `label` int32 (B). It has `epochs · ceil(rows / batch_size)` elements.
    """
    plan = [
        batch
        for epoch in range(epochs)
        for batch in _bucketed_order(encoded.lengths, batch_size, np.random.default_rng([seed, epoch]))
    ]
    return _batches(encoded, plan).map(lambda rows, inputs, targets: (inputs, targets))


def evaluation_batches(encoded: EncodedTexts, batch_size: int) -> tf.data.Dataset:
    """Every row once, the shortest first; no row is repeated or invented to fill the last batch.

    Returns:
        Dataset of (rows, inputs, targets), `rows` int64 (B) being the numbers of the rows.
    """
    order = np.argsort(encoded.lengths, kind="stable")
    return _batches(encoded, np.split(order, range(batch_size, len(order), batch_size)))


def _bucketed_order(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    order = rng.permutation(len(lengths))
    batches = []
    for pool in np.split(order, range(_POOL_BATCHES * batch_size, len(order), _POOL_BATCHES * batch_size)):
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += np.split(pool, range(batch_size, len(pool), batch_size))
    return [batches[i] for i in rng.permutation(len(batches))]


def _batches(encoded: EncodedTexts, plan: list[np.ndarray]) -> tf.data.Dataset:
    numbers = tf.ragged.constant([rows.tolist() for rows in plan], dtype=tf.int64, row_splits_dtype=tf.int64)

    def gather(rows):
        ids = tf.gather(encoded.token_ids, rows)
        width = ids.bounding_shape()[1]
        inputs = {
            features.TOKEN_IDS: _dense(ids, width),
            features.SEGMENT_IDS: _dense(tf.gather(encoded.segment_ids, rows), width),
            features.PADDING_MASK: _dense(tf.ones_like(ids), width),
        }
        return rows, inputs, {features.LABEL: tf.gather(encoded.labels, rows)}

    dataset = tf.data.Dataset.from_tensor_slices(numbers)
    return dataset.map(gather, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _dense(ragged: tf.RaggedTensor, width: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(ragged.to_tensor(0, shape=tf.stack([-1, width])), [None, None])
