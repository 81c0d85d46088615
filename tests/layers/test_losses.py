"""Sums and weights, against NumPy in float64."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from kbert.layers import (
    absolute_error_sum,
    activations,
    binary_correct_sum,
    binary_cross_entropy_sum,
    binary_divergence_sum,
    correct_sum,
    cross_entropy_sum,
    divergence_sum,
    exact_match_sum,
    losses,
    squared_error_sum,
)

RNG = np.random.default_rng(17)


def test_weighted_cross_entropy_and_hits():
    logits = RNG.normal(size=(2, 3, 4)).astype("float32")
    labels, weights = np.array([[0, 3, 1], [2, 2, 0]]), np.array([[1, 0.5, 0], [0, 2, 1]], "float32")
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    nll = -np.log(np.take_along_axis(probabilities, labels[..., None], -1))[..., 0]
    total, weight = cross_entropy_sum(labels, logits, weights)
    np.testing.assert_allclose([total, weight], [(nll * weights).sum(), 4.5], rtol=1e-5)
    hits, count = correct_sum(labels, logits)
    assert float(hits) == (logits.argmax(-1) == labels).sum() and float(count) == 6


def gradient_of(function, inputs):
    """Of a function of one array to a scalar, by either backend."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(inputs)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        inputs = tf.constant(inputs)
        tape.watch(inputs)
        result = function(inputs)
    return tape.gradient(result, inputs)


def test_cross_entropy_has_the_gradient_of_softmax_minus_labels():
    logits, labels = RNG.normal(0, 3, size=(4, 3, 7)).astype("float32"), RNG.integers(0, 7, (4, 3))
    weights = RNG.random((4, 3)).astype("float32")
    found = gradient_of(lambda values: cross_entropy_sum(labels, values, weights)[0], logits)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = (softmax - np.eye(7)[labels]) * weights[..., None]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX hides what it wraps")
def test_written_gradients_take_what_torch_gives_them(monkeypatch):
    """What comes from above by name, after the inputs; other backends give it alone."""
    monkeypatch.setattr(ops, "custom_gradient", lambda function: function)
    logits, labels = ops.array(RNG.normal(size=(3, 3)).astype("float32")), ops.array([2, 0, 1])
    upstream = ops.array([0.5, -2.0, 3.0])
    gelu = activations._gelu_with_gradient.__wrapped__
    for inputs, (_, gradient) in (
        (logits, losses._cross_entropy(labels, logits)),
        (logits[0], gelu(logits[0])),
    ):
        by_name = gradient(inputs, upstream=upstream)
        np.testing.assert_array_equal(by_name, gradient(upstream))
        assert np.abs(by_name).max() > 0.1


def test_a_batch_of_no_rows_has_no_loss_and_no_gradient():
    logits, labels = np.zeros((0, 3, 7), "float32"), np.zeros((0, 3), "int32")
    assert [float(value) for value in cross_entropy_sum(labels, logits)] == [0, 0]
    assert gradient_of(lambda values: cross_entropy_sum(labels, values)[0], logits).shape == (0, 3, 7)


@pytest.mark.parametrize(
    "label, logits, expected",
    [(0, [1e4, -1e4, 0], 0), (1, [1e4, -1e4, 0], 2e4), (2, [1e6, 1e6, 1e6 + 5], np.log1p(2 * np.exp(-5)))],
)
def test_cross_entropy_far_from_zero(label, logits, expected):
    total, _ = cross_entropy_sum(np.array([label]), np.array([logits], "float32"))
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_binary_cross_entropy_is_that_of_the_probabilities():
    logits = RNG.normal(0, 3, size=(4, 3)).astype("float32")
    labels = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [0.25, 1, 0]], "float32")
    weights = np.array([[1, 1, 0], [2, 1, 1], [0.5, 1, 1], [1, 1, 3]], "float32")
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    each = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    np.testing.assert_allclose(binary_cross_entropy_sum(labels, logits), [each.sum(), 12], rtol=1e-5)
    weighted = binary_cross_entropy_sum(labels, logits, weights)
    np.testing.assert_allclose(weighted, [(each * weights).sum(), weights.sum()], rtol=1e-5)


@pytest.mark.parametrize(
    "label, logit, expected",
    [(1, 0.0, np.log(2)), (0, 40.0, 40.0), (1, 40.0, np.exp(-40.0)), (0, -1e4, 0.0), (1, -1e4, 1e4)],
)
@pytest.mark.parametrize("label_dtype", ["int32", "float32"])
def test_binary_cross_entropy_far_from_zero(label, logit, expected, label_dtype):
    loss, _ = binary_cross_entropy_sum(np.array([label], label_dtype), np.array([logit], "float32"))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_binary_cross_entropy_is_computed_in_float32():
    logits = ops.cast(np.array([3.14159, -2.71828]), "bfloat16")
    loss, _ = binary_cross_entropy_sum(np.array([1.0, 0.0]), logits)
    exact = np.log1p(np.exp(-np.asarray(ops.cast(logits, "float32")) * [1, -1])).sum()
    np.testing.assert_allclose(loss, exact, rtol=1e-6)


def test_single_answers_and_whole_rows():
    logits = np.array([[2, -1, 0.5], [0.1, 3, -4], [-1, -1, -1], [1, 1, 1]], "float32")
    labels = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]], "float32")
    for dtype in ("float32", "int32"):
        np.testing.assert_array_equal(binary_correct_sum(labels.astype(dtype), logits), [3 + 2 + 3, 12])
        np.testing.assert_array_equal(exact_match_sum(labels.astype(dtype), logits), [2, 4])


def test_errors_of_numbers():
    targets, values = np.array([1, -2, 0.5], "float32"), np.array([3, -2.5, 0.5], "float32")
    weights = np.array([1, 4, 9], "float32")
    np.testing.assert_allclose(squared_error_sum(targets, values), [4.25, 3])
    np.testing.assert_allclose(squared_error_sum(targets, values, weights), [5, 14])
    np.testing.assert_allclose(absolute_error_sum(targets, values), [2.5, 3])
    np.testing.assert_allclose(absolute_error_sum(targets, values, weights), [4, 14])


@pytest.mark.parametrize("shape", [(3, 1), (1,)])
@pytest.mark.parametrize(
    "error",
    [
        squared_error_sum,
        absolute_error_sum,
        binary_cross_entropy_sum,
        binary_correct_sum,
        exact_match_sum,
    ],
)
def test_errors_refuse_to_broadcast(error, shape):
    with pytest.raises(ValueError, match=rf"\(3,\).*{re.escape(str(shape))}"):
        error(np.zeros(3, "float32"), np.zeros(shape, "float32"))


def test_divergences_equal_numpy():
    first, second = (
        np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]),
        np.array([[0.0, 1.0, 2.0], [0.5, 0.5, 0.0]]),
    )
    p, q = (np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in (first, second))
    rows = ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)) / 2
    weights = np.array([1.0, 3.0])
    found = [float(value) for value in divergence_sum(first, second, weights)]
    np.testing.assert_allclose(found, [(rows * weights).sum(), 4.0], rtol=1e-6)
    p, q = (1 / (1 + np.exp(-z)) for z in (first, second))
    pairs = [(p, q), (q, p), (1 - p, 1 - q), (1 - q, 1 - p)]
    expected = sum((a * np.log(a / b)).sum() for a, b in pairs) / 2
    np.testing.assert_allclose(float(binary_divergence_sum(first, second)[0]), expected, rtol=1e-6)
