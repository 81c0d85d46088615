"""Groups of rows of like length: the same results in the same order, and when they are worth it."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.export import length_groups
from kbert.export.length_groups import GROUP_ROWS, LEAST_WIDTH, MOST_SCORES, by_length
from kbert.export.samples import requests
from kbert.export.widths import all_widths, rounded_width

RNG = np.random.default_rng(11)


def grouped(lengths, **options):
    """Tries rows of these lengths, with numbers for pieces; how many rows each group has, and its longest."""
    shapes = []

    def compute(inputs):
        lengths, sums = inputs["lengths"], tf.reduce_sum(inputs["numbers"], axis=1)
        tf.py_function(lambda given: shapes.append((len(given), given.numpy().max(initial=0))), [lengths], [])
        return tf.stack([sums, lengths], axis=1), tf.cast(inputs["numbers"], tf.float32)

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)], autograph=False)
    def run(rows):
        lengths = tf.cast(rows.row_lengths(), tf.int32)
        inputs = {"numbers": rows.to_tensor(), "lengths": lengths}
        return by_length(compute, inputs, lengths, 512, (tf.int32, tf.float32), **options)

    numbers = RNG.integers(1, 50, sum(lengths)).astype("int32")
    rows = tf.RaggedTensor.from_row_lengths(numbers, np.array(lengths, "int64"))
    found, copied = run(rows)
    assert found.shape[1] == 2
    expected = [[sum(row), len(row)] for row in rows.to_list()]
    np.testing.assert_array_equal(found, np.array(expected, "int32").reshape(-1, 2))
    np.testing.assert_array_equal(copied, rows.to_tensor())
    return shapes


@pytest.mark.parametrize("count", [0, 1, GROUP_ROWS, GROUP_ROWS + 1])
def test_rows_of_one_length_stay_together(count):
    assert len(grouped([140] * count)) == 1


def test_short_and_long_rows_are_parted():
    lengths = [5, 7, 200] * GROUP_ROWS + [200]
    RNG.shuffle(lengths)
    shapes = grouped(lengths)
    assert [rows for rows, _ in shapes] == [GROUP_ROWS] * 3 + [1]
    assert [longest for _, longest in shapes] == [5, 7, 200, 200]
    assert len(grouped(lengths, only_where_needed=True)) == 1


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


@pytest.mark.parametrize(
    "lengths",
    [[384] * 1024, [512] * 4096, [9] * 50_000, [5] * 4000 + [512], [2048] * 30, [5, 2048] * 12, [40_000]],
    ids=lambda lengths: str(len(lengths)),
)
@pytest.mark.parametrize("only_where_needed", [False, True])
def test_no_group_takes_more_memory_than_is_planned(lengths, only_where_needed):
    lengths = sorted(lengths)
    groups, rows = map(int, length_groups._plan(tf.constant(lengths), 40_000, only_where_needed))
    assert groups == -(-len(lengths) // rows) > (len(lengths) > 1)
    assert rows == 1 or rows * lengths[-1] * max(lengths[-1], LEAST_WIDTH) <= MOST_SCORES


def test_32_rows_of_512_are_one_group():
    assert list(map(int, length_groups._plan(tf.fill([32], 512), 512))) == [1, 32]


def test_what_is_too_much_for_one_group_comes_back_in_order(monkeypatch):
    monkeypatch.setattr(length_groups, "MOST_SCORES", 4 * 256 * LEAST_WIDTH)
    lengths = [200, 250, 30] * 5
    assert grouped(lengths, only_where_needed=True) == [(4, 30), (4, 200), (4, 250), (3, 250)]


def test_groups_are_computed_one_after_the_other():
    def run(rows):
        return by_length(lambda inputs: [inputs["rows"]], {"rows": rows}, rows, 512, [tf.int32])

    graph = tf.function(run, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.int32)).graph
    (loop,) = (operation for operation in graph.get_operations() if operation.type.endswith("While"))
    assert loop.get_attr("parallel_iterations") == 1


@pytest.mark.parametrize("max_length", [5, 40, 64, 100, 512])
def test_every_length_has_the_next_width(max_length):
    lengths = np.arange(max_length + 1)
    found = np.asarray(rounded_width(tf.constant(lengths, tf.int32), max_length))
    assert (found >= np.maximum(lengths, 1)).all() and found.max() == max_length
    assert set(found) == {*all_widths(max_length), max_length}
    assert (found - lengths)[(lengths > 0) & (lengths <= 64)].max() < 8 and (found - lengths)[1:].max() < 16
