"""Long rows go through the model with others of like length, so that attention pays for little padding."""

from collections.abc import Callable

import tensorflow as tf

from kbert.export.widths import padded_width, rounded_width

#: Rows of a group: enough for a matrix product to be worth its start, few enough to be of like length.
GROUP_ROWS = 12
#: With fewer scores of a head attention is too little for groups to be worth it; all else has no padding.
FEW_SCORES = 32 * 128**2
#: Of the scores of attention that one batch would have, at most so many in the groups, or they are not made.
WORTH = 0.6


def by_length(
    compute: Callable[[tf.RaggedTensor, tf.RaggedTensor], tf.Tensor],
    token_ids: tf.RaggedTensor,
    segment_ids: tf.RaggedTensor,
    max_length: int,
) -> tf.Tensor:
    """What is computed of each row, in groups of rows of like length where that saves enough of attention.

    The graph has the model once, in a loop over the groups. Padding changes no row's result, nor do they.

    Args:
        compute: Function of some rows, both int32 (R, ragged), R from 0 on, to float32 (R, ...).
        token_ids: int32 (B, ragged).
        segment_ids: int32 (B, ragged), of the same lengths.
        max_length: Of a row, in pieces.

    Returns:
        float32 (B, ...), in the order of the rows.
    """
    lengths = tf.cast(token_ids.row_lengths(), tf.int32)
    count, order = tf.size(lengths), tf.argsort(lengths, stable=True)
    groups, rows = _plan(tf.gather(lengths, order), count, max_length)
    shapes = []

    def one_group(group, results):
        chosen = order[group * rows : (group + 1) * rows]
        part = compute(tf.gather(token_ids, chosen), tf.gather(segment_ids, chosen))
        shapes.append(part.shape[1:])
        return group + 1, results.write(group, part)

    results = tf.TensorArray(tf.float32, size=groups, infer_shape=False)
    _, results = tf.while_loop(lambda group, _: group < groups, one_group, (tf.constant(0), results))
    joined = results.concat()  # Of which TensorFlow knows no shape.
    return tf.gather(tf.ensure_shape(joined, [None, *shapes[0]]), tf.math.invert_permutation(order))


def _plan(lengths, count, max_length):
    """How many groups, and the rows of each, int32 (), for rows of these lengths, the shortest first."""
    groups = tf.maximum((count + GROUP_ROWS - 1) // GROUP_ROWS, 1)
    firsts = tf.range(groups) * GROUP_ROWS
    filled = tf.reshape(tf.pad(lengths, [[0, groups * GROUP_ROWS - count]]), [-1, GROUP_ROWS])
    widths = rounded_width(tf.reduce_max(filled, axis=1), max_length)
    scores = tf.reduce_sum(tf.cast(tf.minimum(GROUP_ROWS, count - firsts) * widths**2, tf.float32))
    in_one = tf.cast(count, tf.float32) * tf.cast(padded_width(lengths, max_length), tf.float32) ** 2
    worth = (in_one > FEW_SCORES) & (scores <= WORTH * in_one)
    return tf.where(worth, groups, 1), tf.where(worth, GROUP_ROWS, count)
