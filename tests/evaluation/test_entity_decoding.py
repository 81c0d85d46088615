"""Entities are parts of the original text."""

import pytest

from kbert.evaluation import decode_entities


def test_spans_of_the_original_in_any_scheme():
    text = "Zürich  und New\u00a0York!"
    words = [(0, 6), (8, 11), (12, 15), (16, 20), (20, 21)]
    expected = [
        {"type": "LOC", "start": 0, "end": 6, "text": "Zürich"},
        {"type": "LOC", "start": 12, "end": 20, "text": "New\u00a0York"},
    ]
    for tags in ("B-LOC O B-LOC I-LOC O", "I-LOC O I-LOC I-LOC O", "S-LOC O B-LOC E-LOC O"):
        assert decode_entities(text, words, tags.split()) == expected


def test_chinese_character_by_character():
    found = decode_entities(
        "我在北京和上海", [(i, i + 1) for i in range(7)], "O O B-LOC I-LOC O B-LOC I-LOC".split()
    )
    assert [entity["text"] for entity in found] == ["北京", "上海"]


def test_as_many_tags_as_words():
    with pytest.raises(ValueError, match="1 words but 2 tags"):
        decode_entities("a", [(0, 1)], ["O", "O"])
