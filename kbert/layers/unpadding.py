"""`Unpadding`: rows without their padding, all tokens of a batch behind each other, and the way back."""

import math

import tensorflow as tf


class Unpadding:
    """Where the tokens of padded rows are.

    What works on each token alone (projections, activation, normalization, dropout) need not work on padding.
    So the tokens of all rows are put into one row, and only attention, which looks at rows, has them back in
    rows for that time, in rows hardly longer than the longest is. A batch of random order is more than half
    padding.

    How many tokens there are is known when the batch comes, so this is TensorFlow's, and not for XLA.

    Args:
        padding_mask: bool, integer or float (B, S); non-zero = real token. None is at L or behind it. Up to a
            32nd more than there are is computed, T in all, see `_rounded`.
        fast_gradients: Whether gradients will be taken: then they are our own, which are faster. In a graph
            TensorFlow never forgets such a gradient, nor the graph and its weights; what only answers should
            do without.

    Attributes:
        mask: bool (B, L), what is left of the mask.

    Reference:
        Zeng et al., 2022, "Boosting Distributed Training Performance of the Unpadded BERT Model".
    """

    def __init__(self, padding_mask, fast_gradients: bool = False):
        self._fast_gradients = fast_gradients
        real = tf.cast(padding_mask, tf.bool)
        self._rows, self._whole_length = (
            tf.shape(real)[axis] if size is None else size for axis, size in enumerate(real.shape)
        )
        used = tf.where(tf.reduce_any(real, axis=0))
        longest = tf.cast(tf.reduce_max(tf.pad(used, [[1, 0], [0, 0]])), tf.int32) + 1
        self._length = tf.minimum((longest + 3) // 4 * 4, self._whole_length)  # As of `_rounded`.
        self.mask = real[:, : self._length]
        real = tf.reshape(self.mask, [-1])
        self._places = tf.cast(tf.where(real)[:, 0], tf.int32)
        count = tf.size(self._places)
        self._spare = _rounded(count) - count
        # Padding comes from behind the last token, where there is a 0.
        self._sources = tf.where(real, tf.cumsum(tf.cast(real, tf.int32)) - 1, count + self._spare)

    def columns(self, longest: int):
        """The place of each token in its own row, int32 (1, T).

        Args:
            longest: What S may be; a longer batch is an error when it comes.
        """
        fits = tf.debugging.assert_less_equal(
            self._whole_length, longest, message="a sequence is longer than the positions of the model"
        )
        with tf.control_dependencies([fits]):
            columns = tf.math.floormod(self._places, self._length)
        return tf.expand_dims(tf.pad(columns, [[0, self._spare]]), 0)

    def remove(self, values):
        """The tokens' values alone, (1, T) or (1, T, W), of those in rows, (B, L or S) or (B, L or S, W)."""
        width = values.shape[2:]
        tokens = self._tokens_of(tf.reshape(values[:, : self._length], [-1, *width]))
        return tf.reshape(tokens, [1, -1, *width])

    def restore(self, values):
        """Each token's values, (1, T, W), in rows, (B, L, W); padding has 0."""
        width = values.shape[-1]
        rows = self._rows_of(tf.reshape(values, [-1, width]))
        return tf.reshape(rows, [self._rows, self._length, width])

    def restore_all(self, values):
        """Each token's values, (1, T, W), in rows as long as they came, (B, S, W); padding has 0."""
        behind = tf.convert_to_tensor([[0, 0], [0, self._whole_length - self._length], [0, 0]])
        rows = tf.pad(self.restore(values), behind)
        return tf.ensure_shape(rows, [*map(_known, (self._rows, self._whole_length)), values.shape[-1]])

    # Each way's gradient is the other: TensorFlow's own would add up row by row what has one summand each.

    def _tokens_of(self, rows):
        if not rows.dtype.is_floating:
            return tf.pad(tf.gather(rows, self._places), [[0, self._spare]])
        if not self._fast_gradients:
            return self._with_spare(rows)
        moved = tf.custom_gradient(lambda rows: (self._with_spare(rows), self._with_padding))
        return moved(rows)

    def _rows_of(self, tokens):
        if not self._fast_gradients:
            return self._with_padding(tokens)
        moved = tf.custom_gradient(lambda tokens: (self._with_padding(tokens), self._with_spare))
        return moved(tokens)

    def _with_spare(self, rows):
        return tf.pad(tf.gather(rows, self._places), [[0, self._spare], [0, 0]])

    def _with_padding(self, tokens):
        return tf.gather(tf.pad(tokens, [[0, 1], [0, 0]]), self._sources)


def _rounded(count):
    """A number of tokens a little above: at most 32 different ones between a number and its double.

    oneDNN makes a kernel for each number that it has not seen, or has forgotten since.
    """
    doublings = tf.math.log(tf.maximum(tf.cast(count, tf.float32), 1)) / math.log(2)
    step = tf.cast(2 ** tf.maximum(tf.floor(doublings) - 5, 0), tf.int32)
    return (count + step - 1) // step * step


def _known(size):
    return size if isinstance(size, int) else None
