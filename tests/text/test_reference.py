import json
import pickle
import subprocess
import sys

import pytest

from kbert.errors import InputError
from kbert.text import reference, reference_words
from kbert.text.vocab import Vocab

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
UNK, MASK = 1, 4
FIRST = len(SPECIALS)


@pytest.fixture(
    scope="module", params=[("uncased", True), ("cased", False), ("chinese", True)], ids=lambda p: p[0]
)
def google(request, shared):
    """The cases of one of Google's vocabularies, the vocabulary, and whether it is lower-case."""
    name, lowercase = request.param
    lines = (shared / "golden" / "tokenization" / "tokenization.jsonl").read_text("utf-8").split("\n")
    cases = [json.loads(line) for line in lines if line]
    vocab = Vocab.read(shared / "data" / "vocab" / f"bert-base-{name}.txt")
    return [{**case, **case[name]} for case in cases], vocab, lowercase


def spans(begins, ends):
    return [list(span) for span in zip(begins, ends, strict=True)]


@pytest.mark.slow_after_first
@pytest.mark.golden
def test_ids_and_offsets_are_googles_on_every_string(google):
    cases, vocab, lowercase = google
    tokenizer = reference.WordPieceTokenizer(vocab, lowercase)
    texts = [case["text"] for case in cases]
    ids, begins, ends = tokenizer.tokenize_with_offsets(texts)
    assert tokenizer.tokenize(texts) == ids
    compared = 0
    for case, *row in zip(cases, ids, begins, ends, strict=True):
        assert row[0] == case["ids"], case["text"]
        if case["offsets"] is not None:
            assert spans(*row[1:]) == case["offsets"], case["text"]
            compared += 1
    assert compared > 700


@pytest.mark.golden
def test_special_tokens_in_text_are_hugging_faces(google):
    cases, vocab, lowercase = google
    tokenizer = reference.WordPieceTokenizer(vocab, lowercase, special_tokens_in_text=True)
    compared = 0
    for case in cases:
        causes = case.get("causes", [])
        if "special-token-in-text" not in causes:
            assert tokenizer.tokenize([case["text"]]) == [case["ids"]]
        elif causes == ["special-token-in-text"] and "hf" in case:
            (ids,), (begins,), (ends,) = tokenizer.tokenize_with_offsets([case["text"]])
            assert (ids, spans(begins, ends)) == (case["hf"]["ids"], case["hf"]["offsets"]), case["text"]
            compared += 1
    assert compared > 10


def test_a_word_is_200_characters_at_most():
    tokenizer = reference.WordPieceTokenizer(Vocab([*SPECIALS, "é", "##é"]), lowercase=False)
    (known, unknown), begins, ends = tokenizer.tokenize_with_offsets(["é" * 200, "é" * 201 + " é"])
    assert known == [FIRST] + [FIRST + 1] * 199
    assert unknown == [UNK, FIRST]
    assert begins[1] == [0, 202] and ends[1] == [201, 203]
    assert begins[0] == list(range(200))


def test_the_longest_piece_wins_and_a_rest_makes_the_word_unknown():
    tokenizer = reference.WordPieceTokenizer(Vocab([*SPECIALS, "un", "unable", "##able", "##abl", "able"]))
    texts = ["unable", "unabl", "ununable", "able", "unableable", "##able"]
    assert tokenizer.tokenize(texts) == [[6], [5, 8], [UNK], [9], [6, 7], [UNK, UNK, 9]]


def test_special_tokens_are_found_as_they_are_written_only():
    vocab = Vocab([*SPECIALS, "[", "]", "mask", "a"])
    tokenizer = reference.WordPieceTokenizer(vocab, special_tokens_in_text=True)
    texts = ["a[MASK]a", "[[MASK]]", "[mask]", "[MA\u200bSK]", "\x01[MASK]\u0301 a", "[MASK][SEP]"]
    assert tokenizer.tokenize(texts) == [
        [8, 4, 8],
        [5, 4, 6],
        [5, 7, 6],
        [5, 7, 6],
        [4, 8],
        [4, 3],
    ]
    assert reference.WordPieceTokenizer(vocab).tokenize(["[MASK]"]) == [[5, 7, 6]]


