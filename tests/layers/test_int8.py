"""`Int8Dense`: against whole numbers in NumPy, and the kernel of oneDNN against plain operations."""

import math

import keras
import numpy as np
import pytest

from kbert.layers import Int8Dense, TokenDense, int8
from tests.layer_contract import assert_layer_contract

RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(3, 5, 64)).astype("float32")
STEPS = RNG.integers(0, 256, (3, 5, 64)).astype("uint8")
KERNEL = RNG.normal(size=(64, 16)).astype("float32") * 0.1
BIAS = RNG.normal(size=16).astype("float32")
RANGES = RNG.uniform(1.5, 3, 64).astype("float32")  # Some inputs are beyond them.
BOUNDS = np.array([-0.17, 1.3], "float32")
ACTIVATIONS = [None, "relu", "gelu", "gelu_tanh", "silu"]


def made(activation=None, chained=False, kernel=KERNEL):
    layer = Int8Dense(16, activation, chained)
    layer.build(ROWS.shape)
    layer.take(kernel, BIAS, BOUNDS if chained else RANGES)
    return layer


def numpy_activation(name, x):
    erf = np.vectorize(math.erf)
    functions = {
        None: lambda x: x,
        "relu": lambda x: np.maximum(x, 0),
        "gelu": lambda x: x * (0.5 + 0.5 * erf(x / np.sqrt(2))),
        "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        "silu": lambda x: x / (1 + np.exp(-x)),
    }
    return functions[name](x)


def expected(inputs, activation, chained):
    """The formulas of the class, in whole numbers of 64 bits and float64."""
    scaled = KERNEL.astype(float) if chained else KERNEL.astype(float) * RANGES[:, None]
    largest = np.abs(scaled).max(0)
    kernel = np.rint(scaled / largest * 63).astype(int)
    if chained:
        low, high = BOUNDS.astype(float)
        sums = (inputs.astype(int) @ kernel) * (high - low) / 255 + low * kernel.sum(0)
    else:
        sums = np.rint(np.clip(inputs / RANGES, -1, 1) * 127).astype(int) @ kernel / 127
    return numpy_activation(activation, sums * largest / 63 + BIAS)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("chained", [False, True])
def test_outputs_are_those_of_whole_numbers(activation, chained):
    inputs = STEPS if chained else ROWS
    layer = made(activation, chained)
    want = expected(inputs, activation, chained)
    np.testing.assert_allclose(np.asarray(layer(inputs)), want, atol=2e-5)
    steps = np.asarray(layer(inputs, output_bounds=np.array([-0.2, 2.5], "float32")))
    assert steps.dtype == np.uint8
    near = np.clip((want + 0.2) * (255 / 2.7), 0, 255)
    assert np.abs(steps - near).max() < 0.51


@pytest.mark.slow_after_first
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("bounds", [None, np.array([-0.2, 2.5], "float32")])
def test_every_way_gives_the_same(activation, chained, bounds):
    """Plain operations, and on TensorFlow the kernel of oneDNN, eagerly and in a graph."""
    inputs = STEPS if chained else ROWS
    layer = made(activation, chained)
    known = layer.input_bounds if chained else layer.input_ranges
    plain = int8.int8_product(
        inputs.reshape(-1, 64), known, layer.kernel, layer.kernel_ranges, layer.bias, activation, bounds
    )
    plain = np.asarray(plain, float).reshape(3, 5, 16)
    ways = {"eager": layer(inputs, output_bounds=bounds)}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        call = tf.function(lambda inputs: layer(inputs, output_bounds=bounds))
        ways |= {"graph": call(inputs), "graph again": call(inputs)}
    for way, found in ways.items():
        assert np.abs(np.asarray(found, float) - plain).max() < (1e-5 if bounds is None else 1.01), way


