"""How a batch is cut into parts that lie side by side."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.training.objective import cut

ROWS = {"ids": np.arange(24, dtype="int32").reshape(8, 3), "label": np.arange(8, dtype="int32")}


def labels(parts):
    return [part["label"].numpy().tolist() for part in parts]


def test_in_their_order_without_costs():
    batch = {name: tf.constant(values) for name, values in ROWS.items()}
    assert labels(cut(batch, 1)) == [list(range(8))]
    assert labels(cut(batch, 3)) == [[0, 1], [2, 3, 4], [5, 6, 7]]


@pytest.mark.parametrize(
    "costs, parts, expected",
    [
        ([9, 1, 1, 1, 1, 1, 1, 9], 2, [[1, 2, 3, 4, 5, 6, 0], [7]]),
        ([4, 4, 4, 4, 4, 4, 4, 4], 2, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ([1, 2, 3, 4, 5, 6, 7, 8], 2, [[0, 1, 2, 3, 4], [5, 6, 7]]),
        ([6, 1, 5, 1, 6, 1, 3, 1], 3, [[1, 3, 5, 7, 6], [2, 0], [4]]),
        ([0, 0, 0, 0, 0, 0, 0, 0], 2, None),
    ],
)
def test_parts_cost_the_same_and_are_of_like_rows(costs, parts, expected):
    batch = {name: tf.constant(values) for name, values in ROWS.items()}
    found = cut(batch, parts, tf.constant(costs))
    assert expected is None or labels(found) == expected
    assert sorted(sum(labels(found), [])) == list(range(8))
    for part in found:
        np.testing.assert_array_equal(part["ids"], ROWS["ids"][part["label"].numpy()])


def test_random_rows_cost_nearly_the_same():
    costs = np.random.default_rng(0).integers(5, 60, 32).astype("int32")
    batch = {"label": tf.range(32)}
    sums = [costs[part["label"].numpy()].sum() for part in cut(batch, 2, tf.constant(costs))]
    assert abs(sums[0] - sums[1]) <= costs.max()
