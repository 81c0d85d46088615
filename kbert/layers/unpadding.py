"""`Unpadding`: rows without their padding, all tokens of a batch behind each other, and the ways back."""

import itertools
import math

import tensorflow as tf

from kbert.layers.masks import attention_bias

#: Into how many groups of like length the rows are shared out for attention in training, where each core has
#: 16 rows; more save little more, and each is some thousand operations of a graph.
GROUPS = 4


class Unpadding:
    """Where the tokens of padded rows are.

    What works on each token alone (projections, activation, normalization, dropout) need not work on padding.
    So the tokens of all rows are put into one row, and only attention, which looks at rows, has them back in
    rows for that time. A batch of random order is more than half padding.

    Attention goes with the square of a row's length. In training the rows come back in groups of like length,
    each hardly longer than its longest; where nothing is trained, in one.

    How many tokens there are is known when the batch comes, so this is TensorFlow's, and not for XLA.

    Args:
        padding_mask: bool, integer or float (B, S); non-zero = real token. None is at L or behind it. Up to a
            32nd more than there are is computed, T in all, see `_rounded`.
        training: Whether gradients will be taken: then they are our own, which are faster. In a graph
            TensorFlow never forgets such a gradient, nor the graph and its weights; what only answers should
            do without.

    Attributes:
        mask: bool (B, L), what is left of the mask.
        group_biases: float32 (R, 1, 1, G) for each group, of R rows of length G: see `attention_bias`.

    Reference:
        Zeng et al., 2022, "Boosting Distributed Training Performance of the Unpadded BERT Model".
    """

    def __init__(self, padding_mask, training: bool = False):
        real = tf.cast(padding_mask, tf.bool)
        self._rows, self._whole_length = (
            tf.shape(real)[axis] if size is None else size for axis, size in enumerate(real.shape)
        )
        ends = tf.cast(real, tf.int32) * tf.range(1, self._whole_length + 1)
        ends = tf.reduce_max(tf.pad(ends, [[0, 0], [1, 0]]), axis=1)
        self._length = tf.minimum(_width(ends), self._whole_length)
        self.mask = real[:, : self._length]
        real = tf.reshape(self.mask, [-1])
        self._places = tf.cast(tf.where(real)[:, 0], tf.int32)
        count = tf.size(self._places)
        self._spare = _rounded(count) - count
        # Padding comes from behind the last token, where there is a 0.
        sources = tf.where(real, tf.cumsum(tf.cast(real, tf.int32)) - 1, count + self._spare)
        self._whole = _Layout(self._places, sources, self._spare, training)
        if training:
            self._share_out(ends, tf.reshape(sources, tf.shape(self.mask)))
        else:
            self._grouped, self._group_shapes = self._whole, [(self._rows, self._length)]
            self.group_biases = [attention_bias(self.mask)]

    def _share_out(self, ends, sources):
        """Makes the groups of rows, of which these are the ends, and where their places have their tokens."""
        order = tf.argsort(ends, stable=True)
        bounds = [tf.size(ends) * number // GROUPS for number in range(GROUPS + 1)]
        self.group_biases, self._group_shapes = [], []
        group_sources, row_starts, begin = [], [], 0
        for rows in (order[low:high] for low, high in itertools.pairwise(bounds)):
            length = tf.minimum(_width(tf.gather(ends, rows)), self._length)
            self.group_biases.append(attention_bias(tf.gather(self.mask, rows)[:, :length]))
            self._group_shapes.append((tf.size(rows), length))
            group_sources.append(tf.reshape(tf.gather(sources, rows)[:, :length], [-1]))
            row_starts.append(begin + tf.range(tf.size(rows)) * length)
            begin += tf.size(rows) * length
        starts = tf.gather(tf.concat(row_starts, 0), tf.math.invert_permutation(order))
        in_row = tf.math.floormod(self._places, self._length)
        places = tf.gather(starts, self._places // self._length) + in_row
        self._grouped = _Layout(places, tf.concat(group_sources, 0), self._spare, fast_gradients=True)

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
        """The tokens' values alone, int32 (1, T), of those in rows, (B, S)."""
        return tf.expand_dims(self._whole.tokens_of(tf.reshape(values[:, : self._length], [-1])), 0)

    def restore(self, values):
        """Each token's values, (1, T, W), in rows, (B, L, W); padding has 0."""
        width = values.shape[-1]
        rows = self._whole.places_of(tf.reshape(values, [-1, width]))
        return tf.reshape(rows, [self._rows, self._length, width])

    def restore_all(self, values):
        """Each token's values, (1, T, W), in rows as long as they came, (B, S, W); padding has 0."""
        behind = tf.convert_to_tensor([[0, 0], [0, self._whole_length - self._length], [0, 0]])
        rows = tf.pad(self.restore(values), behind)
        return tf.ensure_shape(rows, [*map(_known, (self._rows, self._whole_length)), values.shape[-1]])

    def in_groups(self, values) -> list:
        """Each token's values, (1, T, W), in rows, (R, G, W) for each group; padding has 0."""
        width = values.shape[-1]
        places = self._grouped.places_of(tf.reshape(values, [-1, width]))
        sizes = [rows * length for rows, length in self._group_shapes]
        groups = tf.split(places, tf.stack(sizes), num=len(sizes))
        return [
            tf.reshape(group, [*shape, width])
            for group, shape in zip(groups, self._group_shapes, strict=True)
        ]

    def from_groups(self, groups):
        """The tokens' values alone, (1, T, W), of those in the groups' rows, (R, G, W) each."""
        width = groups[0].shape[-1]
        places = tf.concat([tf.reshape(group, [-1, width]) for group in groups], 0)
        return tf.expand_dims(self._grouped.tokens_of(places), 0)


class _Layout:
    """The way between tokens behind each other and the places of padded rows that lie behind each other.

    Args:
        places: int32, of each token.
        sources: int32, the token of each place, or one behind the last for padding.
        spare: int32 (), tokens of zeros that follow the others.
        fast_gradients: Whether each way's gradient is the other: TensorFlow's own would add up row by row
            what has one summand each.
    """

    def __init__(self, places, sources, spare, fast_gradients):
        self._places = places
        self._sources = sources
        self._spare = spare
        self._fast_gradients = fast_gradients

    def tokens_of(self, values):
        """The tokens' values, (T, ...), of those of all places."""
        if not (self._fast_gradients and values.dtype.is_floating):
            return self._gathered(values)
        return tf.custom_gradient(lambda values: (self._gathered(values), self._scattered))(values)

    def places_of(self, tokens):
        """The values of all places, of the tokens', (T, ...)."""
        if not self._fast_gradients:
            return self._scattered(tokens)
        return tf.custom_gradient(lambda tokens: (self._scattered(tokens), self._gathered))(tokens)

    def _gathered(self, values):
        behind = [[0, self._spare], *[[0, 0]] * (values.shape.rank - 1)]
        return tf.pad(tf.gather(values, self._places), behind)

    def _scattered(self, tokens):
        return tf.gather(tf.pad(tokens, [[0, 1], [0, 0]]), self._sources)


def _width(ends):
    """The length of rows that end there, a little above the longest: see `_rounded`."""
    longest = tf.reduce_max(tf.pad(ends, [[1, 0]], constant_values=1))
    return (longest + 3) // 4 * 4


def _rounded(count):
    """A number of tokens a little above: at most 32 different ones between a number and its double.

    oneDNN makes a kernel for each number that it has not seen, or has forgotten since.
    """
    doublings = tf.math.log(tf.maximum(tf.cast(count, tf.float32), 1)) / math.log(2)
    step = tf.cast(2 ** tf.maximum(tf.floor(doublings) - 5, 0), tf.int32)
    return (count + step - 1) // step * step


def _known(size):
    return size if isinstance(size, int) else None
