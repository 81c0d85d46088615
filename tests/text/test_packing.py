import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.text.packing import TRUNCATIONS, pack, pad

CLS, SEP = 2, 3


def ragged(rows):
    values = np.array([i for row in rows for i in row], dtype=np.int32)
    return tf.RaggedTensor.from_row_lengths(values, [len(row) for row in rows])


def pack_one(a, b, max_length, truncation="longest_first"):
    """One sequence, built an id at a time."""
    a, b = list(a), None if b is None else list(b)
    truncated = False
    while len(a) + len(b or []) > max_length - (2 if b is None else 3):
        if truncation == "longest_first":
            from_first = len(a) > len(b or [])
        else:
            from_first = bool(a) if truncation == "only_first" else not b
        (a if b is None or from_first else b).pop()
        truncated = True
    token_ids, segment_ids = [CLS, *a, SEP], [0] * (len(a) + 2)
    if b is not None:
        token_ids, segment_ids = [*token_ids, *b, SEP], segment_ids + [1] * (len(b) + 1)
    return token_ids, segment_ids, truncated


def random_rows(rng, count, offset):
    return [
        (offset + np.arange(length)).tolist()
        for length in rng.choice([0, 1, 2, 3, 5, 8, 13, rng.integers(40)], count)
    ]


@pytest.mark.slow_after_first
@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("with_pair", [False, True])
@pytest.mark.parametrize("max_length", [3, 4, 5, 6, 7, 8, 16, 17, 64])
def test_pack_equals_popping_one_id_at_a_time(max_length, with_pair, truncation):
    rng = np.random.default_rng(max_length)
    a = random_rows(rng, 300, offset=100)
    b = random_rows(rng, 300, offset=200) if with_pair else None
    token_ids, segment_ids, truncated = pack(
        ragged(a),
        ragged(b) if with_pair else None,
        max_length=max_length,
        cls_id=CLS,
        sep_id=SEP,
        truncation=truncation,
    )
    expected = [pack_one(a[i], b[i] if with_pair else None, max_length, truncation) for i in range(len(a))]
    assert token_ids.dtype == segment_ids.dtype == tf.int32
    assert token_ids.to_list() == [row[0] for row in expected]
    assert segment_ids.to_list() == [row[1] for row in expected]
    assert truncated.numpy().tolist() == [row[2] for row in expected]


def test_every_pair_of_lengths_up_to_nine():
    lengths = [(i, j) for i in range(10) for j in range(10)]
    a = [[10 + k for k in range(i)] for i, _ in lengths]
    b = [[30 + k for k in range(j)] for _, j in lengths]
    for max_length in range(3, 22):
        token_ids, _, _ = pack(ragged(a), ragged(b), max_length=max_length, cls_id=CLS, sep_id=SEP)
        assert token_ids.to_list() == [pack_one(x, y, max_length)[0] for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize(
    ("truncation", "expected"),
    [
        ("longest_first", [CLS, 10, 11, 12, SEP, 20, 21, SEP]),
        ("only_first", [CLS, 10, 11, SEP, 20, 21, 22, SEP]),
        ("only_second", [CLS, 10, 11, 12, 13, SEP, 20, SEP]),
    ],
)
def test_the_text_that_gives_way_is_the_one_asked_for(truncation, expected):
    a, b = ragged([[10, 11, 12, 13]]), ragged([[20, 21, 22]])
    token_ids, _, _ = pack(a, b, max_length=8, cls_id=CLS, sep_id=SEP, truncation=truncation)
    assert token_ids.to_list() == [expected]


def test_the_text_to_keep_is_cut_where_it_alone_is_too_long():
    a, b = ragged([[10, 11, 12, 13, 14]]), ragged([[20, 21]])
    for first, second, truncation, expected in (
        (a, b, "only_second", [CLS, 10, 11, 12, SEP, SEP]),
        (b, a, "only_first", [CLS, SEP, 10, 11, 12, SEP]),
    ):
        token_ids, segment_ids, truncated = pack(
            first, second, max_length=6, cls_id=CLS, sep_id=SEP, truncation=truncation
        )
        assert token_ids.to_list() == [expected]
        ends_first = expected.index(SEP) + 1
        assert segment_ids.to_list() == [[0] * ends_first + [1] * (6 - ends_first)]
        assert truncated.numpy().tolist() == [True]


def test_an_unknown_truncation_is_refused():
    with pytest.raises(InputError, match="truncation='longest'; expected one of longest_first, only_first"):
        pack(ragged([[10]]), max_length=6, cls_id=CLS, sep_id=SEP, truncation="longest")


def test_no_rows_give_no_rows():
    for pair in (None, ragged([])):
        token_ids, segment_ids, truncated = pack(ragged([]), pair, max_length=8, cls_id=CLS, sep_id=SEP)
        assert (token_ids.to_list(), segment_ids.to_list(), truncated.shape) == ([], [], (0,))


def test_the_graph_takes_any_batch():
    spec = tf.RaggedTensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[spec, spec])
    def packed(a, b):
        return pack(a, b, max_length=6, cls_id=CLS, sep_id=SEP)[0]

    assert packed(ragged([[10, 11, 12]]), ragged([[20]])).to_list() == [[2, 10, 11, 3, 20, 3]]
    assert packed(ragged([[], [10]]), ragged([[20], []])).to_list() == [[2, 3, 20, 3], [2, 10, 3, 3]]


