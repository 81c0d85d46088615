"""Groups of rows of like length: the same results in the same order, and when they are worth it."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.export.length_groups import GROUP_ROWS, by_length
from kbert.export.samples import requests
from kbert.export.widths import all_widths, rounded_width

RNG = np.random.default_rng(11)


def grouped(lengths):
    """Results for rows of these lengths, their numbers for pieces, and the shapes that were computed."""
    shapes = []

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)], autograph=False)
    def run(rows):
        def compute(token_ids, segment_ids):
            dense = token_ids.to_tensor(-1)
            tf.py_function(lambda shape: shapes.append(tuple(shape.numpy())), [tf.shape(dense)], [])
            sums = tf.reduce_sum(token_ids, axis=1) + 1000 * tf.reduce_sum(segment_ids, axis=1)
            return tf.stack([tf.cast(sums, tf.float32), tf.cast(token_ids.row_lengths(), tf.float32)], axis=1)

        return by_length(compute, rows, rows + 1, 512)

    numbers = RNG.integers(0, 50, sum(lengths)).astype("int32")
    rows = tf.RaggedTensor.from_row_lengths(numbers, np.array(lengths, "int64"))
    found = run(rows)
    assert found.shape[1] == 2
    expected = [[row.sum() + 1000 * (row + 1).sum(), len(row)] for row in map(np.array, rows.to_list())]
    np.testing.assert_allclose(found, np.array(expected, "float32").reshape(-1, 2))
    return shapes


@pytest.mark.parametrize("count", [0, 1, GROUP_ROWS, GROUP_ROWS + 1])
def test_rows_of_one_length_stay_together(count):
    assert len(grouped([140] * count)) == 1


def test_short_and_long_rows_are_parted():
    lengths = [5, 7, 200] * GROUP_ROWS + [200]
    RNG.shuffle(lengths)
    shapes = grouped(lengths)
    assert [rows for rows, _ in shapes] == [GROUP_ROWS] * 3 + [1]
    assert [width for _, width in shapes] == [5, 7, 200, 200]


def test_short_rows_stay_together_if_they_are_few():
    assert len(grouped([5, 100] * GROUP_ROWS)) == 1
    assert len(grouped([5, 5, 100] * 5 * GROUP_ROWS)) > 1


@pytest.mark.parametrize("inputs", [("text",), ("text", "text_pair")])
def test_the_batch_that_every_long_export_is_tried_with_is_several_groups(inputs):
    *_, batch = requests(inputs, 512)
    lengths = np.array([[len(text.split()) for text in texts] for texts in batch.values()]).sum(0)
    assert len(lengths) > GROUP_ROWS
    assert len(grouped([*np.minimum(lengths, 512).tolist()])) > 1


def test_a_single_long_row_among_few_is_not_worth_a_group():
    assert len(grouped([300] * (GROUP_ROWS - 1) + [320])) == 1


@pytest.mark.parametrize("seed", range(3))
def test_any_lengths_come_back_in_order(seed):
    lengths = np.random.default_rng(seed).integers(0, 512, 37).tolist()
    assert len(grouped(lengths)) == -(-37 // GROUP_ROWS)


@pytest.mark.parametrize("max_length", [5, 40, 64, 100, 512])
def test_every_length_has_the_next_width(max_length):
    lengths = np.arange(max_length + 1)
    found = np.asarray(rounded_width(tf.constant(lengths, tf.int32), max_length))
    assert (found >= np.maximum(lengths, 1)).all() and found.max() == max_length
    assert set(found) == {*all_widths(max_length), max_length}
    assert (found - lengths)[(lengths > 0) & (lengths <= 64)].max() < 8 and (found - lengths)[1:].max() < 16
