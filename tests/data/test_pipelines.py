"""Encoding and batching of labelled texts: nothing lost, nothing invented, padded to the bucket."""

import time

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import EncodedRows, encode_texts, evaluation_batches, pipelines, training_batches
from kbert.data.pipelines import pools_by_length
from kbert.text import WordPieceTokenizer


@pytest.fixture
def tokenizer(tiny_vocab):
    return WordPieceTokenizer(str(tiny_vocab))


def texts(count):
    """Row i says "good" i % 13 times and then a letter."""
    return ["good " * (i % 13) + "bdei"[i % 4] for i in range(count)]


def encode(tokenizer, count=70, max_length=32):
    """`texts`, and a label that says whether their number is odd."""
    inputs, truncated = encode_texts(texts(count), None, tokenizer, max_length)
    targets = {"label": np.arange(count, dtype=np.int32) % 2}
    return EncodedRows(inputs, targets, np.arange(count), int(truncated.sum()), {})


def test_rows_are_packed_like_google_packs_them(tokenizer):
    inputs, truncated = encode_texts(["good film"], ["the play"], tokenizer, 32)
    v = tokenizer.vocab
    words = [v.id(t) for t in ("good", "film")], [v.id(t) for t in ("the", "play")]
    assert inputs["token_ids"].to_list() == [[v.cls_id, *words[0], v.sep_id, *words[1], v.sep_id]]
    assert inputs["segment_ids"].to_list() == [[0, 0, 0, 0, 1, 1, 1]]
    assert truncated.tolist() == [False]


def test_truncation_is_counted(tokenizer):
    encoded = encode(tokenizer, 26, max_length=10)
    assert encoded.lengths.max() == 10
    assert encoded.num_truncated == sum(i % 13 + 1 + 2 > 10 for i in range(26))


def test_many_texts_are_encoded_as_few(tokenizer):
    inputs, _ = encode_texts(texts(2500), None, tokenizer, 32)
    few, _ = encode_texts(texts(13), None, tokenizer, 32)
    rows = inputs["token_ids"].to_list()
    assert len(rows) == 2500 and rows[2041][:-2] == few["token_ids"].to_list()[2041 % 13][:-2]
    none, _ = encode_texts([], None, tokenizer, 32)
    assert none["token_ids"].to_list() == []


def test_batches_at_random_lose_nothing_and_pad_more(tokenizer):
    encoded = encode(tokenizer)

    def padded(by_length):
        batches = list(training_batches(encoded, 8, 1, 3, by_length).as_numpy_iterator())
        ids = [row[mask > 0].tolist() for inputs, _ in batches for row, mask in _rows(inputs)]
        assert sorted(ids) == sorted(encoded.inputs["token_ids"].to_list())
        return sum(inputs["token_ids"].size for inputs, _ in batches)

    assert padded(False) > 1.3 * padded(True)


def test_a_batch_at_random_is_in_no_order(tokenizer):
    """Replicas take rows that stand together, and shall have as much to do as each other."""
    (inputs, _), *_ = training_batches(encode(tokenizer), 16, 1, 3).as_numpy_iterator()
    lengths = inputs["padding_mask"].sum(1)
    assert np.ptp(lengths) > 0 and (np.diff(lengths) < 0).any()


def _rows(inputs):
    return zip(inputs["token_ids"], inputs["padding_mask"], strict=True)


def test_targets_are_no_constants_of_the_graph(tokenizer):
    """They would be copied into it, and it holds 2 GB at most."""
    inputs = dict(encode(tokenizer).inputs)
    targets = {"labels": np.arange(70 * 400, dtype=np.float32).reshape(70, 400)}
    encoded = EncodedRows(inputs, targets, np.arange(70), 0, {})
    batches = evaluation_batches(encoded, 8)
    for rows, _, found in batches.as_numpy_iterator():
        np.testing.assert_array_equal(found["labels"], targets["labels"][rows])
    assert all(graph.ByteSize() < 20_000 for graph in graphs(batches))


def graphs(dataset):
    """Of its functions and those of what it is made of."""
    datasets = [dataset]
    for one in datasets:  # Which grows meanwhile.
        datasets += one._inputs()
    found = [function.function.graph.as_graph_def() for one in datasets for function in one._functions()]
    assert found
    return found


def test_many_rows_are_no_slower_to_take_some_of():
    """A plan in lists of Python took seconds for a million, and each batch walked the ends of all rows."""
    count = 1_000_000
    started = time.process_time()
    ids = tf.RaggedTensor.from_row_lengths(tf.range(count), tf.ones(count, tf.int64))
    encoded = EncodedRows({"token_ids": ids}, {}, np.arange(count), 0, {})
    batches = training_batches(encoded, 32, 1, seed=1)
    (inputs, _) = next(batches.as_numpy_iterator())
    assert inputs["token_ids"].shape == (32, 1) and len(np.unique(inputs["token_ids"])) == 32
    assert time.process_time() - started < 2
    assert not any(node.op == "RaggedGather" for graph in graphs(batches) for node in graph.node)


