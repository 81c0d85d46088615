"""Batches of rows, padded no further than they must."""

from typing import Any

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data.autotuning import without_autotuning
from kbert.data.encoding import EncodedRows
from kbert.data.ragged import group_rows

#: Rows are sorted by length within pools of this many batches; larger pools pad less but shuffle less.
POOL_BATCHES = 100


def training_batches(
    encoded: EncodedRows, batch_size: int, epochs: int, seed: int, by_length: bool = False
) -> tf.data.Dataset:
    """`epochs` passes over all rows, each in an order of its own.

    Args:
        encoded: Of a task's `encode`.
        batch_size: Rows of a global batch; the last of each epoch may be smaller.
        epochs: Passes over the data.
        seed: Of all orders.
        by_length: Whether rows of like length go together, which pads less. For models that compute padding
            too; it costs a little of the score, for tags and answers at least.

    Returns:
        Dataset of (inputs, targets): the features of `encoded` and `padding_mask`, each padded to the longest
        row of its batch. It has `epochs · ceil(rows / batch_size)` elements.
    """
    pool_batches = POOL_BATCHES if by_length else 1
    plan = [
        batch
        for epoch in range(epochs)
        for batch in _bucketed_order(
            encoded.lengths, batch_size, np.random.default_rng([seed, epoch]), pool_batches
        )
    ]
    return _batches(encoded, plan).map(lambda rows, inputs, targets: (inputs, targets))


def evaluation_batches(encoded: EncodedRows, batch_size: int) -> tf.data.Dataset:
    """Every row once, the shortest first; no row is repeated or invented to fill the last batch.

    Returns:
        Dataset of (rows, inputs, targets), `rows` int64 (B) being the numbers of the rows.
    """
    order = np.argsort(encoded.lengths, kind="stable")
    return _batches(encoded, np.split(order, range(batch_size, len(order), batch_size)))


def _bucketed_order(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator, pool_batches: int
) -> list[np.ndarray]:
    """Batches of row numbers: pools of rows drawn at random, each sorted and cut."""
    order = rng.permutation(len(lengths))
    batches = []
    for pool in np.split(order, range(pool_batches * batch_size, len(order), pool_batches * batch_size)):
        if pool_batches > 1:
            # Within a single batch it would give one replica the short rows, and another one the long ones.
            pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += np.split(pool, range(batch_size, len(pool), batch_size))
    return [batches[i] for i in rng.permutation(len(batches))]


def pools_by_length(
    records: tf.data.Dataset, batch_size: int, pool_batches: int | None = None
) -> tf.data.Dataset:
    """A stream of records, reordered so that each `batch_size` of them in succession are of like length.

    What `training_batches` does with rows in memory, for streams of any size: a pool is sorted, cut into
    batches, and these stand in the order in which their shortest records came. So shuffle before. There is
    no randomness of its own.

    Args:
        records: Dicts of tensors, `token_ids` int32 (length) among them.
        batch_size: Of the batches that will be made of the result.
        pool_batches: Batches in a pool; more pad less but shuffle less. None: `POOL_BATCHES`.

    Returns:
        Dataset of the same records.
    """
    pool_batches = pool_batches or POOL_BATCHES

    def reorder(pool):
        lengths = pool[features.TOKEN_IDS].row_lengths()
        order = tf.argsort(lengths, stable=True)
        whole = tf.size(order) // batch_size * batch_size
        batches = tf.reshape(order[:whole], [-1, batch_size])
        batches = tf.gather(batches, tf.argsort(batches[:, 0]))
        # What is no whole batch ends the stream, where it moves no other.
        order = tf.concat([tf.reshape(batches, [-1]), order[whole:]], axis=0)
        return {name: tf.gather(values, order) for name, values in pool.items()}

    def plain(record):
        # A row of a ragged tensor is called ragged still, though nothing is; `padded_batch` would refuse it.
        return {name: tf.convert_to_tensor(value) for name, value in record.items()}

    return records.ragged_batch(batch_size * pool_batches).map(reorder).unbatch().map(plain)


def _batches(encoded: EncodedRows, plan: list[np.ndarray]) -> tf.data.Dataset:
    with tf.device("CPU"):
        numbers: Any = group_rows(np.concatenate(plan), [len(rows) for rows in plan])
        # An array would become a constant of the graph, copied into it and of 2 GB at most.
        all_targets = {
            name: tf.convert_to_tensor(values) if isinstance(values, np.ndarray) else values
            for name, values in encoded.targets.items()
        }

    def gather(rows):
        inputs = {name: _rows(values, rows) for name, values in encoded.inputs.items()}
        inputs[features.PADDING_MASK] = tf.ones_like(inputs[features.TOKEN_IDS])
        targets = {name: _rows(values, rows) for name, values in all_targets.items()}
        return rows, _dense(inputs), _dense(targets)

    dataset = tf.data.Dataset.from_tensor_slices(numbers)
    batches = dataset.map(gather, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return without_autotuning(batches)


def _rows(values: Any, rows: tf.Tensor) -> Any:
    """`tf.gather`, which of ragged values looks at all rows each time, however few it takes."""
    if not isinstance(values, tf.RaggedTensor):
        return tf.gather(values, rows)
    begins, ends = (tf.gather(values.row_splits, places) for places in (rows, rows + 1))
    within = tf.ragged.range(begins, ends)
    return within.with_values(_rows(values.values, within.values))


def _dense(values: dict) -> dict[str, tf.Tensor]:
    """Ragged values padded with 0, which stands for nothing in every feature."""
    return {
        name: value.to_tensor() if isinstance(value, tf.RaggedTensor) else value
        for name, value in values.items()
    }
