"""Batches are let go of at once: TensorFlow's autotuning would have their iterators wait for its thread."""

import time

import numpy as np
import pytest
import tensorflow as tf

from kbert import features
from kbert.data import EncodedRows, evaluation_batches, masked_batches, training_batches
from kbert.data.autotuning import without_autotuning


def encoded():
    ids = tf.ragged.constant([[2, 7, 3], [2, 7, 8, 3]], dtype=tf.int32)
    labels = np.array([0, 1], "int32")
    return EncodedRows({features.TOKEN_IDS: ids}, {"label": labels}, np.arange(2), 0, {})


def records():
    one = {
        features.TOKEN_IDS: tf.constant([[2, 7, 3]]),
        features.SEGMENT_IDS: tf.constant([[0, 0, 0]]),
        features.MASK_POSITIONS: tf.constant([[1]]),
        features.MASK_IDS: tf.constant([[7]]),
        features.MASK_WEIGHTS: tf.constant([[1.0]]),
    }
    return tf.data.Dataset.from_tensor_slices(one)


@pytest.mark.parametrize(
    "make",
    [
        lambda: training_batches(encoded(), 2, epochs=1, seed=1),
        lambda: evaluation_batches(encoded(), 2),
        lambda: masked_batches(records(), 1),
        lambda: masked_batches(records(), 1).skip(0),
    ],
    ids=["training", "evaluation", "pretraining", "pretraining, gone on with"],
)
def test_no_batches_are_autotuned(make):
    assert make().options().autotune.enabled is False


def test_iterators_are_deleted_at_once():
    batches = tf.data.Dataset.range(10**9).map(lambda x: x + 1, num_parallel_calls=tf.data.AUTOTUNE)
    iterators = [iter(without_autotuning(batches)) for _ in range(8)]  # It befalls about half of them.
    started = time.monotonic()
    while time.monotonic() - started < 3:  # The threads would then sleep until 5.1 s.
        for iterator in iterators:
            next(iterator)
        time.sleep(0.01)
    del iterator
    started = time.monotonic()
    iterators.clear()
    assert time.monotonic() - started < 1
