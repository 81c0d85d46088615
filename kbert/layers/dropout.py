"""`Dropout`, with random numbers that cost a quarter."""

import math

import keras
from keras import ops

from kbert.layers.faster_ops import random_words

#: Rates that a byte is fine enough for; others take two.
_RATES_OF_BYTES = (1 / 32, 31 / 32)


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
    block. Here 8 decide (16 for rates below 1/32 or above 31/32): a value is dropped if its byte is below
    256·rate. That is no whole number, so each call draws which of the two beside it is taken, such that a
    value is dropped with the probability `rate` exactly: for 0.1 it is 25 in two of five calls and 26 in
    three. The others are scaled by what was taken, so that the mean stays in each call.

    Args:
        rate: Probability of dropping, in [0, 1).
        seed: Int, or None for one of Keras's own.

    Call arguments:
        inputs: float, any shape.
        training: Python bool; anything but true returns the inputs.

    Returns:
        As the inputs.

    Raises:
        ValueError: The rate is out of range, or there is a `noise_shape`.

    Reference:
        Srivastava et al., 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        if rate >= 1 or kwargs.get("noise_shape") is not None:
            raise ValueError(
                f"rate={rate}, noise_shape={kwargs.get('noise_shape')}: expected a rate below 1, and no "
                f"noise_shape, as each value is dropped for itself; keras.layers.Dropout has both"
            )
        super().__init__(rate, seed=seed, **kwargs)
        self._drawn_seeds = iter(())

    def draw_seeds(self, count: int) -> tuple:
        """The seeds of the next calls in training, as tensors; none at rate 0."""
        return tuple(self.seed_generator.next() for _ in range(count)) if self.rate else ()

    def use_seeds(self, seeds: tuple) -> None:
        """Has the next calls in training drop by these, one each, and not draw; see `recompute`."""
        self._drawn_seeds = iter(seeds)

    def call(self, inputs, training=None):
        if not training or not self.rate:
            return inputs
        kept, factor = self.mask(ops.shape(inputs), inputs.dtype)
        return inputs * (kept * ops.cast(factor, inputs.dtype))

    def mask(self, shape, dtype) -> tuple:
        """What a call in training drops, for those who multiply by it themselves; the rate must not be 0.

        Returns:
            1 where a value is kept and 0 elsewhere, of the shape and dtype; and the factor of what is kept,
            float32 ().
        """
        drawn = next(self._drawn_seeds, None)
        seed = self.seed_generator if drawn is None else _DrawnSeed(drawn)
        bits = 8 if _RATES_OF_BYTES[0] <= self.rate <= _RATES_OF_BYTES[1] else 16
        draws, chance = _draws(math.prod(shape), bits, seed)
        values = 2**bits
        below = min(math.floor(self.rate * values), values - 2)
        dropped = below + ops.cast(chance < self.rate * values - below, "int32")
        kept = ops.cast(ops.reshape(draws, shape) >= ops.cast(dropped, draws.dtype), dtype)
        return kept, ops.cast(values / (values - dropped), "float32")


def _draws(count, bits, seed):
    """Random numbers of so many bits, uint8 or uint16 (count,), and one more, float32 () in [0, 1)."""
    in_a_word = 32 // bits
    words = random_words((count - 1) // in_a_word + 2, seed)
    # Of a column, as JAX makes a number's parts an axis of their own in any case, TensorFlow only then.
    draws = ops.reshape(ops.view(ops.reshape(words, (-1, 1)), f"uint{bits}"), (-1,))[:count]
    return draws, ops.cast(words[-1], "float32") * 2.0**-32 + 0.5
