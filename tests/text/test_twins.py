"""The graph's tokenizer and the plain-Python one are one function, over any text."""

import sys
import unicodedata

import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from kbert.text import Vocab, normalization, reference, unicode_tables
from kbert.text.reference_words import NormalWords
from kbert.text.unicode_tables import UNSETTLED, character
from kbert.text.wordpiece import WordPieceTokenizer

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
UNK = 1

#: Letters that lower-case to several, letters of no case, sigmas and what lets them look further, marks of
#: all orders with and without width, precomposed letters, ideographs that decompose, Hangul, white space of
#: all kinds, what vanishes, punctuation, brackets and words that look like special tokens, emoji.
HARD = [
    *"aAbZ09İIıŒßẞΣσςΑéÉñǅﬁ½ªǰΐ",
    *"'’.:·^`-_[]#\"!。、「",
    *"\u0301\u0307\u0316\u0334\u0345\u034f\u20dd\u302e\u302f\U0001d165\U0001d16d\U0001d15f\U00016ff0\u0903",
    *"각힣각中国々〇㐀\uf900\ufa0e豈\U0002f800\U00020000\U0002b820かがｶﾞＡ",
    *" \t\n\r\v\f\x1c\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000\u180e",
    *"\0\x01\x05\x06\x0e\x1f\x7f\u00ad\u200b\u200d\u2060\ufeff\ufffd\ufffe\U000e0001\ue000\U0010ffff",
    *"\u1fef\u037e\u2000\u212b\u0958\u1734\u0888\u0898\u0890\u0897\u061d\u2c2f\U000105c9\U00016121\U0001e5ef",
    *"🙂👩❤\ufe0f🇩ก\u0e31\u0e33אبةक\u094dष",
    *("[MASK]", "[SEP]", "[MASK", "MASK]", "[mask]", "ΑΣ", "Α'Σ", "##a", "a" * 199, "é" * 201),
]


def vocab_of(chars):
    """A vocabulary that knows nearly every character, folded and not, so that few words are [UNK]."""
    known = {part for char in chars for part in (*char, *character(char[0]).folded, *char.lower())}
    known = sorted(c for c in known if character(c).kind not in ("invisible", "space"))
    pieces = ["aa", "##aa", "##aA", "σα", "ΑΣ", "##ας", "e\u0301"]
    return Vocab([*SPECIALS, *known, *(f"##{char}" for char in known), *pieces])


@pytest.fixture(scope="module", params=["lowercase", "cased", "special tokens", "cased special tokens"])
def twins(request):
    """Holds both tokenizers' results for a batch together and returns `(ids, begins, ends)`."""
    options = {
        "lowercase": "cased" not in request.param,
        "special_tokens_in_text": "special" in request.param,
    }
    vocab = vocab_of(HARD)
    graph, plain = WordPieceTokenizer(vocab, **options), reference.WordPieceTokenizer(vocab, **options)
    compiled = tf.function(
        lambda texts: (
            *graph.tokenize_with_offsets(texts),
            graph.tokenize(texts),
            graph.count_invalid(texts),
        ),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )

    def check(texts):
        texts = [reference.as_utf8(text) for text in texts]
        *in_graph, ids, invalid = compiled(tf.constant(texts, tf.string))
        expected = plain.tokenize_with_offsets(texts)
        assert [ragged.to_list() for ragged in in_graph] == list(expected)
        assert ids.to_list() == plain.tokenize(texts) == expected[0]
        assert invalid.numpy().tolist() == plain.count_invalid(texts)
        return expected

    check.lowercase = options["lowercase"]
    return check


def examples(count):
    return hypothesis.settings(max_examples=count, deadline=None, derandomize=True, database=None)


@pytest.mark.slow
def test_every_hard_character_beside_every_other(twins):
    """All pairs in one batch, after a letter, which shows what marks do."""
    ids, _, _ = twins([f"a{first}{second}" for first in HARD for second in HARD])
    known = [token for row in ids for token in row if token != UNK]
    assert len(set(known)) > 150


@pytest.mark.slow_after_first
@examples(120)
@hypothesis.given(texts=st.lists(st.lists(st.sampled_from(HARD), max_size=25).map("".join), max_size=8))
def test_texts_of_hard_characters(twins, texts):
    twins(texts)


@pytest.mark.slow_after_first
@examples(80)
@hypothesis.given(texts=st.lists(st.text(max_size=30), max_size=8))
def test_arbitrary_texts(twins, texts):
    twins(texts)