@pytest.mark.parametrize("splits", [tf.int32, tf.int64])
def test_rows_are_those_of_gather(splits):
    rng = np.random.default_rng(2)
    values = tf.RaggedTensor.from_nested_row_lengths(
        np.arange(60),
        [tf.cast(counts, splits) for counts in ([0, 4, 1, 3, 0, 4], rng.multinomial(60, [1 / 12] * 12))],
    )
    for one in (values, values.values):
        rows = tf.constant(rng.integers(6, size=9))
        found, expected = pipelines._rows(one, rows), tf.gather(one, rows)
        assert found.shape.as_list() == expected.shape.as_list() and found.to_list() == expected.to_list()


def test_rows_of_several_texts_are_padded_on_both_axes():
    """Two choices beside three: what is missing is padding throughout."""
    token_ids = tf.ragged.constant([[[5, 6, 7], [8]], [[9], [10], [11, 12]]], dtype=tf.int32)
    word = tf.ragged.constant([[1, 2], [1]], dtype=tf.int32)
    encoded = EncodedRows({"token_ids": token_ids}, {"tag_ids": word}, np.arange(2), 0, {})
    assert encoded.lengths.tolist() == [3, 2]
    [(rows, inputs, targets)] = evaluation_batches(encoded, 8).as_numpy_iterator()
    assert rows.tolist() == [1, 0]  # the shortest first
    assert inputs["token_ids"].tolist() == [
        [[9, 0, 0], [10, 0, 0], [11, 12, 0]],
        [[5, 6, 7], [8, 0, 0], [0] * 3],
    ]
    assert inputs["padding_mask"].tolist() == [
        [[1, 0, 0], [1, 0, 0], [1, 1, 0]],
        [[1] * 3, [1, 0, 0], [0] * 3],
    ]
    assert targets["tag_ids"].tolist() == [[1, 0], [1, 2]]


@pytest.mark.parametrize("epochs", [1, 3])
def test_every_row_once_an_epoch_with_its_own_label(tokenizer, epochs):
    encoded = encode(tokenizer)
    batches = list(training_batches(encoded, 8, epochs, seed=1).as_numpy_iterator())
    assert len(batches) == epochs * 9
    for epoch in range(epochs):
        rows = []
        for inputs, targets in batches[epoch * 9 : epoch * 9 + 9]:
            lengths = inputs["padding_mask"].sum(1)
            assert inputs["token_ids"].shape[1] == lengths.max()  # The bucket, no further.
            assert not inputs["token_ids"][inputs["padding_mask"] == 0].any()
            for ids, length, label in zip(inputs["token_ids"], lengths, targets["label"], strict=True):
                rows.append((tuple(ids[:length]), label))
        expected = [(tuple(ids), i % 2) for i, ids in enumerate(encoded.inputs["token_ids"].to_list())]
        assert sorted(rows) == sorted(expected)


def test_epochs_differ_and_seeds_repeat(tokenizer):
    encoded = encode(tokenizer)

    def first_rows(seed):
        batches = training_batches(encoded, 8, 2, seed).as_numpy_iterator()
        return [targets["label"].tolist() + inputs["token_ids"][:, 1].tolist() for inputs, targets in batches]

    assert first_rows(1) == first_rows(1) != first_rows(2)
    assert first_rows(1)[:9] != first_rows(1)[9:]


def test_rows_of_like_length_go_together(tokenizer):
    """Half of the padding of a random order is gone, at least."""
    encoded = encode(tokenizer, 800)
    padded = real = 0
    for inputs, _ in training_batches(encoded, 8, 1, 0, by_length=True):
        padded += int(tf.size(inputs["padding_mask"]))
        real += int(tf.reduce_sum(inputs["padding_mask"]))
    assert real == encoded.lengths.sum() and padded < 1.5 * real


@pytest.mark.parametrize("count, pool_batches", [(64, 2), (70, 2), (70, 100), (5, 1)])
def test_streams_are_sorted_in_pools(count, pool_batches):
    lengths = np.random.default_rng(0).integers(1, 50, count)
    records = tf.data.Dataset.from_tensor_slices(lengths).enumerate()
    records = records.map(
        lambda number, length: {
            "token_ids": tf.fill([length], tf.cast(number, tf.int32)),
            "mask_ids": tf.fill([3], tf.cast(number, tf.int32)),
        }
    )
    stream = pools_by_length(records, 8, pool_batches)
    assert stream.element_spec == records.element_spec
    stream = list(stream.as_numpy_iterator())
    numbers = [int(one["mask_ids"][0]) for one in stream]
    assert [one["token_ids"].tolist() for one in stream] == [[n] * lengths[n] for n in numbers]
    expected = []
    for start in range(0, count, 8 * pool_batches):
        pool = np.arange(start, min(count, start + 8 * pool_batches))
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches = [pool[i : i + 8].tolist() for i in range(0, len(pool), 8)]
        whole = [batch for batch in batches if len(batch) == 8]
        for batch in sorted(whole, key=lambda batch: batch[0]) + batches[len(whole) :]:
            expected += batch
    assert numbers == expected and sorted(numbers) == list(range(count))


def test_evaluation_sees_each_row_once_and_says_which(tokenizer):
    encoded = encode(tokenizer)
    seen = []
    for rows, inputs, targets in evaluation_batches(encoded, 16).as_numpy_iterator():
        np.testing.assert_array_equal(targets["label"], rows % 2)
        np.testing.assert_array_equal(inputs["padding_mask"].sum(1), encoded.lengths[rows])
        seen += rows.tolist()
    assert sorted(seen) == list(range(70)) and len(seen) == 70
