"""`extend_vocab`: the words of a domain that a vocabulary breaks up, made entries of it."""

import re
from dataclasses import dataclass

import numpy as np
from absl import logging

from kbert.errors import InputError
from kbert.text.reference import WordPieceTokenizer
from kbert.text.vocab import Vocab
from kbert.text.word_counts import WordCounts

#: As for `train_vocab`; and what the vocabulary can hold.
_MAX_WORD_CHARS = 50
_BATCH_WORDS = 50_000
_UNUSED = re.compile(r"\[unused\d+\]")
MODES = ("append", "unused")


@dataclass(frozen=True)
class MinedWord:
    """A word that becomes an entry.

    Args:
        word: As the tokenizer sees it.
        count: Occurrences in the corpus.
        pieces: What the old vocabulary makes of it; `("[UNK]",)` if it cannot spell it.
        score: By which words are ranked, see `extend_vocab`.
    """

    word: str
    count: int
    pieces: tuple[str, ...]
    score: int


@dataclass(frozen=True)
class Usage:
    """What a tokenizer makes of a corpus.

    Args:
        words: Of the text.
        tokens: Pieces of them all.
        unknown: Words that are `[UNK]`.
    """

    words: int
    tokens: int
    unknown: int

    @property
    def tokens_per_word(self) -> float:
        """1.0 if each word is an entry."""
        return self.tokens / self.words

    @property
    def unknown_share(self) -> float:
        """Share of the tokens that are `[UNK]`."""
        return self.unknown / self.tokens


@dataclass(frozen=True)
class Extension:
    """A vocabulary with the words of a domain, and what it saves.

    Args:
        vocab: The new one; old entries have their ids.
        words: What was added, the highest score first.
        before: Of the old vocabulary on the words of the corpus.
        after: Of the new one.
    """

    vocab: Vocab
    words: tuple[MinedWord, ...]
    before: Usage
    after: Usage


def extend_vocab(
    vocab: Vocab,
    counts: WordCounts,
    *,
    lowercase: bool = True,
    num_words: int = 1000,
    min_count: int = 5,
    mode: str = "append",
) -> Extension:
    """Adds the words of a corpus that save the most tokens.

    A word's score is the number of tokens that it saves: its count times its pieces but one. A word that
    is `[UNK]` saves no token, but its text is lost to the model; it counts as if broken into characters,
    with all of these to gain. Scores are not counted anew after each choice: whole words seldom share
    occurrences. But the tokenizer takes the longest entry a word begins with and never goes back, so that
    "cardio" can come in the way of "cardiology"; a word that would turn others into `[UNK]` is not added,
    and `after` is measured with the tokenizer itself.

    Chinese characters are words of one character each, whatever the vocabulary: of Chinese terms only
    characters that are missing can be added, never the terms.

    Args:
        vocab: The old vocabulary.
        counts: Of the corpus, by `count_words` with the same `lowercase`.
        lowercase: How the model takes its text.
        num_words: Most words to add.
        min_count: Fewest occurrences of a word.
        mode: `"append"` adds entries at the end, for which `kbert.resize_vocab` makes rows of the embedding
            table; `"unused"` writes over entries `[unusedN]`, as many as there are, and the table stays.

    Raises:
        InputError: No word is to be added, or no `[unusedN]` is there to write over.

    Example:
        >>> from kbert.text.word_counts import count_words
        >>> vocab = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "##s"])
        >>> extension = extend_vocab(vocab, count_words(["Playing plays playing"] * 5))
        >>> [(word.word, word.score) for word in extension.words], extension.after.tokens_per_word
        ([('playing', 10), ('plays', 5)], 1.0)
    """
    if mode not in MODES:
        raise InputError(f"mode={mode!r} is unknown; expected {' or '.join(MODES)}")
    slots = _unused(vocab) if mode == "unused" else []
    if mode == "unused" and len(slots) < num_words:
        logging.info("The vocabulary has %d [unusedN] entries: so many words at most", len(slots))
        num_words = len(slots)
    corpus = _Corpus(counts, lowercase)
    before = corpus.measure(vocab)
    ranked = _ranked(corpus, before, min_count)
    if not ranked:
        raise InputError(
            f"no word that is {min_count} times or more in the corpus is broken up by the vocabulary; there "
            "may be nothing to add; else lower min_count, or give more text of the domain"
        )
    chosen, extended, after = _add(corpus, vocab, before, ranked, num_words, slots)
    words = [corpus.words[i] for i in chosen]
    mined = [
        MinedWord(word, int(corpus.times[i]), pieces, _score(corpus, before, i))
        for i, word, pieces in zip(chosen, words, corpus.pieces(words, vocab), strict=True)
    ]
    return Extension(extended, tuple(mined), corpus.usage(before), corpus.usage(after))


