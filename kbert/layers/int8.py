"""`Int8Dense`: a projection in whole numbers of 8 bits, for models that only answer."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from kbert.layers.activations import activation as activation_function

#: Steps of float inputs on either side of 0, and of what goes from one product to the next.
SIGNED_STEPS, STEPS = 127, 255
#: Of weights on either side of 0. Processors without VNNI (AMD before Zen 4, Intel before 2019) add products
#: in pairs, in 16 bits, and lose what has no room there; two of 255·63 have, two of 255·127 have not.
WEIGHT_STEPS = 63

_constant = contextvars.ContextVar("constant_kernels", default=False)


@contextlib.contextmanager
def constant_kernels() -> Iterator[None]:
    """Graphs that are traced within it keep kernels and biases as they are when they first run.

    oneDNN multiplies them in an order of its own. A live graph must put them in that order at each call, as
    their variables may change; one that is exported need not.
    """
    token = _constant.set(True)
    try:
        yield
    finally:
        _constant.reset(token)


@keras.saving.register_keras_serializable(package="kbert")
class Int8Dense(keras.layers.Layer):
    """act(x·W + b) of the last axis, with x and W in 8 bits; what a `TokenDense` becomes for inference.

    A quarter of the memory, and on processors with instructions for it (VNNI, AMX) several times as fast.
    Each column i of the inputs has a range R_i, no less than the largest absolute value expected there, and
    each column j of R_i·W_ij a range r_j, 127/63 of its largest. Whole numbers x' in -127..127 and W' in
    -63..63 stand for both:

        x_i ≈ x'_i·R_i/127,  R_i·W_ij ≈ W'_ij·r_j/127,  so  y_j = act(r_j/127²·Σ_i x'_i·W'_ij + b_j),

    and the sum is exact, on any processor (`WEIGHT_STEPS` says why 63). The ranges are measured once, on
    texts like those to come (`kbert.models.in_int8`); what is beyond them is clipped. Taken from each batch,
    a text's answer would depend on its neighbours.

    Args:
        units: Width of the output.
        activation: As of `TokenDense`.
        chained: Whether the inputs are steps that another `Int8Dense` put out, 0..255 between two bounds that
            all columns share: finer than 255 steps around 0 for what an activation leaves of the negative.

    Call arguments:
        inputs: float (..., input width), taken as float32; uint8 if `chained`.
        output_bounds: float32 (2,), the `input_bounds` of the next in the chain; or None.

    Returns:
        float32 (..., units), or uint8 with `output_bounds`.

    Raises:
        ValueError: The activation is unknown.

    Reference:
        Wu et al., 2020, "Integer Quantization for Deep Learning Inference", section 3; Xiao et al., 2023,
        "SmoothQuant", section 4, on ranges by column, which move large values of x into W.
    """

    def __init__(self, units: int, activation: str | None = None, chained: bool = False, **kwargs):
        # bfloat16 has fewer steps between two powers of 2 than 8 bits between two bounds.
        super().__init__(**{"trainable": False, "autocast": False, **kwargs})
        if keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # XLA does not know the operation of `kbert.layers.onednn`.
        self.units = units
        self.activation = activation
        self.chained = chained
        if activation is not None:
            activation_function(activation)  # An unknown name shows here, not in the first batch.

    def build(self, inputs_shape):
        width = inputs_shape[-1]
        self.kernel = self._weight("kernel", (width, self.units), "zeros", dtype="int8")
        self.kernel_ranges = self._weight("kernel_ranges", (self.units,), "ones")
        self.bias = self._weight("bias", (self.units,), "zeros")
        if self.chained:
            self.input_bounds = self._weight("input_bounds", (2,), "zeros")
        else:
            self.input_ranges = self._weight("input_ranges", (width,), "ones")
        self.built = True

    def _weight(self, name, shape, initializer, **kwargs):
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False, **kwargs)

    def take(self, kernel, bias, inputs) -> None:
        """Takes over a projection in float32.

        Args:
            kernel: float (input width, units).
            bias: float (units,).
            inputs: float, all R_i (input width,); if `chained`, the two bounds (2,).
        """
        inputs, kernel = np.asarray(inputs, np.float32), np.asarray(kernel, np.float32)
        if self.chained:
            self.input_bounds.assign(inputs)
        else:
            self.input_ranges.assign(inputs)
            kernel = kernel * inputs[:, np.newaxis]
        largest = np.abs(kernel).max(axis=0)
        ranges = np.where(largest > 0, largest, 1).astype(np.float32) * (SIGNED_STEPS / WEIGHT_STEPS)
        self.kernel.assign(np.rint(kernel / ranges * SIGNED_STEPS).astype(np.int8))
        self.kernel_ranges.assign(ranges)
        self.bias.assign(bias)

    def call(self, inputs, output_bounds=None):
        return self._project(inputs, self.kernel, self.kernel_ranges, self.bias, output_bounds)

    def call_split(self, first, others, at: int):
        """As of `AdaptableDense`: the first `at` columns for one input, the rest for another."""
        halves = (slice(None, at), slice(at, None))
        return [
            self._project(inputs, self.kernel[:, half], self.kernel_ranges[half], self.bias[half])
            for inputs, half in zip((first, others), halves, strict=True)
        ]

    def _project(self, inputs, kernel, ranges, bias, output_bounds=None):
        shape = ops.shape(inputs)
        rows = ops.reshape(inputs if self.chained else ops.cast(inputs, "float32"), (-1, shape[-1]))
        known = self.input_bounds if self.chained else self.input_ranges
        outputs = _product()(rows, known, kernel, ranges, bias, self.activation, output_bounds)
        return ops.reshape(outputs, (*shape[:-1], kernel.shape[-1]))

    def compute_output_spec(self, inputs, output_bounds=None):
        dtype = "float32" if output_bounds is None else "uint8"
        return keras.KerasTensor((*inputs.shape[:-1], self.units), dtype=dtype)

    def get_config(self):
        own = {"units": self.units, "activation": self.activation, "chained": self.chained}
        return {**super().get_config(), **own}


def _product():
    """The fastest function that this machine and backend have; all take and give the same."""
    if keras.backend.backend() == "tensorflow":
        from kbert.layers import onednn

        if onednn.is_available():
            return functools.partial(onednn.int8_product, keep=_constant.get())
    return int8_product


def int8_product(rows, inputs, kernel, kernel_ranges, bias, activation=None, output_bounds=None):
    """The arithmetic of `Int8Dense`, written down with plain operations; slow, and the yardstick.

    Args:
        rows: float32 or uint8 (B, K).
        inputs: float32, the ranges (K,) of float rows, or the bounds (2,) of others.
        kernel: int8 (K, units), in -63..63.
        kernel_ranges: float32 (units,).
        bias: float32 (units,).
        activation: Its name, or None.
        output_bounds: float32 (2,) for outputs in uint8, or None.

    Returns:
        float32 or uint8 (B, units).
    """
    kernel = ops.cast(kernel, "int32")
    if keras.backend.standardize_dtype(rows.dtype) == "uint8":
        low, step = inputs[0], (inputs[1] - inputs[0]) / STEPS
        sums = ops.cast(ops.matmul(ops.cast(rows, "int32"), kernel), "float32") * step
        sums = sums + low * ops.cast(ops.sum(kernel, axis=0), "float32")
    else:
        rows = ops.round(ops.clip(rows / inputs, -1, 1) * SIGNED_STEPS)
        sums = ops.cast(ops.matmul(ops.cast(rows, "int32"), kernel), "float32") / SIGNED_STEPS
    outputs = sums * (kernel_ranges / SIGNED_STEPS) + bias
    if activation is not None:
        outputs = activation_function(activation)(outputs)
    if output_bounds is None:
        return outputs
    low, high = output_bounds[0], output_bounds[1]
    steps = ops.round((outputs - low) * (STEPS / (high - low)))
    return ops.cast(ops.clip(steps, 0, STEPS), "uint8")
