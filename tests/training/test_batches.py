"""Entering data in the middle, and two data sets in one run."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.training import in_phases
from kbert.training.batches import batches_from


def numbers(dataset):
    return [int(number) for number in dataset]


def test_a_dataset_is_read_from_any_batch_on():
    assert numbers(batches_from(tf.data.Dataset.range(5), 0)) == [0, 1, 2, 3, 4]
    assert numbers(batches_from(tf.data.Dataset.range(5), 3)) == [3, 4]
    assert numbers(batches_from(lambda first: tf.data.Dataset.range(first, 5), 3)) == [3, 4]


@pytest.mark.parametrize("first", range(6))
def test_phases_are_entered_at_any_batch(first):
    entered = []

    def phase(start):
        def batches(skipped):
            entered.append(skipped)
            return tf.data.Dataset.range(start + skipped, 200)

        return batches

    batches = in_phases((phase(0), 3), (phase(100), 2))
    assert numbers(batches(first)) == [0, 1, 2, 100, 101][first:]
    # One that is over is not read up to its end.
    assert entered == [[0, 0], [1, 0], [2, 0], [0, 0], [0, 1], [0, 0]][first]


def test_the_declared_shape_does_not_depend_on_where_a_run_enters():
    """Other shapes would choose other kernels, and other last bits, in a run that goes on."""

    def rows(width):
        return tf.data.Dataset.from_tensors(np.zeros((2, width), "int32")).repeat()

    batches = in_phases((rows(4), 3), (rows(8), 2))
    assert batches(0).element_spec == batches(4).element_spec == tf.TensorSpec([2, None], tf.int32)
    assert [row.shape[1] for row in batches(2)] == [4, 8, 8]
