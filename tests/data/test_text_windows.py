"""Texts in windows: each piece in one at least, whatever the length, over several chunks of texts."""

import numpy as np
import pytest

from kbert.data import encode_texts, encode_windows, string_tensor, text_windows
from kbert.errors import InputError
from kbert.text import WordPieceTokenizer


@pytest.fixture
def tokenizer(tiny_vocab):
    return WordPieceTokenizer(str(tiny_vocab))


def test_windows_restated(tokenizer, monkeypatch):
    monkeypatch.setattr(text_windows, "_CHUNK", 2)
    words = "the a is was not good bad film very play".split()
    texts = [" ".join(words[:count]) for count in (3, 10, 0, 9, 4)]
    inputs, owner = encode_windows(texts, tokenizer, max_length=6, stride=3)
    expected, owners = [], []
    for number, text in enumerate(texts):
        rest, start = text.split(), 0
        while True:
            expected.append(["[CLS]", *rest[start : start + 4], "[SEP]"])
            owners.append(number)
            if start + 4 >= len(rest):
                break
            start += 3
    tokens = [[tokenizer.vocab.tokens[i] for i in row] for row in inputs["token_ids"].to_list()]
    assert tokens == expected
    assert owner.dtype == np.int64 and owner.tolist() == owners
    assert inputs["segment_ids"].to_list() == [[0] * len(row) for row in expected]


def test_texts_that_fit_are_encoded_as_ever(tokenizer):
    texts = ["good film", "", "the play was not bad"]
    inputs, owner = encode_windows(texts, tokenizer, max_length=8, stride=2)
    plain, _ = encode_texts(texts, None, tokenizer, 8)
    for name in plain:
        assert inputs[name].to_list() == plain[name].to_list()
    assert owner.tolist() == [0, 1, 2]


def test_half_characters(tokenizer):
    """JSON can write half of a surrogate pair, which UTF-8 has not; it is no piece of a text."""
    texts, halved = ["good film", "the play"], ["good \ud83d film", "the play\ude00"]
    whole, _ = encode_texts(texts, texts[::-1], tokenizer, 12)
    assert (
        encode_texts(halved, halved[::-1], tokenizer, 12)[0]["token_ids"].to_list()
        == whole["token_ids"].to_list()
    )
    windows, _ = encode_windows(halved, tokenizer, max_length=12, stride=2)
    assert windows["token_ids"].to_list() == encode_windows(texts, tokenizer, 12, 2)[0]["token_ids"].to_list()
    assert string_tensor(halved).numpy().tolist() == [b"good \xef\xbf\xbd film", b"the play\xef\xbf\xbd"]


def test_a_gap_between_windows_is_refused(tokenizer):
    with pytest.raises(InputError, match="stride=5; .*expected 1 to 4"):
        encode_windows(["good"], tokenizer, max_length=6, stride=5)
