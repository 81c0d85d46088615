import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.text import pack

CLS, SEP = 2, 3


def ragged(rows):
    values = np.array([i for row in rows for i in row], dtype=np.int32)
    return tf.RaggedTensor.from_row_lengths(values, [len(row) for row in rows])


def pack_one(a, b, max_length):
    """One sequence, built an id at a time."""
    a, b = list(a), None if b is None else list(b)
    truncated = False
    while len(a) + len(b or []) > max_length - (2 if b is None else 3):
        (a if b is None or len(a) > len(b) else b).pop()
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


@pytest.mark.parametrize("with_pair", [False, True])
@pytest.mark.parametrize("max_length", [3, 4, 5, 6, 7, 8, 16, 17, 64])
def test_pack_equals_popping_one_id_at_a_time(max_length, with_pair):
    rng = np.random.default_rng(max_length)
    a = random_rows(rng, 300, offset=100)
    b = random_rows(rng, 300, offset=200) if with_pair else None
    token_ids, segment_ids, truncated = pack(
        ragged(a), ragged(b) if with_pair else None, max_length=max_length, cls_id=CLS, sep_id=SEP
    )
    expected = [pack_one(a[i], b[i] if with_pair else None, max_length) for i in range(len(a))]
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
