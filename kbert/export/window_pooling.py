"""What the windows of a text say becomes one answer, in the graph: `kbert.evaluation.pool_classes` as ops."""

import tensorflow as tf


def pool_numbers(values: tf.Tensor, owner: tf.Tensor, count: tf.Tensor, pooling: str) -> tf.Tensor:
    """One row of numbers for each text, each column by itself.

    Args:
        values: float32 (W, C), a row for each window.
        owner: int32 (W), ascending, which text it is cut from; every text has one or more.
        count: int32 (), the number of texts, B.
        pooling: One of `kbert.evaluation.POOLINGS`; `"vote"` is the median.

    Returns:
        float32 (B, C).
    """
    if pooling == "mean":
        return tf.math.unsorted_segment_mean(values, owner, count)
    if pooling == "max":
        return tf.math.unsorted_segment_max(values, owner, count)
    windows = tf.RaggedTensor.from_value_rowids(values, owner, nrows=tf.cast(count, owner.dtype))  # pyright: ignore[reportAttributeAccessIssue]
    ordered = tf.sort(windows.to_tensor(values.dtype.max), axis=1)
    size = tf.cast(windows.row_lengths(), tf.int32)
    middle = tf.stack([(size - 1) // 2, size // 2], axis=1)
    return tf.reduce_mean(tf.gather(ordered, middle, axis=1, batch_dims=1), axis=1)


def pool_classes(probabilities: tf.Tensor, owner: tf.Tensor, count: tf.Tensor, pooling: str) -> tf.Tensor:
    """One distribution over the classes for each text.

    Args:
        probabilities: float32 (W, C), a distribution for each window.
        owner: As of `pool_numbers`.
        count: As of `pool_numbers`.
        pooling: As there; `"vote"` is the mean of the windows that agree with most.

    Returns:
        float32 (B, C), each row of sum 1.
    """
    if pooling != "vote":
        pooled = pool_numbers(probabilities, owner, count, pooling)
        return pooled / tf.reduce_sum(pooled, axis=-1, keepdims=True)
    num_classes = probabilities.shape[-1]
    choices = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    votes = tf.math.unsorted_segment_sum(tf.one_hot(choices, num_classes), owner, count)
    most = tf.equal(votes, tf.reduce_max(votes, axis=-1, keepdims=True))
    means = tf.math.unsorted_segment_mean(probabilities, owner, count)
    winner = tf.argmax(tf.where(most, means, -1.0), axis=-1, output_type=tf.int32)
    agree = tf.cast(tf.equal(choices, tf.gather(winner, owner)), probabilities.dtype)[:, tf.newaxis]
    sums = tf.math.unsorted_segment_sum(probabilities * agree, owner, count)
    return sums / tf.math.unsorted_segment_sum(agree, owner, count)
