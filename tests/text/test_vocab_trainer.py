import collections
import logging
import random

import pytest

from kbert.errors import InputError
from kbert.text import WordPieceTokenizer, train_vocab
from tests.text import reference_tokenizer as reference

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TEXTS = [
    "The lower the slower, the slowest of all the lowest lows!",
    "Playing players played; they play, and the playground is lower now.",
    "我们在北京大学学习，学习中国的文学。",
    "Café naïve résumé: the CAFÉ is lower than the lowest café.",
] * 3


def merge_by_recounting(words, count):
    """The first `count` merged pieces, all pairs counted anew each time."""
    spelled = {word: [word[0], *("##" + char for char in word[1:])] for word in words}
    merged = []
    while True:
        pairs = collections.Counter()
        for word, pieces in spelled.items():
            for pair in zip(pieces, pieces[1:], strict=False):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if len(merged) == count or best is None or pairs[best] < 2:
            return merged
        new = best[0] + best[1].removeprefix("##")
        for word, pieces in spelled.items():
            joined = []
            for piece in pieces:
                if joined and (joined[-1], piece) == best:
                    joined[-1] = new
                else:
                    joined.append(piece)
            spelled[word] = joined
        if new not in merged:
            merged.append(new)


def random_texts(seed):
    rng = random.Random(seed)
    words = ["".join(rng.choices("aab", k=rng.randint(1, 9))) for _ in range(60)]
    return [" ".join(rng.choices(words, k=20)) for _ in range(10)]


@pytest.mark.parametrize("seed", range(5))
def test_merges_are_those_of_counting_all_pairs_each_time(seed):
    texts = random_texts(seed)
    words = collections.Counter(word for text in texts for word in text.split())
    tokens = train_vocab(texts, 60).tokens
    assert tokens[:9] == (*SPECIALS, "a", "##a", "b", "##b")
    assert list(tokens[9:]) == merge_by_recounting(words, 60 - 9)
    assert len(tokens) > 40


def test_the_size_is_as_asked_and_special_tokens_come_first():
    for size in (90, 100, 110):
        vocab = train_vocab(TEXTS, size)
        assert (len(vocab), vocab.tokens[:5]) == (size, SPECIALS)
        assert (vocab.pad_id, vocab.unk_id, vocab.cls_id, vocab.sep_id, vocab.mask_id) == (0, 1, 2, 3, 4)


def test_the_order_of_the_texts_does_not_matter():
    shuffled = [text.encode() for text in reversed(TEXTS)]
    assert train_vocab(iter(shuffled), 100).tokens == train_vocab(TEXTS, 100).tokens


@pytest.mark.parametrize("lowercase", [True, False])
def test_the_words_are_the_tokenizers_own(lowercase):
    vocab = train_vocab(TEXTS, 200, lowercase=lowercase)
    tokenizer = WordPieceTokenizer(vocab, lowercase=lowercase)
    for text, ids in zip(TEXTS, tokenizer.tokenize(TEXTS).to_list(), strict=True):
        pieces = [vocab.tokens[i] for i in ids]
        words = "".join(reference.split_words(text, lowercase))
        assert "".join(piece.removeprefix("##") for piece in pieces) == words
    assert ("CAFÉ" in vocab) is not lowercase
    assert ("cafe" in vocab) is lowercase


def test_chinese_characters_and_punctuation_are_words_of_their_own():
    tokens = set(train_vocab(TEXTS, 200).tokens) - set(SPECIALS)
    alone = [
        token for token in tokens if any(map(reference.is_chinese, token)) or not token.strip("#").isalnum()
    ]
    assert {"学", "，", "!"} <= set(alone)
    assert all(len(token) == 1 for token in alone)


def test_of_too_many_characters_the_rarest_go():
    texts = ["中 中 中 文 文 字"]
    assert train_vocab(texts, 7).tokens[5:] == ("中", "文")
    assert train_vocab(["ab ab c"], 8).tokens[5:] == ("a", "##a")  # "b" has no room for both of its forms


