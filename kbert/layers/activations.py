"""The non-linearities between the two matrices of a feed-forward layer."""

import math

import keras
from keras import ops


def gelu_for_training(x):
    """`gelu` with its gradient written out: Φ(x) + x·φ(x), kept from the forward pass.

    Automatic differentiation goes over the widest tensors of the model twice as often. Same values and
    dtype as `gelu`, which exports use, as they need no gradient.
    """
    return _gelu_with_gradient(x)


@ops.custom_gradient
def _gelu_with_gradient(x):
    exact = ops.cast(x, "float32")
    below = 0.5 + 0.5 * ops.erf(exact * math.sqrt(0.5))
    slope = below + exact * ops.exp(-0.5 * ops.square(exact)) * (1 / math.sqrt(2 * math.pi))

    def gradient(*args, upstream=None):
        if upstream is None:  # Keras on torch gives it by name, after what came in.
            (upstream,) = args
        return ops.cast(ops.cast(upstream, "float32") * slope, x.dtype)

    return ops.cast(exact * below, x.dtype), gradient


@keras.saving.register_keras_serializable(package="kbert")
def gelu(x):
    """x·Φ(x), exact, by the error function.

    Computed in float32 whatever comes in: the error function of bfloat16 is slower on CPUs and loses
    the tail. The result has the dtype of `x`. Where that is float32, Keras's own form is taken, which has the
    tail exactly; else one whose error function takes half the time, and which is off by less than 1e-7·|x|.

    Reference:
        Hendrycks and Gimpel, 2016, "Gaussian Error Linear Units", section 2.
    """
    exact = ops.cast(x, "float32")
    if keras.backend.standardize_dtype(x.dtype) == "float32":
        return ops.gelu(exact, approximate=False)
    return ops.cast(exact * (0.5 + 0.5 * ops.erf(exact * math.sqrt(0.5))), x.dtype)


@keras.saving.register_keras_serializable(package="kbert")
def gelu_tanh(x):
    """Google's approximation 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))); same dtype rule as `gelu`.

    Reference:
        google-research/bert, modeling.py, `gelu`; off the exact one by at most about 5e-4.
    """
    return ops.cast(ops.gelu(ops.cast(x, "float32"), approximate=True), x.dtype)


def activation(name: str, training: bool = False):
    """The function that a config's `activation` names: `"gelu"`, `"gelu_tanh"`, `"relu"` or `"silu"`.

    Args:
        name: As in the config.
        training: Whether gradients will be asked for; the values are the same.

    Raises:
        ValueError: The name is none of these.
    """
    functions = {"gelu": gelu, "gelu_tanh": gelu_tanh, "relu": ops.relu, "silu": ops.silu}
    if name not in functions:
        raise ValueError(f"activation={name!r} is unknown; expected one of {', '.join(functions)}")
    return gelu_for_training if training and name == "gelu" else functions[name]