def test_lone_surrogates_are_left_out_and_counted():
    tokenizer = reference.WordPieceTokenizer(Vocab([*SPECIALS, "a", "##b"]))
    texts = ["a\ud83d\ude00b", "\udcff", b"a\xe4\xb8b\xff", "ab"]
    assert tokenizer.tokenize_with_offsets(texts) == (
        [[5, 6], [], [5, 6], [5, 6]],
        [[0, 3], [], [0, 2], [0, 1]],
        [[1, 4], [], [1, 3], [1, 2]],
    )
    assert tokenizer.count_invalid(texts) == [2, 1, 2, 0]


def test_what_is_no_batch_of_text_is_refused():
    tokenizer = reference.WordPieceTokenizer(Vocab(SPECIALS))
    with pytest.raises(InputError, match="one str; expected a batch"):
        tokenizer.tokenize("one text")
    with pytest.raises(InputError, match=r"texts\[1\] is a int"):
        tokenizer.tokenize(["a", 1])


def test_what_is_remembered_and_forgotten_changes_nothing(monkeypatch):
    vocab = Vocab([*SPECIALS, *"abc", "##a", "##b", "中"])
    texts = ["ab ba c, ca", "中ab中 bb"] * 3
    expected = reference.WordPieceTokenizer(vocab).tokenize_with_offsets(texts)
    monkeypatch.setattr(reference_words, "_MOST_REMEMBERED", 2)
    forgetful = reference.WordPieceTokenizer(vocab)
    assert forgetful.tokenize_with_offsets(texts) == expected
    assert forgetful.tokenize(texts) == expected[0]
    assert pickle.loads(pickle.dumps(forgetful)).tokenize_with_offsets(texts) == expected


TEN_MEGABYTES = {
    "one word": ("a" * 10_000_000, [UNK]),
    "words": ("aa a " * 2_000_000, [5, 6, 5] * 2_000_000),
    "accents": ("é" * 5_000_000, [UNK]),
    "sigmas": ("ΑΣ\u0301" * 1_600_000, [UNK]),
    "marks that swap": ("a" + "\u302e\U0001d165" * 1_400_000, [UNK]),
}


@pytest.mark.parametrize("kind", ["one word", "words"])
def test_a_line_of_ten_megabytes(kind):
    line, expected = TEN_MEGABYTES[kind]
    tokenizer = reference.WordPieceTokenizer(Vocab([*SPECIALS, "a", "##a"]))
    assert tokenizer.tokenize([line]) == [expected]


@pytest.mark.slow
@pytest.mark.parametrize("kind", TEN_MEGABYTES)
def test_offsets_in_a_line_of_ten_megabytes(kind):
    """Anything quadratic would take hours."""
    line, expected = TEN_MEGABYTES[kind]
    tokenizer = reference.WordPieceTokenizer(Vocab([*SPECIALS, "a", "##a"]))
    (ids,), (begins,), (ends,) = tokenizer.tokenize_with_offsets([line])
    assert ids == expected
    assert begins[0] == 0 and ends[-1] == len(line.rstrip(" \u0301"))


WITHOUT_TENSORFLOW = """
import sys
sys.modules.update(tensorflow=None, tensorflow_text=None, keras=None, numpy=None)
from kbert.text.reference import WordPieceTokenizer, differences
from kbert.text.vocab import Vocab
vocab = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
print(WordPieceTokenizer(vocab).tokenize(["Playing!"]), len(differences()) > 100)
"""


def test_it_runs_without_tensorflow():
    result = subprocess.run([sys.executable, "-c", WITHOUT_TENSORFLOW], capture_output=True, text=True)
    assert result.stdout == "[[5, 6, 1]] True\n", result.stderr
