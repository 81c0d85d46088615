import json
import random
from collections import Counter

import pytest

from kbert.data import corpus_inspection
from kbert.data.corpus_inspection import inspect_corpus
from kbert.errors import InputError
from kbert.text import Vocab, WordPieceTokenizer
from kbert.text.sentence_pairs import sentence_pairs

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "the film is good bad was not very".split()
VOCAB = Vocab([*SPECIALS, *WORDS, "##s", "a", "##b", ".", "我", "们"])
TOKENIZER = WordPieceTokenizer(VOCAB)


def inspect(text, tokenizer=TOKENIZER, **options):
    lines = text if isinstance(text, bytes) else text.encode()
    return inspect_corpus(lines.split(b"\n"), tokenizer, **options)


def good_corpus(documents=300, seed=1):
    rng = random.Random(seed)
    texts = (
        "\n".join(" ".join(rng.choices(WORDS, k=rng.randint(4, 30))) for _ in range(rng.randint(3, 30)))
        for _ in range(documents)
    )
    return "\n\n".join(texts)


TEXT = """The films.
Good

\u3000
a ab.

The FILM is x 我们
\u200b
我你 axe axe
"""


@pytest.mark.parametrize("batch_lines", [1, 2, 2048])
def test_everything_is_counted(batch_lines, monkeypatch):
    monkeypatch.setattr(corpus_inspection, "_BATCH_LINES", batch_lines)
    report = inspect(TEXT)
    assert (report.documents, report.one_sentence_documents, report.sentences) == (3, 1, 5)
    assert report.sentence_lengths == Counter({4: 3, 1: 1, 6: 1}) - Counter({4: 0})
    assert report.document_lengths == Counter({5: 1, 4: 1, 10: 1})
    assert (report.pieces, report.unknown) == (19, 4)
    # axe fails at its second character, of which no piece "##x" is there.
    assert report.unknown_characters == {"x": 3, "你": 1}
    assert (report.longest_line, report.invalid_utf8, report.repeated_share) == (16, 0, 0)
    assert report.unknown_share == 4 / 19


def test_bytes_that_are_no_utf8_are_counted_and_the_rest_is_read():
    report = inspect(b"the film\n" + b"\xff the \xe4\xb8 film \xef\xbf\xbd\n")
    assert report.invalid_utf8 == 2
    assert report.pieces == 4 and report.documents == 1
    assert any("2 sequences of bytes are no UTF-8" in warning for warning in report.warnings())


def test_pairs_are_those_of_the_builder():
    text = good_corpus()
    report = inspect(text, max_length=64)
    documents = [TOKENIZER.tokenize(document.split("\n")).to_list() for document in text.split("\n\n")]
    rng = random.Random(99)
    labels = [
        pair.label
        for index in range(len(documents))
        for pair in sentence_pairs(documents, index, max_length=64, rng=rng)
    ]
    assert report.pairs == pytest.approx(len(labels), rel=0.05)
    assert report.random_pairs / report.pairs == pytest.approx(sum(labels) / len(labels), abs=0.05)
    assert report.documents == 300 and report.warnings() == []


def test_a_huge_line_is_read():
    report = inspect("the film\n\n" + "the film is good. " * 100_000)
    assert report.sentence_lengths == Counter({2: 1, 500_000: 1})
    assert report.cut_share > 0.99 and report.pairs == 2


WARNS = {
    "one document": (good_corpus(60).replace("\n\n", "\n"), "one document only"),
    "sentences alone": (good_corpus().replace("\n", "\n\n"), "have a single sentence"),
    "few pairs": (good_corpus(20), "are few"),
    "paragraphs": (good_corpus().replace("\n\n", "@").replace("\n", " ").replace("@", "\n\n"), "are lost"),
    "repeated": (good_corpus(150) + "\n\n" + good_corpus(150), "same as an earlier"),
    "unknown": (good_corpus().replace("film", "movie"), r"\[UNK\]"),
}


