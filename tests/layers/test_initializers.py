import numpy as np
import pytest

from kbert.layers import TokenDense
from kbert.layers.initializers import awaiting_weights, truncated_normal


def numbers():
    return np.asarray(truncated_normal(0.02)((400, 50)))


def test_values_beyond_two_deviations_are_drawn_again():
    drawn = numbers()
    assert np.abs(drawn).max() <= 0.04
    assert drawn.std() == pytest.approx(0.02 * 0.88, rel=0.05)  # what truncation leaves of it


def test_each_weight_starts_otherwise():
    assert not np.array_equal(numbers(), numbers())


def test_what_awaits_its_weights_is_zeros_until_the_end_of_the_block():
    layer = TokenDense(3)
    with awaiting_weights():
        layer.build((None, 4))
        assert not numbers().any()
    assert not np.asarray(layer.kernel).any()
    assert numbers().any()


def test_an_error_ends_the_waiting():
    with pytest.raises(KeyError), awaiting_weights():
        raise KeyError
    assert numbers().any()
