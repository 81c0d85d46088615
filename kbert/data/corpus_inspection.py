"""`inspect_corpus`: one pass over a corpus that finds out what it would be as pretraining data."""

import random
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from kbert.data.corpus_report import MANY_LOST, CorpusReport
from kbert.data.repeated_lines import RepeatedLines
from kbert.errors import InputError
from kbert.text import Vocab, WordPieceTokenizer
from kbert.text.normalization import share_of_lost_signs, split_words
from kbert.text.sentence_pairs import sentence_pairs

_BATCH_LINES = 2048
_BATCH_CHARS = 1 << 20
#: A longer word is [UNK], whatever the vocabulary.
_MAX_WORD_CHARS = 200
#: Lines on which the other casing is tried; and characters of each that are looked at for vowel signs.
_CASE_SAMPLE = 2048
_SAMPLE_CHARS = 1000
#: The other casing is better if it needs so much fewer pieces, or has so much less [UNK].
_FEWER_PIECES, _LESS_UNKNOWN = 0.02, 0.01


def inspect_corpus(
    lines: Iterable[bytes], tokenizer: WordPieceTokenizer, *, max_length: int = 128
) -> CorpusReport:
    """Counts what is in a corpus and what a tokenizer makes of it.

    It reads once and keeps no text: memory is bounded by the longest line, the sentence lengths of the
    longest document and a million hashes of lines. The pairs are those of `sentence_pairs` over documents of
    the same lengths; their number varies a little with the seed of a run.

    Args:
        lines: Of `stream_lines`: an empty line ends a document. Bytes that are no UTF-8 are counted.
        tokenizer: Of the model to train.
        max_length: Most pieces of [CLS] A [SEP] B [SEP], at least 8.

    Raises:
        InputError: There is no text in the lines.
    """
    inspection = _Inspection(tokenizer, max_length)
    for batch in _batches(lines, inspection):
        inspection.add(batch)
    inspection.end_document()
    if not inspection.sentence_lengths:
        raise InputError("there is no text in the corpus; expected one sentence a line")
    return inspection.report()


def _batches(lines: Iterable[bytes], inspection: "_Inspection") -> Iterator[list[str]]:
    """Stripped lines, so many at a time as tokenize well; an empty one ends a document."""
    batch, chars = [], 0
    for line in lines:
        text = inspection.decode(line)
        batch.append(text)
        chars += len(text)
        if len(batch) == _BATCH_LINES or chars >= _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


