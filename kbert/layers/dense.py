"""`TokenDense`: the linear layer that nearly all of BERT's arithmetic runs through."""

import keras
from keras import ops

from kbert.layers.initializers import truncated_normal


@keras.saving.register_keras_serializable(package="kbert")
class TokenDense(keras.layers.Layer):
    """Linear projection y = x·W + b of the last axis, for tokens in rows.

    `keras.layers.Dense` turns an input of rank 3 into a tensor contraction, which on a CPU is slower
    than one matrix product. This layer folds the leading axes into one, multiplies, and unfolds them.

    Args:
        units: Width of the output.
        initializer_range: Standard deviation of the truncated normal that starts W; b starts at 0.

    Call arguments:
        inputs: float (..., input width).

    Returns:
        float (..., units), in the compute dtype.

    Example:
        >>> TokenDense(3)(keras.ops.ones((2, 5, 4))).shape
        TensorShape([2, 5, 3])
    """

    def __init__(self, units: int, initializer_range: float = 0.02, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.initializer_range = initializer_range

    def build(self, inputs_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(inputs_shape[-1], self.units),
            initializer=truncated_normal(self.initializer_range),
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, inputs):
        shape = ops.shape(inputs)
        rows = ops.reshape(inputs, (-1, shape[-1]))
        outputs = ops.add(ops.matmul(rows, self.kernel), self.bias)
        return ops.reshape(outputs, (*shape[:-1], self.units))

    def compute_output_shape(self, inputs_shape):
        return (*inputs_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "initializer_range": self.initializer_range}