@pytest.mark.parametrize(("pair", "max_length"), [(None, 1), (ragged([[20]]), 2)])
def test_too_short_a_length_is_refused(pair, max_length):
    with pytest.raises(InputError, match=f"max_length={max_length} has no room"):
        pack(ragged([[10]]), pair, max_length=max_length, cls_id=CLS, sep_id=SEP)


PAD = 7  # not 0, which segments and mask have
ROWS = [[CLS, 10, 11, SEP], [CLS, SEP], [CLS, 10, SEP]]
SEGMENTS = [[0, 0, 1, 1], [0, 0], [0, 1, 1]]


def padded_by_hand(width):
    return {
        "token_ids": [row + [PAD] * (width - len(row)) for row in ROWS],
        "segment_ids": [row + [0] * (width - len(row)) for row in SEGMENTS],
        "padding_mask": [[1] * len(row) + [0] * (width - len(row)) for row in ROWS],
    }


@pytest.mark.parametrize(("length", "width"), [(None, 4), (4, 4), (6, 6), (tf.constant(9), 9)])
def test_rows_are_padded_to_the_longest_or_to_a_length(length, width):
    batch = pad(ragged(ROWS), ragged(SEGMENTS), pad_id=PAD, length=length)
    assert {name: tensor.numpy().tolist() for name, tensor in batch.items()} == padded_by_hand(width)
    assert {tensor.dtype for tensor in batch.values()} == {tf.int32}


def test_a_fixed_length_is_known_before_the_graph_runs():
    rows = tf.data.Dataset.from_tensors(ragged(ROWS))
    for length, shape in ((None, [None, None]), (6, [None, 6])):
        spec = rows.map(lambda ids, length=length: pad(ids, ids, pad_id=PAD, length=length)).element_spec
        assert {name: feature.shape.as_list() for name, feature in spec.items()} == {
            "token_ids": shape,
            "segment_ids": shape,
            "padding_mask": shape,
        }


def test_no_row_is_cut_by_padding():
    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)])
    def padded(ids):
        return pad(ids, ids, pad_id=PAD, length=3)["token_ids"]

    assert padded(ragged(ROWS[1:])).shape == (2, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a row is longer than the batch is to be"):
        padded(ragged(ROWS))


@pytest.mark.parametrize(("length", "width"), [(None, 0), (5, 5)])
def test_no_rows_are_padded_to_no_rows(length, width):
    batch = pad(ragged([]), ragged([]), pad_id=PAD, length=length)
    assert {tuple(tensor.shape) for tensor in batch.values()} == {(0, width)}
