"""The non-linearities between the two matrices of a feed-forward layer."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
def gelu(x):
    """x·Φ(x), exact, by the error function.

    Computed in float32 whatever comes in: the error function of bfloat16 is slower on CPUs and loses
    the tail. The result has the dtype of `x`.

    Reference:
        Hendrycks and Gimpel, 2016, "Gaussian Error Linear Units", section 2.
    """
    return ops.cast(ops.gelu(ops.cast(x, "float32"), approximate=False), x.dtype)


@keras.saving.register_keras_serializable(package="kbert")
def gelu_tanh(x):
    """Google's approximation 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))); same dtype rule as `gelu`.

    Reference:
        google-research/bert, modeling.py, `gelu`; off the exact one by at most about 5e-4.
    """
    return ops.cast(ops.gelu(ops.cast(x, "float32"), approximate=True), x.dtype)


def activation(name: str):
    """The function that a config's `activation` names: `"gelu"`, `"gelu_tanh"`, `"relu"` or `"silu"`.

    Raises:
        ValueError: The name is none of these.
    """
    functions = {"gelu": gelu, "gelu_tanh": gelu_tanh, "relu": ops.relu, "silu": ops.silu}
    if name not in functions:
        raise ValueError(f"activation={name!r} is unknown; expected one of {', '.join(functions)}")
    return functions[name]
