import collections
import random

import pytest

from kbert.text import word_counts
from kbert.text.word_counts import count_words
from tests.text import reference_tokenizer as reference

TEXTS = [
    "Low, lower\tlow\u3000LOW\r",
    "vertical\x0btab and form\x0cfeed vanish; so does a\u200bzero width space",
    "我们在北京大学学习，学习中国的文学。",
    "Café naïve ΣΊΣΥΦΟΣ İstanbul",
    "",
    "lower low",
]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("batch_bytes", [1, 1 << 22])
def test_words_are_those_of_the_tokenizer_however_they_are_batched(lowercase, batch_bytes, monkeypatch):
    monkeypatch.setattr(word_counts, "_BATCH_BYTES", batch_bytes)
    expected = collections.Counter(word for text in TEXTS for word in reference.split_words(text, lowercase))
    found = count_words(iter(TEXTS), lowercase)
    assert found.counts == expected
    assert (found.total, found.too_long, found.missed) == (expected.total(), 0, 0)
    assert count_words([text.encode() for text in TEXTS], lowercase) == found


def test_bytes_that_are_no_utf8_vanish_as_in_the_tokenizer():
    assert count_words([b"a\xffb \xe4\xb8 c", b"\xfe"]).counts == {"ab": 1, "c": 1}


def test_words_that_are_always_unknown_are_only_numbered():
    found = count_words(["x" * 200 + " " + "y" * 201, "y" * 201 + " 中"])
    assert (found.counts, found.too_long, found.total) == ({"x" * 200: 1, "中": 1}, 2, 4)
    assert (found.characters, found.too_long_characters) == (603, 402)
    # Also where there are too many to remember any.
    found = count_words([" ".join("x" * n for n in range(4, 9))], max_words=2, max_chars=6)
    assert (found.too_long, found.characters, found.too_long_characters) == (2, 30, 15)


@pytest.mark.parametrize("seed", range(3))
def test_in_bounded_memory_counts_are_within_the_guarantee(seed, monkeypatch):
    rng = random.Random(seed)
    words = [f"w{min(int(rng.paretovariate(0.3)), 10**9)}" for _ in range(6000)]
    truth = collections.Counter(words)
    monkeypatch.setattr(word_counts, "_BATCH_BYTES", 200)
    largest = []
    count_at = word_counts._count_at
    monkeypatch.setattr(
        word_counts, "_count_at", lambda counts, rank: largest.append(len(counts)) or count_at(counts, rank)
    )
    found = count_words([" ".join(words[i : i + 10]) for i in range(0, 6000, 10)], max_words=300)
    assert len(truth) > 900 and largest and max(largest) <= 300 + 200  # a batch has at most 200 words
    assert len(found.counts) <= 300
    assert 0 < found.missed <= 2 * 6000 / 300
    for word, n in truth.items():
        assert n - found.missed <= found.counts.get(word, 0) <= n, word
    assert all(n > 0 for n in found.counts.values()) and found.total == 6000


def test_forgetting_keeps_at_most_half_and_no_less_than_it_must():
    counts = {"a": 9, "b": 5, "c": 5, "d": 2, "e": 1}
    assert word_counts._count_at(counts, 2) == 5  # leaves "a" alone: "b" and "c" are two
    assert word_counts._count_at(counts, 3) == 2  # leaves a, b, c
