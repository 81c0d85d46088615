"""Next-sentence pairs: borders, shares, lengths, nothing lost."""

import collections

import pytest

from kbert.errors import InputError
from kbert.text.sentence_pairs import sentence_pairs

# Every token tells its document, sentence and place: 1000·document + 20·sentence + place.
DOCUMENTS = [[[1000 * d + 20 * s + t for t in range(3 + (d + s) % 5)] for s in range(20)] for d in range(30)]


def pairs(seed=1, max_length=40, documents=DOCUMENTS, **options):
    return list(sentence_pairs(documents, max_length=max_length, seed=seed, **options))


def test_real_pairs_follow_and_random_pairs_come_from_elsewhere():
    for pair in pairs():
        origin = {token // 1000 for token in pair.first}
        other = {token // 1000 for token in pair.second}
        assert len(origin) == len(other) == 1
        if pair.is_random:
            assert origin != other
        else:
            assert origin == other
            # B begins where A ended, but for what truncation took away at either end.
            assert pair.second[0] > pair.first[-1]
            assert (pair.second[0] % 1000) // 20 - (pair.first[-1] % 1000) // 20 <= 2


def test_about_half_are_random():
    found = pairs(max_length=24)
    share = sum(pair.is_random for pair in found) / len(found)
    assert 0.45 < share < 0.65


def test_no_sentence_is_lost_without_truncation():
    """Sentences that a random B displaced are taken up again."""
    seen = collections.Counter()
    for pair in pairs(short_probability=0.0, max_length=403):
        seen.update(token // 20 for token in pair.first)
        if not pair.is_random:
            seen.update(token // 20 for token in pair.second)
    assert len(seen) == 30 * 20


def test_lengths_fill_the_limit_but_for_a_tenth():
    found = pairs(max_length=40)
    lengths = [len(pair.first) + len(pair.second) for pair in found]
    assert max(lengths) == 37
    assert 0.5 < sum(length >= 30 for length in lengths) / len(lengths) < 0.95
    exact = [len(p.first) + len(p.second) for p in pairs(max_length=40, short_probability=0.0)]
    assert sum(exact) / len(exact) > sum(lengths) / len(lengths)


def test_both_ends_of_the_longer_part_are_cut():
    long_documents = [[[100 * d + t for t in range(50)]] for d in range(1, 9)]
    starts, ends = set(), set()
    for pair in pairs(documents=long_documents, max_length=23, short_probability=0.0):
        assert len(pair.first) + len(pair.second) == 20
        starts.add(pair.first[0] % 100 > 0)
        ends.add(pair.first[-1] % 100 < 49)
    assert True in starts and True in ends


def test_seed_and_document_number_decide():
    assert pairs(seed=3) == pairs(seed=3)
    assert pairs(seed=3) != pairs(seed=4)


def test_one_document_is_refused_with_the_reason():
    with pytest.raises(InputError, match="1 document.*at least 2.*empty line"):
        pairs(documents=DOCUMENTS[:1])
    with pytest.raises(InputError, match="max_length=7"):
        pairs(max_length=7)
