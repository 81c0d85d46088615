"""Pooling over the mask, against NumPy row by row."""

import keras
import numpy as np
import pytest

from kbert.layers import first_pool, l2_normalize, max_pool, mean_pool

RNG = np.random.default_rng(23)
# All values below zero: a maximum that sees a masked 0 shows.
SEQUENCE = (RNG.normal(size=(4, 5, 3)) - 5).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], "int32")
WAYS = {"mean": (mean_pool, np.mean), "max": (max_pool, np.max)}


@pytest.mark.parametrize("dtype", ["int32", "bool", "float32"])
@pytest.mark.parametrize("way", WAYS)
def test_only_real_tokens_are_pooled(way, dtype):
    pool, reduce = WAYS[way]
    pooled = pool(SEQUENCE, MASK.astype(dtype))
    for row in range(3):
        real = SEQUENCE[row][MASK[row] == 1]
        np.testing.assert_allclose(pooled[row], reduce(real, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(pooled[3], np.zeros(3))


@pytest.mark.parametrize("way", WAYS)
def test_infinite_padding_does_no_harm(way):
    pool, _ = WAYS[way]
    spoilt = np.where(MASK[..., None] == 1, SEQUENCE, np.float32("inf"))
    np.testing.assert_array_equal(pool(spoilt, MASK), pool(SEQUENCE, MASK))


def test_the_first_token_whatever_the_mask():
    np.testing.assert_array_equal(first_pool(SEQUENCE, MASK), SEQUENCE[:, 0])


@pytest.mark.parametrize("pool", [mean_pool, max_pool, first_pool])
def test_bfloat16_is_pooled_in_float32(pool):
    low = keras.ops.cast(SEQUENCE, "bfloat16")
    pooled = pool(low, MASK)
    assert keras.backend.standardize_dtype(pooled.dtype) == "float32"
    np.testing.assert_allclose(pooled, pool(keras.ops.cast(low, "float32"), MASK), rtol=1e-6)


def test_vectors_get_length_one_and_keep_their_direction():
    vectors = np.array([[[3, 4], [0, 0]], [[-1e-6, 0], [1e6, 1e6]]], "float32")
    half = np.sqrt(0.5)
    expected = [[[0.6, 0.8], [0, 0]], [[-1, 0], [half, half]]]
    np.testing.assert_allclose(l2_normalize(vectors), expected, rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="differentiates with a GradientTape")
@pytest.mark.parametrize("way", [*WAYS])
def test_the_gradient_reaches_real_tokens_only_and_is_finite(way):
    import tensorflow as tf

    pool, _ = WAYS[way]
    sequence = tf.constant(SEQUENCE)
    with tf.GradientTape() as tape:
        tape.watch(sequence)
        value = tf.reduce_sum(l2_normalize(pool(sequence, MASK)) * [1.0, 2.0, -3.0])
    gradient = tape.gradient(value, sequence).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[MASK == 0] == 0).all()
    assert (np.abs(gradient[:3]).max((1, 2)) > 1e-3).all()