@pytest.mark.parametrize("case", WARNS)
def test_what_ruins_a_run_is_warned_of(case):
    text, message = WARNS[case]
    warnings = inspect(text).warnings()
    assert sum(message.replace("\\", "") in warning for warning in warnings) == 1, warnings


def test_words_that_are_too_long_are_no_fault_of_the_vocabulary():
    """As of Thai, which has no spaces; each is one [UNK] among many pieces, but much of the text."""
    report = inspect("a" + "b" * 200 + "\n" + "the film is good. " * 40)
    assert (report.unknown, report.too_long_words, report.unknown_characters) == (1, 1, {})
    assert report.too_long_share == pytest.approx(201 / (201 + 40 * 18 - 1))
    told = [warning for warning in report.warnings() if "[UNK]" in warning]
    assert len(told) == 1 and "21.8% of the characters stand in words of over 200" in told[0]
    assert "1 words, 21.85% of all characters" in report.table()
    assert report.to_dict()["too_long_words"] == 1
    assert not any("over 200" in warning for warning in inspect("ab" * 100 + "\nthe film").warnings())


@pytest.mark.parametrize("lowercase", [True, False])
def test_signs_that_lower_casing_takes_away_are_told(lowercase):
    report = inspect("ม้า กา\nกา", WordPieceTokenizer(VOCAB, lowercase=lowercase))
    assert report.lost_signs_share == report.to_dict()["lost_signs_share"] == (1 / 7 if lowercase else 0)
    assert any("14% of the letters away" in warning for warning in report.warnings()) == lowercase


def test_the_wrong_casing_is_noticed_either_way():
    text = good_corpus().replace("the", "The").replace("film", "Film")
    assert inspect(text).better_lowercase is None
    report = inspect(text, WordPieceTokenizer(VOCAB, lowercase=False))
    assert report.better_lowercase is True
    assert any("--lowercase=true" in warning for warning in report.warnings())
    cased = Vocab([*SPECIALS, *WORDS, "The", "Film", "Ann", "##n", "a", "."])
    text = text.replace("good", "Ann")
    assert inspect(text, WordPieceTokenizer(cased, lowercase=False)).better_lowercase is None
    assert inspect(text, WordPieceTokenizer(cased)).better_lowercase is False


def test_lower_case_is_not_asked_for_where_it_takes_vowels_away():
    """Without its signs a Thai word has fewer pieces, as it is another word."""
    thai = Vocab([*SPECIALS, "กา", "ก", "##ิ", "##็", "##น"])
    assert inspect("กิน กา ก็\n" * 9, WordPieceTokenizer(thai, lowercase=False)).better_lowercase is None


def test_no_text_is_refused():
    for text in ("", "\n \n\n", "\u200b\n"):
        with pytest.raises(InputError, match="no text"):
            inspect(text)


def test_the_report_is_json_and_a_table_with_the_same_figures():
    report = inspect(TEXT)
    figures = json.loads(json.dumps(report.to_dict()))
    assert figures["pieces"] == 19 and figures["documents"] == 3
    assert figures["unknown_characters"][0] == {"character": "x", "code_points": ["U+0078"], "words": 3}
    assert figures["sentence_lengths"]["longest"] == 6 and figures["sentence_lengths"]["mean"] == 19 / 5
    assert figures["next_sentence_pairs"] == report.pairs > 0 and figures["warnings"] == report.warnings()
    table = report.table()
    assert "x U+0078 (3)" in table and "4 (21.053%)" in table and "4-7" in table


@pytest.mark.parametrize(
    ("corpus", "vocab", "documents"), [("brown.dev", "uncased", 27), ("zh.dev", "chinese", 330)]
)
def test_real_corpora(shared, corpus, vocab, documents):
    tokenizer = WordPieceTokenizer(shared / f"data/vocab/bert-base-{vocab}.txt")
    lines = (shared / f"data/corpora/{corpus}.txt").read_bytes().split(b"\n")
    report = inspect_corpus(lines, tokenizer)
    assert report.documents == documents and report.better_lowercase is None
    assert report.unknown_share < 0.01 and report.invalid_utf8 == 0
