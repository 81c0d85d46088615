"""Windows of questions: the answer's pieces by brute force, every piece once, places that are not known."""

import random
import unicodedata

import numpy as np
import pytest

from kbert.data import Answer, Question, answer_windows, encode_questions
from kbert.errors import InputError
from kbert.text import WordPieceTokenizer

#: What WordPiece treats each in its own way; some vanish, some become several pieces or stand for several.
ATOMS = [
    "good",
    "playing",
    "unable",
    "café",
    "cafe\u0301",
    "niño",
    "电",
    "影",
    "我们",
    "😀",
    "❤\ufe0f",
    "\u200b",
]
ATOMS += [",", "!", "bd", "2003", "\x00", "\u0301", "ＡＢ", "ﬁ", "москва", "  ", "\u3000", "各"]


@pytest.fixture
def tokenizer(tiny_vocab):
    return WordPieceTokenizer(str(tiny_vocab))


def question(context, start=None, end=None, text="good film?", has_answer=True, key="q"):
    answers = () if start is None else (Answer(context[start:end], start, start),)
    return Question(key, text, context, answers, has_answer, "f.json")


def random_questions(seed, count=40):
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        context = "".join(rng.choice(ATOMS) + rng.choice(["", " "]) for _ in range(rng.randrange(1, 25)))
        start = rng.randrange(len(context))
        end = min(len(context), start + rng.randrange(1, 9))
        asked = " ".join(rng.choices(["film", "very", "!"], k=rng.randrange(1, 9)))
        rows.append(question(context, start, end, asked, key=str(number)))
    return rows


def located(tokenizer, text):
    """Lists of ids, begins and ends of a text's pieces, accents behind a piece being its own."""
    ids, begins, ends = (part.to_list()[0] for part in tokenizer.tokenize_with_offsets([text]))
    for place, end in enumerate(ends):
        while end < len(text) and unicodedata.category(text[end]) == "Mn":
            end += 1
        ends[place] = end
    return ids, begins, ends


def windows_of(encoded):
    """Row of the file, and for each window lists of ids, begins, ends, and whether it has most context."""
    columns = [
        encoded.inputs["token_ids"],
        *(encoded.places[n] for n in ("begins", "ends", "has_most_context")),
    ]
    return list(zip(encoded.owner.tolist(), *(column.to_list() for column in columns), strict=True))


@pytest.mark.parametrize("seed", range(2))
def test_positions_are_those_of_the_characters(seed, tokenizer, monkeypatch):
    monkeypatch.setattr(answer_windows, "_CHUNK", 25)  # Chunks must not be seen.
    rows = random_questions(seed)
    encoded = encode_questions(rows, tokenizer, max_length=14, stride=3, max_question_length=5)
    pieces = [located(tokenizer, row.context) for row in rows]
    found = {key: values.tolist() for key, values in encoded.targets.items()}
    holding = 0
    for (owner, _, begins, ends, _), first, last in zip(
        windows_of(encoded), found["start_position"], found["end_position"], strict=True
    ):
        gold = rows[owner].answer
        start, end = gold.start, gold.start + len(gold.text)
        all_touched = sum(b < end and e > start for b, e in zip(*pieces[owner][1:], strict=True))
        touched = [
            place for place, (b, e) in enumerate(zip(begins, ends, strict=True)) if 0 <= b < end and e > start
        ]
        if not all_touched:  # An answer of white space, or of what vanishes.
            assert (first, last) == (-1, -1)
        elif len(touched) == all_touched:
            holding += 1
            assert (first, last) == (touched[0], touched[-1])
        else:
            assert (first, last) == (0, 0)
    assert holding > len(rows) // 2


