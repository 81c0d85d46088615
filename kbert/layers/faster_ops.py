"""What TensorFlow has a faster way for than `keras.ops`; each with its twin for the other backends."""

from typing import Any

import keras
from keras import ops


def _has_tensorflow() -> bool:
    return keras.backend.backend() == "tensorflow"


def product_with_rows(rows, table):
    """rows·tableᵀ: each row's product with each row of the table.

    Args:
        rows: float (R, H).
        table: float (V, H), of the same dtype.

    Returns:
        float (R, V).
    """
    if not _has_tensorflow():
        return ops.matmul(rows, ops.transpose(table))
    import tensorflow as tf

    # To transpose the table first is as fast, but its gradient is transposed back then, all V·H of it.
    return tf.matmul(rows, table, transpose_b=True)


def best_class(logits):
    """The index of the largest of the last axis, the first one of equals.

    Args:
        logits: float (..., C).

    Returns:
        int32 (...).
    """
    if not _has_tensorflow():
        return ops.cast(ops.argmax(logits, axis=-1), "int32")
    import tensorflow as tf

    # Keras tells 0 from -0 first, in four more passes over all classes.
    return tf.argmax(logits, axis=-1, output_type=tf.int32)


def unpadding(padding_mask, training):
    """How to leave padding out of what needs no rows; None where shapes must be known beforehand.

    Args:
        padding_mask: bool, integer or float (B, S); non-zero = real token.
        training: Whether gradients will be asked for; without, they are right, but slow.

    Returns:
        `kbert.layers.unpadding.Unpadding`, or None on a backend other than TensorFlow.
    """
    if not _has_tensorflow():
        return None
    from kbert.layers.unpadding import Unpadding

    return Unpadding(padding_mask, bool(training))


def traced_once(**options):
    """How to call layers of the same kind, one after the other, so that a graph is traced once for all.

    Args:
        options: Keyword arguments of each call.

    Returns:
        `kbert.layers.traced_once.TracedOnce`, or None where nothing is traced: outside of a graph, or on a
        backend other than TensorFlow.
    """
    if not _has_tensorflow():
        return None
    import tensorflow as tf

    from kbert.layers.traced_once import TracedOnce

    return TracedOnce(**options) if tf.inside_function() else None


def has_attention_for_training() -> bool:
    """Whether `attention_for_training` is there; without, the operations one by one do the same."""
    return _has_tensorflow()


def attention_for_training(query, key, value, bias, dropout):
    """See `kbert.layers.attention_gradient.context_for_training`."""
    from kbert.layers.attention_gradient import context_for_training

    return context_for_training(query, key, value, bias, dropout)


def share_of_replica(loss):
    """A loss divided by the number of replicas, whose gradients Keras adds up; its own losses do the same."""
    if not _has_tensorflow():
        return loss
    import tensorflow as tf

    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def random_words(count, seed):
    """Numbers of 32 random bits.

    Args:
        count: int, how many.
        seed: `keras.random.SeedGenerator`, which this advances.

    Returns:
        int32 (count,).
    """
    if not _has_tensorflow():
        return keras.random.randint((count,), -(2**31), 2**31 - 1, seed=seed)
    import tensorflow as tf

    # Between bounds each number would be divided by their distance, for a fifth more time.
    everything: Any = None
    drawn = tf.cast(seed.next(), tf.int32)
    return tf.random.stateless_uniform([count], drawn, everything, everything, tf.int32)
