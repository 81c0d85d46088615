"""The ways of one backend against their twins in `keras.ops`."""

import keras
import numpy as np
import pytest

from kbert.layers import correct_sum, faster_ops

RNG = np.random.default_rng(5)


@pytest.fixture(params=[keras.backend.backend(), "others"])
def backend(request, monkeypatch):
    """This backend's own way, and the one that is left to the others."""
    monkeypatch.setattr(faster_ops, "_has_tensorflow", lambda: request.param == "tensorflow")


def test_product_with_rows(backend):
    rows, table = RNG.normal(size=(3, 5)).astype("float32"), RNG.normal(size=(7, 5)).astype("float32")
    found = faster_ops.product_with_rows(rows, table)
    np.testing.assert_allclose(found, rows @ table.T, rtol=1e-5, atol=1e-6)


def test_the_first_of_equal_logits_counts(backend):
    logits = np.array([[1.0, 3.0, 3.0], [0.0, 0.0, 0.0], [-2.0, -1.0, -3.0]], "float32")
    found = faster_ops.best_class(logits)
    assert np.asarray(found).tolist() == [1, 0, 1] and keras.backend.standardize_dtype(found.dtype) == "int32"
    hits, _ = correct_sum(np.array([2, 0, 1]), logits)
    assert float(hits) == 2


def test_random_words_have_each_bit_in_half_of_the_cases(backend):
    generator = keras.random.SeedGenerator(3)
    drawn = [np.asarray(faster_ops.random_words(20_000, generator)) for _ in range(2)]
    assert (drawn[0] != drawn[1]).mean() > 0.99
    bits = np.unpackbits(drawn[0].astype("int32").view("uint8")).reshape(-1, 32)
    assert np.abs(bits.mean(0) - 0.5).max() < 0.02
    again = faster_ops.random_words(20_000, keras.random.SeedGenerator(3))
    np.testing.assert_array_equal(again, drawn[0])
