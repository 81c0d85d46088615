"""How wide the rows of a batch are made."""

import tensorflow as tf

#: Widths of short rows are multiples of the first number, others of the second: little padding where it
#: would be most of a row, and few enough shapes for the caches of a server.
SHORT_STEP, STEP = 8, 16
#: The longest of the short rows, in pieces.
SHORT = 64


def all_widths(max_length: int) -> list[int]:
    """The widths that there are, but for `max_length` itself where it is no multiple of the step."""
    return [
        *range(SHORT_STEP, min(SHORT, max_length) + 1, SHORT_STEP),
        *range(SHORT + STEP, max_length + 1, STEP),
    ]


def rounded_width(lengths: tf.Tensor, max_length: int) -> tf.Tensor:
    """The widths of rows that are batches of their own, int32, of any shape."""
    lengths = tf.maximum(lengths, 1)
    step = tf.where(lengths <= SHORT, SHORT_STEP, STEP)
    return tf.minimum((lengths + step - 1) // step * step, max_length)


def padded_width(lengths: tf.Tensor, max_length: int) -> tf.Tensor:
    """The width of a batch of rows of these lengths, int32 (); they may be none."""
    return rounded_width(tf.reduce_max(lengths), max_length)
