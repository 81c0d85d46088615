"""Attention in training against the operations one by one: the same numbers, and gradients as exact."""

import keras
import numpy as np
import pytest

from kbert.layers import Dropout, SelfAttention, attention_bias, part_attention_bias

if keras.backend.backend() != "tensorflow":
    pytest.skip("this way through attention is TensorFlow's", allow_module_level=True)
import tensorflow as tf

from kbert.layers.attention_gradient import context_for_training

MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
PARTS = part_attention_bias(np.array([[1, 1, 2, 2, 0], [1, 1, 1, 2, 2]]))
NAMES = ("query", "key", "value")


def tensors(queries=5):
    rng = np.random.default_rng(5)
    shapes = [(2, 3, queries, 4), (2, 3, 5, 4), (2, 3, 5, 4), (2, 3, queries, 4)]
    return [tf.cast(rng.normal(size=shape), tf.float32) for shape in shapes]


def one_by_one(query, key, value, bias, dropout):
    scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
    weights = dropout(tf.nn.softmax(scores if bias is None else scores + bias), training=True)
    return tf.matmul(tf.cast(weights, query.dtype), value)


def outputs_and_gradients(attend, bias, rate, query, key, value, factors):
    """Of a loss that weighs all outputs differently; both ways draw the same mask, by the same seed."""
    dropout = Dropout(rate, seed=7, dtype="float32")

    @tf.function
    def found():
        with tf.GradientTape() as tape:
            tape.watch([query, key, value])
            outputs = attend(query, key, value, bias, dropout)
            loss = tf.reduce_sum(tf.cast(outputs * factors, tf.float32))
        return [outputs, *tape.gradient(loss, [query, key, value])]

    return [tf.cast(values, tf.float32).numpy() for values in found()]


@pytest.mark.slow_after_first
@pytest.mark.parametrize("rate", [0.0, 0.4, 0.02])
@pytest.mark.parametrize("bias", [None, attention_bias(MASK), PARTS], ids=["none", "mask", "parts"])
def test_numbers_and_gradients_are_those_of_the_operations_one_by_one(bias, rate):
    expected, found = (
        outputs_and_gradients(attend, bias, rate, *tensors()) for attend in (one_by_one, context_for_training)
    )
    for name, one, other in zip(("outputs", *NAMES), expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5, err_msg=name)
        assert np.abs(one).max() > 0.1


def test_some_tokens_look_at_all():
    expected, found = (
        outputs_and_gradients(attend, attention_bias(MASK), 0.4, *tensors(queries=1))
        for attend in (one_by_one, context_for_training)
    )
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.parametrize("in_common", [(0, 0), (3, 1), (3, 3)])
@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_precision_is_hardly_worse_than_one_by_one(dtype, in_common):
    """The yardstick is float32, of the same inputs, which half precision has exactly.

    What all keys have in common changes no score's place, and gradients must not add it up from rounding.
    """
    rng = np.random.default_rng(1)
    half = [rng.normal(size=(2, 3, 50, 32), scale=s) for s in (0.6, 0.6, 1, 1)]
    for tensor, scale in zip(half[1:], in_common, strict=False):
        tensor += rng.normal(size=(2, 3, 1, 32), scale=scale) if scale else 0
    half = [tf.cast(tensor, dtype) for tensor in half]
    exact = outputs_and_gradients(one_by_one, None, 0.1, *(tf.cast(tensor, tf.float32) for tensor in half))
    plain, found = (
        outputs_and_gradients(attend, None, 0.1, *half) for attend in (one_by_one, context_for_training)
    )
    for name, right, one, other in zip(("outputs", *NAMES), exact, plain, found, strict=True):
        assert np.linalg.norm(other - right) < 1.5 * np.linalg.norm(one - right), name
        assert np.linalg.norm(one - right) < (0.02 if any(in_common) else 0.01) * np.linalg.norm(right), name


@pytest.mark.slow_after_first
@pytest.mark.parametrize("shape", [(2, 1, 1, 5), (1, 3, 5, 5), (5, 5), (2, 1, 5, 1)])
@pytest.mark.parametrize("once", [False, True], ids=["plain", "in a function of its own"])
def test_a_bias_that_is_learned_gets_its_gradient(shape, once):
    query, key, value, factors = tensors()
    bias = tf.Variable(np.random.default_rng(2).normal(size=shape).astype("float32"))

    def gradient(attend):
        dropout = Dropout(0.4, seed=7, dtype="float32")
        attend = tf.function(attend) if once else attend
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(attend(query, key, value, tf.convert_to_tensor(bias), dropout) * factors)
        return tape.gradient(loss, bias)

    expected, found = gradient(one_by_one), gradient(context_for_training)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1 or shape[-1] == 1  # The same for all keys changes nothing.


def test_the_layer_takes_it_in_training_alone(monkeypatch):
    from kbert.layers import attention

    seen = []
    usual = attention.attention_for_training
    monkeypatch.setattr(attention, "attention_for_training", lambda *t: seen.append(1) or usual(*t))
    layer = SelfAttention(2, attention_dropout=0.0, initializer_range=0.7)
    inputs = np.random.default_rng(1).normal(size=(2, 5, 8)).astype("float32")
    answered = layer(inputs, attention_bias(MASK))
    assert not seen
    np.testing.assert_allclose(layer(inputs, attention_bias(MASK), training=True), answered, atol=1e-5)
    assert seen == [1]
    outputs, probabilities = layer(inputs, attention_bias(MASK), training=True, return_probabilities=True)
    np.testing.assert_allclose(outputs, answered, atol=1e-5)
    assert probabilities.shape == (2, 2, 5, 5) and seen == [1]
