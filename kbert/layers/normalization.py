"""`LayerNorm`: the normalization of a token's values, in fewer passes where nothing is trained."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class LayerNorm(keras.layers.LayerNormalization):
    """γ·(x - mean)/√(variance + ε) + β over the last axis; weights and arguments as Keras's own.

    Keras multiplies γ by 1/√(variance + ε) first, which makes a whole tensor of a column of numbers: six
    passes over the tokens' values where five smaller ones do, and half as much time again. In training the
    gradient evens that out, and the layer of Keras does the work.

    Call arguments:
        inputs: float (..., H).
        training: Python bool; which of the two ways; the values are the same, and computed in float32.

    Returns:
        As the inputs, in the compute dtype.

    Reference:
        Ba et al., 2016, "Layer Normalization", section 3.
    """

    def call(self, inputs, training=None):
        usual = self.scale and self.center and self.axis in (-1, [-1])
        if training or not usual or getattr(self, "rms_scaling", False):
            return super().call(inputs)
        dtype = keras.backend.result_type(self.compute_dtype, "float32")  # Squares need the range.
        inputs, gamma, beta = (ops.cast(values, dtype) for values in (inputs, self.gamma, self.beta))
        centred = inputs - ops.mean(inputs, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        outputs = centred * ops.rsqrt(variance + self.epsilon) * gamma + beta
        return ops.cast(outputs, self.compute_dtype)
