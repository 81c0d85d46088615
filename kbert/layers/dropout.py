"""`Dropout`, with random numbers that cost half as much."""

import math

import keras
from keras import ops

_DRAWS = 2**16


class _DrawnSeed(keras.random.SeedGenerator):
    """A seed that was drawn before, in the form that `keras.random` takes: it has no use for a tensor."""

    def __init__(self, seed):  # Not that of the base class, which makes a variable to count up.
        self._seed = seed

    def next(self, ordered=True):
        return self._seed


@keras.saving.register_keras_serializable(package="kbert")
class Dropout(keras.layers.Dropout):
    """Sets each value to 0 with probability `rate` in training, and scales the others by 1/(1 - rate).

    `keras.layers.Dropout` draws 32 random bits for each value, which is the dearest elementwise step of a
    block. Here 16 bits decide: the rate is kept to 1/131072 (0.1 becomes 0.100006, and the scale fits it).

    Args:
        rate: Probability of dropping, in [0, 1).
        seed: Int, or None for one of Keras's own.

    Call arguments:
        inputs: float, any shape.
        training: Python bool; anything but true returns the inputs.

    Returns:
        As the inputs.

    Reference:
        Srivastava et al., 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(rate, seed=seed, **kwargs)
        self._drawn_seeds = iter(())

    def draw_seeds(self, count: int) -> tuple:
        """The seeds of the next calls in training, as tensors; none at rate 0."""
        return tuple(self.seed_generator.next() for _ in range(count)) if self.rate else ()

    def use_seeds(self, seeds: tuple) -> None:
        """Has the next calls in training drop by these, one each, and not draw; see `recompute`."""
        self._drawn_seeds = iter(seeds)

    def call(self, inputs, training=None):
        dropped = round(self.rate * _DRAWS)
        if not training or not dropped:
            return inputs
        drawn = next(self._drawn_seeds, None)
        seed = self.seed_generator if drawn is None else _DrawnSeed(drawn)
        shape = ops.shape(inputs)
        count = math.prod(shape)
        # One int32 decides for two neighbours; of an odd count's last one, half is not used.
        pairs = keras.random.randint(((count + 1) // 2, 1), -(2**31), 2**31 - 1, seed=seed)
        draws = ops.reshape(ops.reshape(ops.view(pairs, "uint16"), (-1,))[:count], shape)
        kept = ops.cast(ops.greater_equal(draws, ops.cast(dropped, "uint16")), inputs.dtype)
        return inputs * (kept * (_DRAWS / (_DRAWS - dropped)))