def _unused(vocab: Vocab) -> list[int]:
    slots = [i for i, token in enumerate(vocab.tokens) if _UNUSED.fullmatch(token)]
    if not slots:
        raise InputError("the vocabulary has no [unusedN] entries to write over; append the words instead")
    return slots


@dataclass(frozen=True)
class _Measure:
    """Of each distinct word, int64: its tokens, and how many of them are `[UNK]`."""

    tokens: np.ndarray
    unknown: np.ndarray


class _Corpus:
    """The distinct words of a corpus, and what a vocabulary makes of them."""

    def __init__(self, counts: WordCounts, lowercase: bool):
        self.words = list(counts.counts)
        self.times = np.fromiter(counts.counts.values(), np.int64, len(self.words))
        self._too_long = counts.too_long
        self._lowercase = lowercase

    def pieces(self, words: list[str], vocab: Vocab) -> list[tuple[str, ...]]:
        """What the vocabulary breaks each of `words` into."""
        rows = WordPieceTokenizer(vocab, self._lowercase).tokenize(words)
        return [tuple(vocab.tokens[i] for i in row) for row in rows]

    def measure(self, vocab: Vocab) -> _Measure:
        """What the tokenizer (its twin, which needs no wheel) makes of all words."""
        tokenizer = WordPieceTokenizer(vocab, self._lowercase)
        tokens, unknown = np.zeros((2, len(self.words)), np.int64)
        for start in range(0, len(self.words), _BATCH_WORDS):
            rows = tokenizer.tokenize(self.words[start : start + _BATCH_WORDS])
            tokens[start : start + len(rows)] = [len(row) for row in rows]
            unknown[start : start + len(rows)] = [row.count(vocab.unk_id) for row in rows]
        return _Measure(tokens, unknown)

    def usage(self, measure: _Measure) -> Usage:
        """The sum over all occurrences; a word that is too long to be counted is one [UNK]."""
        sums = (self.times.sum(), self.times @ measure.tokens, self.times @ measure.unknown)
        return Usage(*(int(value) + self._too_long for value in sums))


def _ranked(corpus: _Corpus, before: _Measure, min_count: int) -> list[int]:
    """The words that are worth adding, by their place in the corpus, the highest score first."""
    broken = (corpus.times >= min_count) & ((before.tokens > 1) | (before.unknown > 0))
    scores = {
        i: _score(corpus, before, i)
        for i in np.flatnonzero(broken).tolist()
        if len(corpus.words[i]) <= _MAX_WORD_CHARS
    }
    return sorted(scores, key=lambda i: (-scores[i], corpus.words[i]))


def _score(corpus: _Corpus, before: _Measure, i: int) -> int:
    gain = len(corpus.words[i]) if before.unknown[i] else before.tokens[i] - 1
    return int(corpus.times[i] * gain)


def _add(
    corpus: _Corpus, vocab: Vocab, before: _Measure, ranked: list[int], num_words: int, slots: list[int]
) -> tuple[list[int], Vocab, _Measure]:
    """The best words that turn no other into `[UNK]`, the vocabulary with them, and what it makes of all."""
    while True:
        chosen = ranked[:num_words]
        extended = _extended(vocab, [corpus.words[i] for i in chosen], slots)
        after = corpus.measure(extended)
        lost = np.flatnonzero(after.unknown > before.unknown)
        if not len(lost):
            return chosen, extended, after
        added = {corpus.words[i]: i for i in chosen}
        harmful = {_longest_beginning(corpus.words[i], added) for i in lost}
        logging.info("Left out, as longer words would become [UNK]: %s", ", ".join(sorted(harmful)[:10]))
        ranked = [i for i in ranked if corpus.words[i] not in harmful]


def _longest_beginning(word: str, added: dict[str, int]) -> str:
    """The added word that `word` begins with; only it can have changed how `word` is split."""
    return next(word[:end] for end in range(len(word), 0, -1) if word[:end] in added)


def _extended(vocab: Vocab, words: list[str], slots: list[int]) -> Vocab:
    """The vocabulary with `words` in `slots`, the ids to write over, or at its end if there are none."""
    if not slots:
        return Vocab([*vocab.tokens, *words])
    tokens = list(vocab.tokens)
    for slot, word in zip(slots, words, strict=False):
        tokens[slot] = word
    return Vocab(tokens)
