"""Which pieces make up a word: by `##`, by a segmenter, outside and inside the graph."""

import builtins

import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.text import Vocab
from kbert.text.whole_words import WholeWords, jieba_segmenter, word_starts


def pairs(text):
    """A segmenter: words of two characters."""
    return [text[i : i + 2] for i in range(0, len(text), 2)]


def test_pieces_with_marks_go_on_and_all_others_begin():
    pieces = ["[CLS]", "un", "##able", "##s", "!", "[UNK]", "[SEP]", "##ing", "good"]
    assert word_starts(pieces) == [1, 1, 0, 0, 1, 1, 1, 0, 1]
    assert word_starts([]) == []


def test_without_a_segmenter_chinese_characters_are_words():
    assert word_starts(list("我喜欢电影")) == [1] * 5


def test_segmenter_gets_each_run_of_chinese_characters_and_nothing_else():
    asked = []

    def segmenter(text):
        asked.append(text)
        return pairs(text)

    pieces = [
        "[CLS]",
        "我",
        "喜",
        "欢",
        "，",
        "电",
        "影",
        "k",
        "##t",
        "##v",
        "好",
        "[UNK]",
        "看",
        "𠀀",
        "か",
        "[SEP]",
    ]
    assert word_starts(pieces, segmenter) == [1, 1, 0, 1, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1, 1]
    assert asked == ["我喜欢", "电影", "好", "看𠀀"]


@pytest.mark.parametrize("words", [["我"], ["我", "喜欢", "你"], ["我 ", "喜欢"], []])
def test_segmenter_that_drops_or_rewrites_is_refused(words):
    with pytest.raises(InputError, match="我喜欢.*joined"):
        word_starts(list("我喜欢"), lambda text: words)


@pytest.mark.parametrize("segmenter", [None, pairs])
def test_graph_says_what_python_says(segmenter, tiny_vocab):
    vocab = Vocab.read(tiny_vocab)
    rows = np.random.default_rng(0).integers(0, len(vocab), (20, 15)).astype("int32")
    chinese = [vocab.id(c) for c in "我们很喜欢这部电影"]
    rows[10:, 3:12] = chinese
    expected = [word_starts([vocab.tokens[i] for i in row], segmenter) for row in rows]
    whole_words = WholeWords(vocab, segmenter)
    for calls in (1, 8):
        dataset = tf.data.Dataset.from_tensor_slices(rows).map(whole_words, num_parallel_calls=calls)
        assert dataset.element_spec == tf.TensorSpec([15], tf.int32)
        np.testing.assert_array_equal(list(dataset.as_numpy_iterator()), expected)
    assert (np.sum(expected, axis=1)[10:] <= 15 - (4 if segmenter else 0)).all()


def test_missing_jieba_is_named_with_its_extra(monkeypatch):
    real_import = builtins.__import__

    def without_jieba(name, *args, **kwargs):
        if name == "jieba":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_jieba)
    with pytest.raises(InputError, match=r"jieba is missing.*\.\[chinese\]"):
        jieba_segmenter()


@pytest.mark.filterwarnings("ignore")  # jieba's source has invalid escapes, and leaves a file open.
def test_jieba_finds_chinese_words():
    pytest.importorskip("jieba", reason='pip install ".[chinese]" in the source folder brings the segmenter')
    pieces = ["[CLS]", *"我很喜欢这部电影", "。", "good", "[SEP]"]
    assert word_starts(pieces, jieba_segmenter()) == [1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]
