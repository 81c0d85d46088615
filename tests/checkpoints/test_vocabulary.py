import logging
import unicodedata

import pytest

from kbert.checkpoints import vocabulary
from kbert.text import WordPieceTokenizer, train_vocab

UNCASED = ["[UNK]", "[CLS]", *(f"word{number}" for number in range(200)), "好", "##ing"]
CASED = [*UNCASED, *(f"Word{number}" for number in range(60))]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(UNCASED, True), (CASED, False), (["The"] * 50, None), (["好", "1"] * 500, None), ([], None)],
)
def test_the_case_shows_in_the_letters(tokens, expected):
    assert vocabulary.is_lowercase(tokens) is expected


def test_a_few_capitals_make_no_cased_vocabulary():
    assert vocabulary.is_lowercase([*UNCASED, "NBA", "OK"]) is True


KOREAN = ["한국", "##어", "나라"] * 100
THAI = ["ที่", "##ม้า", "กา"] * 100


@pytest.mark.parametrize("tokens", [KOREAN, THAI, ["हिन्दी"] * 100, ["が"] * 100])
def test_scripts_without_case_show_it_where_lower_casing_would_change_them(tokens):
    assert vocabulary.is_lowercase(tokens) is False
    lowered = [unicodedata.normalize("NFD", token) for token in tokens]
    lowered = ["".join(c for c in token if unicodedata.category(c) != "Mn") for token in lowered]
    assert vocabulary.is_lowercase(lowered) is not False
    # Some in a vocabulary of another language say nothing of it; nor do accents of letters with case.
    assert vocabulary.is_lowercase([*UNCASED, *tokens[:100], *["café"] * 900]) is True


def test_a_vocabulary_of_korean_reads_what_it_was_made_of():
    """It has the syllables whole, not in the letters that lower-casing takes them apart into."""
    words = [first + second for first in "한국어말글집물불산강" for second in "은는이가을를도만의에"]
    texts = [f"{word} 나라 {word}" for word in words]
    vocab = train_vocab(texts, 200, lowercase=False)
    lowercase = vocabulary.settle_case("vocab.txt", vocab.tokens, None)
    ids = WordPieceTokenizer(vocab, lowercase=lowercase).tokenize(texts)
    assert vocab.unk_id not in ids.flat_values.numpy()


@pytest.mark.parametrize(
    ("tokens", "lowercase", "message"),
    [
        (CASED, True, "vocab.txt: has many entries that lower-casing would change, but lowercase=True"),
        (UNCASED, False, "vocab.txt: has next to no capital letter, but lowercase=False"),
        (CASED, False, None),
        (UNCASED, True, None),
        (["The"], True, None),
    ],
)
def test_a_contradiction_is_warned_of_in_one_line(caplog, tokens, lowercase, message):
    with caplog.at_level(logging.WARNING, logger="absl"):
        vocabulary.warn_of_case("vocab.txt", tokens, lowercase)
    assert [record.message[: len(message or "")] for record in caplog.records] == (
        [message] if message else []
    )