def test_a_small_corpus_gives_fewer_and_says_so(caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        vocab = train_vocab(["ab ab"], 100)
    assert vocab.tokens[5:] == ("a", "##a", "b", "##b", "ab")
    assert "10 entries, not 100" in caplog.text


@pytest.mark.parametrize("length", [52, 202])
def test_very_long_words_are_not_learned_and_many_are_told(length, caplog):
    """As lines of Thai, which has no spaces: all of it would be lost, without a word."""
    long = "ab" * (length // 2)
    vocab = train_vocab([long, "cd cd"] * 5, 100)
    assert vocab.tokens[5:] == ("c", "##c", "d", "##d", "cd")
    assert f"{100 * length / (length + 4):.0f}% of the characters stand in words of over 50" in caplog.text
    caplog.clear()
    train_vocab([long, *["cd cd"] * 10_000], 100)
    assert "of the characters" not in caplog.text


THAI = "ม้า กิน หญ้า ที่ ทุ่ง"
FRENCH = "L'élève a été naïf à l'école, où il a mangé des pâtes."


@pytest.mark.parametrize(
    ("texts", "lowercase", "told"),
    [
        ([THAI] * 50, True, True),
        ([THAI.encode()] * 50, True, True),
        ([THAI] * 50, False, False),
        ([FRENCH] * 50, True, False),
        ([FRENCH] * 200 + [THAI], True, False),
    ],
)
def test_signs_that_lower_casing_takes_away_are_told(texts, lowercase, told, caplog):
    """In Thai they are vowels and tones: without them a horse, ม้า, comes, มา."""
    vocab = train_vocab(iter(texts), 200, lowercase)
    assert ("takes 41% of the letters away" in caplog.text and "--nolowercase" in caplog.text) == told
    assert vocab.tokens == train_vocab(texts[::-1], 200, lowercase).tokens


@pytest.mark.parametrize("texts", [[], ["", " \n"], ["x" * 51]])
def test_no_words_are_refused(texts):
    asked = "plain text, with spaces between words$" if texts == ["x" * 51] else "plain text$"
    with pytest.raises(InputError, match=f"no word of up to 50 characters .* {asked}"):
        train_vocab(texts, 100)


def test_too_small_a_size_is_refused():
    with pytest.raises(InputError, match="vocab_size=5 leaves no room"):
        train_vocab(TEXTS, 5)


def test_ids_of_special_tokens_can_be_chosen():
    order = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[ENTITY]"]
    vocab = train_vocab(TEXTS, 100, special_tokens=order, unused=2)
    assert vocab.tokens[:8] == ("[PAD]", "[unused0]", "[unused1]", *order[1:])
    assert len(vocab) == 100
    assert vocab.tokens[8:] == train_vocab(TEXTS, 97).tokens[5:]
    google = train_vocab(TEXTS, 200, unused=99)
    ids = (google.pad_id, google.unk_id, google.cls_id, google.sep_id, google.mask_id)
    assert ids == (0, 100, 101, 102, 103)


@pytest.mark.parametrize(
    ("special_tokens", "message"),
    [
        (["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"], r"\[PAD\] first"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]"], r"each of .*\[MASK\]"),
        ([*SPECIALS, "[CLS]"], "once"),
        ([*SPECIALS, "entity"], "'entity' is no name in brackets"),
        ([*SPECIALS, "[a b]"], "no name in brackets"),
        ([*SPECIALS, "[unused7]"], "no name in brackets"),
        ([], r"\[PAD\] first"),
    ],
)
def test_special_tokens_that_cannot_be_are_refused(special_tokens, message):
    with pytest.raises(InputError, match=message):
        train_vocab(TEXTS, 100, special_tokens=special_tokens)


def test_rare_characters_are_left_out_by_coverage():
    texts = ["中 " * 90 + "文 " * 9 + "字"]
    assert train_vocab(texts, 50).tokens[5:] == ("中", "字", "文")
    assert train_vocab(texts, 50, character_coverage=0.99).tokens[5:] == ("中", "文")
    assert train_vocab(texts, 50, character_coverage=0.9).tokens[5:] == ("中",)
    # A word with a character that is left out teaches nothing.
    assert "ab" not in train_vocab(["ab c ab c", "c c c c c"], 50, character_coverage=0.5)


@pytest.mark.parametrize("coverage", [0, -1, 1.01])
def test_a_coverage_that_is_no_share_is_refused(coverage):
    with pytest.raises(InputError, match="no share"):
        train_vocab(TEXTS, 100, character_coverage=coverage)


def test_a_full_table_of_words_is_said(caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        vocab = train_vocab(["low " * 9 + "lower lower lowest slow"], 40, max_words=3)
    assert "low" in vocab and "over 3 different words" in caplog.text


def test_an_alphabet_that_fills_the_vocabulary_is_said(caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        train_vocab(TEXTS, 60)
    assert "of the 60 entries" in caplog.text
