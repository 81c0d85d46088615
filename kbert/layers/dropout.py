"""`Dropout`, with random numbers that cost half as much."""

import math

import keras
from keras import ops

_DRAWS = 2**16


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

    def call(self, inputs, training=None):
        dropped = round(self.rate * _DRAWS)
        if not training or not dropped:
            return inputs
        shape = ops.shape(inputs)
        count = math.prod(shape)
        # One int32 decides for two neighbours; of an odd count's last one, half is not used.
        pairs = keras.random.randint(((count + 1) // 2, 1), -(2**31), 2**31 - 1, seed=self.seed_generator)
        draws = ops.reshape(ops.reshape(ops.view(pairs, "uint16"), (-1,))[:count], shape)
        kept = ops.cast(ops.greater_equal(draws, ops.cast(dropped, "uint16")), inputs.dtype)
        return inputs * (kept * (_DRAWS / (_DRAWS - dropped)))