def test_the_pieces_with_most_context_are_the_passage(tokenizer):
    rows = random_questions(9)
    encoded = encode_questions(rows, tokenizer, max_length=14, stride=3, max_question_length=5)
    assert len(encoded) > len(rows) and encoded.lengths.max() <= 14
    seen = [set() for _ in rows]
    for owner, *columns in windows_of(encoded):
        tokens = list(zip(*columns, strict=True))
        seen[owner] |= {token[:3] for token in tokens if token[3]}
        asked = tokenizer.tokenize([rows[owner].question]).to_list()[0][:5]
        assert [token[0] for token in tokens[1 : 1 + len(asked)]] == asked
        assert all(token[1:] == (-1, -1, False) for token in tokens[: len(asked) + 2])
    for row, tokens in zip(rows, seen, strict=True):
        assert tokens == set(zip(*located(tokenizer, row.context), strict=True))
    long = sum(len(ids) > 5 for ids in tokenizer.tokenize([row.question for row in rows]).to_list())
    assert encoded.num_truncated == long > 0


def test_a_piece_ends_behind_its_accents(tokenizer):
    texts = ["cafe\u0301 good", "\u0301\u0302", "", "e\u0301\u0302", "\u0301 电\u0301", "\ud83d good\u0301"]
    rows = [question(text, key=str(number)) for number, text in enumerate(texts)]
    encoded = encode_questions(
        rows, tokenizer, max_length=20, stride=3, max_question_length=5, labelled=False
    )
    found = [
        [texts[owner][begin:end] for begin, end in zip(begins, ends, strict=True) if begin >= 0]
        for owner, _, begins, ends, _ in windows_of(encoded)
    ]
    words = [["cafe\u0301", "good"], [], [], ["e\u0301\u0302"], ["电\u0301"], ["good\u0301"]]
    assert list(map("".join, found)) == list(map("".join, words))
    assert [pieces[-1:] for pieces in found[3:]] == [["e\u0301\u0302"], ["电\u0301"], ["good\u0301"]]


def test_no_answer_is_cls_and_no_place_is_nothing(tokenizer, caplog):
    nowhere = Question("3", "film?", "the film", (Answer("play", None, -1),), True, "f.json")
    rows = [question("the film was good", 4, 8), question("the film", has_answer=False, key="2"), nowhere]
    with caplog.at_level("WARNING"):
        encoded = encode_questions(rows, tokenizer, max_length=20, stride=5, max_question_length=5)
    assert encoded.owner.tolist() == [0, 1, 2]
    # [CLS] good film ? [SEP] the film: the 7th of them.
    assert encoded.targets["start_position"].tolist() == [6, 0, -1]
    assert encoded.targets["end_position"].tolist() == [6, 0, -1]
    assert "1 of 3 questions are not trained on" in caplog.text
    caplog.clear()
    assert (
        encode_questions(
            rows, tokenizer, max_length=20, stride=5, max_question_length=5, labelled=False
        ).targets
        == {}
    )
    assert not caplog.text


def test_the_first_answer_with_a_place_is_learnt(tokenizer):
    answers = (Answer("play", None, -1), Answer("film", 4, 5))
    row = Question("1", "what?", "the film", answers, True, "f.json")
    encoded = encode_questions([row], tokenizer, max_length=20, stride=5, max_question_length=5)
    assert encoded.targets["start_position"].tolist() == [encoded.lengths[0] - 2]


def test_an_empty_passage_and_an_empty_question(tokenizer):
    rows = [question("", text="film"), question("the film", text="", key="2")]
    encoded = encode_questions(
        rows, tokenizer, max_length=20, stride=5, max_question_length=5, labelled=False
    )
    assert encoded.lengths.tolist() == [4, 5]
    assert [len(set(row)) for row in encoded.places["begins"].to_list()] == [1, 3]


def test_the_memory_is_that_of_the_pieces(tokenizer):
    encoded = encode_questions(random_questions(1), tokenizer, max_length=14, stride=3, max_question_length=5)
    held = [*encoded.inputs.values(), *encoded.places.values()]
    assert sum(part.values.dtype.size for part in held) == 17  # Bytes a piece.
    assert all(values.dtype == np.int32 for values in encoded.targets.values())


def test_a_stride_that_would_skip_pieces_is_refused(tokenizer):
    with pytest.raises(InputError, match="stride=7.*expected 1 to 6"):
        encode_questions(random_questions(1), tokenizer, max_length=14, stride=7, max_question_length=5)
