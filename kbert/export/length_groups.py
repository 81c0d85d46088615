"""Rows go through the model in groups: of like length where that pays, and small enough for the memory."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from kbert.export.widths import padded_width, rounded_width

#: Rows of a group: enough for a matrix product to be worth its start, few enough to be of like length.
GROUP_ROWS = 12
#: With fewer scores of a head attention is too little for groups to be worth it; all else has no padding.
FEW_SCORES = 32 * 128**2
#: Of the scores of attention that one batch would have, at most so many in the groups, or they are not made.
WORTH = 0.6
#: A group has no more scores of a head than these, those of 32 rows of 512 pieces: in BERT-Base 0.4 GB, and
#: their softmax as much. So a large request takes longer than a small one, but hardly more memory.
MOST_SCORES = 32 * 512**2
#: A shorter row counts as one of this width: the feed-forward layer's 4·H values of a piece take as much room
#: as its scores of so many others, with heads of 64.
LEAST_WIDTH = 256


def by_length(
    compute: Callable[[dict[str, tf.Tensor]], Sequence[tf.Tensor]],
    inputs: Mapping[str, tf.Tensor],
    lengths: tf.Tensor,
    max_length: int,
    dtypes: Sequence[tf.DType],
    *,
    only_where_needed: bool = False,
) -> list[tf.Tensor]:
    """What is computed of each row, in groups of rows of like length where that saves enough of attention.

    Or where one batch would take too much memory, whatever a client sends: see `MOST_SCORES`. The graph has
    the model once, in a loop over the groups. Padding changes no row's result, nor do they.

    Args:
        compute: Function of the inputs of some rows, R from 0 on, to tensors (R, ...), whose other axes are
            as long for some rows as for others. It leaves padding out, or groups save nothing.
        inputs: By name, each (B, ...).
        lengths: int (B), of the rows without padding.
        max_length: Of a row, in pieces.
        dtypes: Of the tensors.
        only_where_needed: Whether there is more than one group only where `MOST_SCORES` asks for it: for what
            takes as long for a few rows as for many.

    Returns:
        The tensors, each (B, ...), in the order of the rows.
    """
    lengths = tf.cast(lengths, tf.int32)
    order = tf.argsort(lengths, stable=True)
    groups, rows = _plan(tf.gather(lengths, order), max_length, only_where_needed)
    shapes: list[tf.TensorShape] = []

    def one_group(group, results):
        chosen = order[group * rows : (group + 1) * rows]
        parts = compute({name: tf.gather(values, chosen) for name, values in inputs.items()})
        shapes[:] = [part.shape[1:] for part in parts]
        return group + 1, [result.write(group, part) for result, part in zip(results, parts, strict=True)]

    results = [tf.TensorArray(dtype, size=groups, infer_shape=False) for dtype in dtypes]
    # Groups that are computed at once would be in memory at once.
    _, results = tf.while_loop(
        lambda group, _: group < groups, one_group, (tf.constant(0), results), parallel_iterations=1
    )
    back = tf.math.invert_permutation(order)
    return [
        # Of what is joined TensorFlow knows no shape.
        tf.gather(tf.ensure_shape(result.concat(), [None, *shape]), back)
        for result, shape in zip(results, shapes, strict=True)
    ]


def _plan(lengths, max_length, only_where_needed=False):
    """How many groups, and the rows of each, int32 (), for rows of these lengths, the shortest first."""
    count, width = tf.size(lengths), padded_width(lengths, max_length)
    most = tf.maximum(MOST_SCORES // (width * tf.maximum(width, LEAST_WIDTH)), 1)
    wanted = (
        count if only_where_needed else tf.where(_is_worth_it(lengths, width, max_length), GROUP_ROWS, count)
    )
    rows = tf.clip_by_value(wanted, 1, most)
    return tf.maximum((count + rows - 1) // rows, 1), rows


def _is_worth_it(lengths, width, max_length):
    """Whether groups of `GROUP_ROWS` save enough, bool (); `width` is that of all rows in one batch."""
    count = tf.size(lengths)
    groups = tf.maximum((count + GROUP_ROWS - 1) // GROUP_ROWS, 1)
    firsts = tf.range(groups) * GROUP_ROWS
    filled = tf.reshape(tf.pad(lengths, [[0, groups * GROUP_ROWS - count]]), [-1, GROUP_ROWS])
    widths = rounded_width(tf.reduce_max(filled, axis=1), max_length)
    scores = tf.reduce_sum(tf.cast(tf.minimum(GROUP_ROWS, count - firsts) * widths**2, tf.float32))
    in_one = tf.cast(count, tf.float32) * tf.cast(width, tf.float32) ** 2
    return (in_one > FEW_SCORES) & (scores <= WORTH * in_one)