@pytest.mark.slow_after_first
@examples(80)
@hypothesis.given(
    texts=st.lists(
        st.lists(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from("a é 中 Σ 🙂".encode().split(b" ")),
                st.sampled_from([b"\xc3", b"\xe4\xb8", b"\xf0\x9f\x99", b"\xed\xa0\x80", b"\xc0\xaf"]),
                st.sampled_from(
                    [b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xef\xbf\xbd"]
                ),
            )
        ).map(b"".join),
        max_size=8,
    )
)
def test_bytes_that_are_no_utf8(twins, texts):
    twins(texts)


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "text, tokens, tokens_cased",
    [
        ("", 0, 0),
        (" \t\r\n\u3000\u2028", 0, 0),
        ("\0", 0, 0),
        ("a\0b\0", 2, 2),
        ("\u0301", 0, 1),
        ("\u0301\u0316 \u0345", 0, 3),
        ("\u200b\ufeff", 0, 0),
        (b"\xff\xfe\xed\xa0\x80", 0, 0),
        (b"\xe4\xb8", 0, 0),
        ("\ud800", 0, 0),
    ],
)
def test_bad_and_empty_input(twins, text, tokens, tokens_cased):
    ids, _, _ = twins([text, "a", text])
    expected = tokens if twins.lowercase else tokens_cased
    assert [len(row) for row in ids] == [expected, 1, expected]


@pytest.mark.parametrize(
    "words, count",
    [("a" * 10_000_000, 1), pytest.param("a é. ", 1_700_000, marks=pytest.mark.slow)],
    ids=["one word", "words"],
)
def test_a_line_of_ten_megabytes_in_the_graph(words, count):
    tokenizer = WordPieceTokenizer(Vocab([*SPECIALS, "a", "e", "."]))
    ids = tokenizer.tokenize([words * count])[0].numpy().tolist()
    assert ids == (tokenizer.tokenize([words]).to_list()[0] * count)
    assert ids[:3] == ([UNK] if count == 1 else [5, 6, 7])


def settled():
    """Characters that have a name in this Python, without the long rows of ideographs and syllables."""
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        long_row = "\u3401" <= char <= "\u9ffe" or "\uac02" <= char <= "\ud7a0" or char >= "\U00020000"
        if unicodedata.category(char) not in ("Cn", "Co", "Cs") and not long_row and char not in UNSETTLED:
            yield char


def all_chars():
    return [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def assert_same_words(chars):
    """Each character inside of a word, and where it tells what a sigma becomes."""
    for lowercase in (True, False):
        plain = NormalWords(lowercase)
        frames = ["a{}b", "{}Σ", "a{}Σ", "aΣ{}", "aΣ{}a"] if lowercase else ["a{}b"]
        for frame in frames:
            texts = [frame.format(char) for char in chars]
            in_graph = normalization.split_words(tf.constant(texts), lowercase).to_list()
            wrong = [
                (f"{ord(char):X}", frame, theirs)
                for char, text, theirs in zip(chars, texts, in_graph, strict=True)
                if plain.split(text) != [word.decode() for word in theirs]
            ]
            assert wrong == []


@pytest.mark.slow
def test_every_character_is_the_same_to_both():
    chars = [*settled(), *sorted(UNSETTLED)]
    assert len(chars) > 30_000
    assert_same_words(chars)


@pytest.mark.slow
def test_every_code_point_is_the_same_to_both():
    chars = all_chars()
    for start in range(0, len(chars), 100_000):
        assert_same_words(chars[start : start + 100_000])


def graphs_tables(chars):
    """By character: kind, folded form, and what a sigma beside it takes it for; from the ops alone."""
    texts = tf.constant(chars)
    kinds = {
        "invisible": normalization._INVISIBLE,
        "space": r"[ \t\n\r]|" + normalization._WIDE_SPACE,
        "accent": normalization._ACCENT,
        "alone": normalization._STANDS_ALONE,
    }
    kind = ["letter"] * len(chars)
    for name, pattern in kinds.items():
        for place in tf.where(tf.strings.regex_full_match(texts, pattern))[:, 0].numpy():
            kind[place] = name

    def lower(*parts):
        return tf.strings.lower(tf.strings.join(parts), encoding="utf-8").numpy().tolist()

    folded = tf_text.normalize_utf8(lower(texts), "NFD").numpy().tolist()
    ends, within = lower("aΣ", texts), lower("aΣ", texts, "a")
    case = [
        "cased" if end.decode()[1] == "σ" else "ignorable" if inner.decode()[1] == "σ" else "none"
        for end, inner in zip(ends, within, strict=True)
    ]
    return list(zip(kind, (text.decode() for text in folded), case, strict=True))


def test_differences_are_all_that_differs():
    """What Python's own tables say, for every code point, against the ops; NUL would end a text for ICU."""
    chars = [char for char in all_chars() if char != "\0" and (char in UNSETTLED or char < "\u3400")]
    chars += [char for char in settled() if char > "\u3400"]
    found = set()
    for char, (kind, folded, case) in zip(chars, graphs_tables(chars), strict=True):
        here = unicode_tables.character_here(char)
        if (here.kind, here.folded, here.case) != (kind, folded, case):
            found.add(char)
    listed = reference.differences()
    assert found == {
        char for char, (here, ours) in listed.items() if here[:2] + here[3:] != ours[:2] + ours[3:]
    }
    assert all(here.order != ours.order for char, (here, ours) in listed.items() if char not in found)
    # The list is of use where it is not empty: under each Python that kbert supports.
    assert "\U000105c9" in listed