class _Inspection:
    """What was counted so far."""

    def __init__(self, tokenizer: WordPieceTokenizer, max_length: int):
        self._tokenizer = tokenizer
        self._max_length = max_length
        self.sentence_lengths: Counter = Counter()
        self._document_lengths: Counter = Counter()
        self._unknown_characters: Counter = Counter()
        self._too_long: Counter = Counter()
        self._unknown = self._one_sentence = self._longest = self._characters = self._invalid = 0
        self._pairs = self._random_pairs = 0
        self._repeated = RepeatedLines()
        self._document = array("q")
        self._sample: list[str] = []

    def decode(self, line: bytes) -> str:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = line.decode("utf-8", "replace")
            self._invalid += text.count("\ufffd") - line.count("\ufffd".encode())
        text = text.strip()
        if text:
            self._repeated.add(line.strip())
            self._longest = max(self._longest, len(text))
            self._characters += len(text)
        return text

    def add(self, texts: list[str]) -> None:
        rows = self._tokenizer.tokenize(texts)
        unknown = rows.with_values(tf.cast(rows.values == self._tokenizer.vocab.unk_id, tf.int64))
        unknown_of_line = tf.reduce_sum(unknown, axis=1).numpy()
        self._unknown += int(unknown_of_line.sum())
        words = _unknown_words(
            [text for text, n in zip(texts, unknown_of_line, strict=True) if n], self._tokenizer
        )
        for word, count in words.items():
            if len(word) > _MAX_WORD_CHARS:
                self._too_long[len(word)] += count
            else:
                self._unknown_characters[_end_of_match(word, self._tokenizer.vocab)] += count
        for text, length in zip(texts, rows.row_lengths().numpy().tolist(), strict=True):
            if not text:
                self.end_document()
            elif length:
                self._document.append(length)
                self.sentence_lengths[length] += 1
        if len(self._sample) < _CASE_SAMPLE:
            self._sample += texts[: _CASE_SAMPLE - len(self._sample)]

    def end_document(self) -> None:
        if not self._document:
            return
        self._one_sentence += len(self._document) == 1
        number = self._document_lengths.total()
        self._document_lengths[sum(self._document)] += 1
        for pair in sentence_pairs(
            [_Lengths(self._document, self._max_length), _Lengths([self._max_length], self._max_length)],
            0,
            max_length=self._max_length,
            rng=random.Random(number),  # noqa: S311 - reproducible, not secret
        ):
            self._pairs += 1
            self._random_pairs += pair.label
        self._document = array("q")

    def report(self) -> CorpusReport:
        documents = self._document_lengths.total()
        return CorpusReport(
            documents=documents,
            one_sentence_documents=self._one_sentence,
            sentences=self.sentence_lengths.total(),
            pieces=sum(length * number for length, number in self.sentence_lengths.items()),
            unknown=self._unknown,
            unknown_characters=self._unknown_characters,
            too_long_words=self._too_long.total(),
            too_long_characters=sum(length * count for length, count in self._too_long.items()),
            characters=self._characters,
            sentence_lengths=self.sentence_lengths,
            document_lengths=self._document_lengths,
            longest_line=self._longest,
            repeated_share=self._repeated.share,
            repeated_lines=self._repeated.most_frequent(20),
            repeated_is_exact=self._repeated.is_exact,
            invalid_utf8=self._invalid,
            max_length=self._max_length,
            pairs=self._pairs if documents > 1 else 0,
            random_pairs=self._random_pairs if documents > 1 else 0,
            lost_signs_share=_lost_signs(self._sample) if self._tokenizer.lowercase else 0.0,
            better_lowercase=_better_lowercase(self._sample, self._tokenizer),
        )


class _Lengths(Sequence):
    """A document of which only the lengths of its sentences are known; the tokens are zeros."""

    def __init__(self, lengths: Sequence[int], longest: int):
        self._lengths = lengths
        self._longest = longest  # Tokens beyond would only be cut off, one by one.

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, index):
        return [0] * min(self._lengths[index], self._longest)


def _unknown_words(texts: list[str], tokenizer: WordPieceTokenizer) -> dict[str, int]:
    """Each word that is `[UNK]`, and how often it comes."""
    if not texts:
        return {}
    words, _, counts = tf.unique_with_counts(split_words(tf.constant(texts), tokenizer.lowercase).values)
    rows = tokenizer.tokenize(words)
    unknown = tf.reduce_any(rows == tokenizer.vocab.unk_id, axis=1).numpy()
    found = zip(words.numpy()[unknown], counts.numpy()[unknown].tolist(), strict=True)
    return {word.decode(): count for word, count in found}


def _end_of_match(word: str, vocab: Vocab) -> str:
    """The first character that no piece covers, the longest piece being taken each time."""
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in vocab)
        end = next(ends, None)
        if end is None:
            break
        start = end
    return word[min(start, len(word) - 1)]


def _better_lowercase(texts: list[str], tokenizer: WordPieceTokenizer) -> bool | None:
    """The other casing if the vocabulary spells the texts better with it, else None."""
    if not tokenizer.lowercase and _lost_signs(texts) > MANY_LOST:
        return None  # Fewer pieces, as the vowels would be gone.
    other = WordPieceTokenizer(tokenizer.vocab, lowercase=not tokenizer.lowercase)
    pieces, unknown = _usage(texts, tokenizer)
    other_pieces, other_unknown = _usage(texts, other)
    shorter = other_pieces < (1 - _FEWER_PIECES) * pieces and other_unknown <= unknown
    clearer = other_unknown / max(other_pieces, 1) < unknown / max(pieces, 1) - _LESS_UNKNOWN
    return other.lowercase if shorter or clearer else None


def _lost_signs(texts: list[str]) -> float:
    return share_of_lost_signs(text[:_SAMPLE_CHARS] for text in texts)


def _usage(texts: list[str], tokenizer: WordPieceTokenizer) -> tuple[int, int]:
    ids = tokenizer.tokenize(texts).values.numpy()
    return len(ids), int((ids == tokenizer.vocab.unk_id).sum())