@pytest.mark.parametrize("chained", [False, True])
def test_sums_of_the_largest_numbers_are_exact(chained):
    """Processors without VNNI add two products in 16 bits; what has no room there is lost."""
    kernel = np.full((64, 16), 0.1, "float32")
    kernel[:, ::2] *= -1
    layer = made(chained=chained)
    layer.take(kernel, BIAS, BOUNDS if chained else np.full(64, BOUNDS[1]))
    largest = np.full((1, 64), 255, "uint8") if chained else np.full((1, 64), BOUNDS[1])
    np.testing.assert_allclose(layer(largest)[0], kernel.sum(0) * BOUNDS[1] + BIAS, rtol=1e-5)


def test_two_layers_of_one_shape_have_weights_of_their_own():
    """The kernel of oneDNN keeps what it has seen where it may."""
    first, second = made(), made(kernel=-KERNEL)
    for _ in range(2):
        total = np.asarray(first(ROWS)) + np.asarray(second(ROWS))
        np.testing.assert_allclose(total, np.broadcast_to(2 * BIAS, total.shape), atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only oneDNN keeps kernels")
def test_kernels_are_constants_where_that_was_said_alone():
    import tensorflow as tf

    layer, rows = made(), tf.TensorSpec([None, 64])

    def kept():
        graph = tf.function(lambda inputs: layer(inputs)).get_concrete_function(rows).graph
        (product,) = (op for op in graph.get_operations() if op.type == "_QuantizedMatMul")
        return product.get_attr("is_weight_const"), product.get_attr("is_bias_const")

    assert kept() == (False, False)
    with int8.constant_kernels():
        assert kept() == (True, True)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only oneDNN keeps kernels")
def test_weights_that_are_set_again_count_in_a_graph_too():
    import tensorflow as tf

    for chained in (False, True):
        inputs = STEPS if chained else ROWS
        layer = made(chained=chained)
        call = tf.function(layer)
        call(inputs)
        layer.take(-3 * KERNEL[:, ::-1], BIAS + 1, BOUNDS if chained else RANGES)
        np.testing.assert_allclose(call(inputs), layer(inputs), atol=1e-5)


def test_a_row_does_not_depend_on_others():
    loud = ROWS.copy()
    loud[1:] *= 100
    np.testing.assert_array_equal(np.asarray(made()(loud))[0], np.asarray(made()(ROWS))[0])


def test_it_is_near_the_projection_that_it_takes_over():
    plain = TokenDense(16, activation="gelu")
    plain.build(ROWS.shape)
    plain.set_weights([KERNEL, BIAS])
    layer = Int8Dense(16, "gelu")
    layer.build(ROWS.shape)
    layer.take(KERNEL, BIAS, np.abs(ROWS).max((0, 1)))
    gap = np.abs(np.asarray(layer(ROWS)) - np.asarray(plain(ROWS)))
    assert 0 < gap.mean() < 0.01 and gap.max() < 0.05


def test_a_column_of_zeros_stays_one():
    kernel = KERNEL.copy()
    kernel[:, 3] = 0
    outputs = np.asarray(made(kernel=kernel)(ROWS))
    np.testing.assert_allclose(outputs[..., 3], BIAS[3], rtol=1e-6)
    assert np.isfinite(outputs).all()


def test_split_columns_are_those_of_the_whole():
    layer = made()
    first, rest = layer.call_split(ROWS[:, :1], ROWS, 6)
    whole = np.asarray(layer(ROWS))
    np.testing.assert_allclose(np.asarray(first), whole[:, :1, :6], atol=1e-5)
    np.testing.assert_allclose(np.asarray(rest), whole[..., 6:], atol=1e-5)


def test_contract():
    kwargs = {"units": 6, "activation": "gelu", "chained": False}
    assert_layer_contract(Int8Dense, kwargs, ROWS, mixed_dtype="float32")


def test_an_unknown_activation_is_refused_at_once():
    with pytest.raises(ValueError, match="activation='swish' is unknown"):
        Int8Dense(4, "swish")
