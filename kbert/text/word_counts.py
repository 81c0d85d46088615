"""`count_words`: how often each word stands in text of any size, in bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kbert.text.normalization import split_words

#: Of a longer word every tokenizer of BERT makes [UNK], whatever its vocabulary.
_MAX_WORD_CHARS = 200
_BATCH_BYTES = 1 << 22
#: What parts words by itself, in one byte. The other control characters vanish and part nothing.
_BLANKS = bytes.maketrans(b"\t\n\r", b"   ")


@dataclass(frozen=True)
class WordCounts:
    """The words of a text, as `WordPieceTokenizer` tells them apart.

    Args:
        counts: Word -> occurrences, without words that are too long.
        total: All words, among them those that `counts` lost or left out.
        too_long: Those that are too long.
        characters: Of all words.
        too_long_characters: Of those that are too long.
        missed: By how much a count can be too low; 0 if all are exact. A word that is not in `counts` stands
            in the text at most so many times.
    """

    counts: dict[str, int]
    total: int
    too_long: int
    characters: int
    too_long_characters: int
    missed: int


def count_words(
    texts: Iterable[str | bytes],
    lowercase: bool = True,
    max_words: int = 1_000_000,
    max_chars: int = _MAX_WORD_CHARS,
) -> WordCounts:
    """Counts the words of texts that are read once, one after the other.

    While there are at most `max_words` different words, their counts are exact. When there are more, all
    counts are lowered by the same number, the smallest that leaves at most half of the words above zero,
    and the rest is forgotten. No count is ever too high, and with N words of text none is too low by
    more than `2 * N / max_words`; what it was in fact is `missed`.

    Args:
        texts: Lines (`str`, or `bytes` of UTF-8); no word crosses from one to the next.
        lowercase: Whether to lower-case and to strip accents.
        max_words: Most words to remember, at least 2; those of one batch of 4 MB may come on top. A word
            takes some 120 bytes.
        max_chars: Most characters of a word; longer ones are too long.

    Example:
        >>> count_words(["Low, lower", "low"]).counts
        {'low': 2, ',': 1, 'lower': 1}

    Reference:
        Misra and Gries, 1982, "Finding repeated elements"; Agarwal et al., 2012, "Mergeable summaries".
    """
    counts: dict[str, int] = {}
    total = too_long = characters = too_long_characters = missed = 0
    for words, times in map(lambda batch: _count_batch(batch, lowercase), _batches(texts)):
        for word, n in zip(words, times, strict=True):
            total += n
            characters += n * len(word)
            if len(word) > max_chars:
                too_long += n
                too_long_characters += n * len(word)
            else:
                counts[word] = counts.get(word, 0) + n
        if len(counts) > max_words:
            lowered = _count_at(counts, max_words // 2)
            counts = {word: n - lowered for word, n in counts.items() if n > lowered}
            missed += lowered
    return WordCounts(counts, total, too_long, characters, too_long_characters, missed)


def _batches(texts: Iterable[str | bytes]) -> Iterator[list[bytes]]:
    batch, size = [], 0
    for text in texts:
        batch.append(text.encode() if isinstance(text, str) else text)
        size += len(batch[-1])
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _count_batch(texts: list[bytes], lowercase: bool) -> tuple[list[str], list[int]]:
    """The distinct words and how often each is there.

    What stands between blanks is normalized and split once for all its occurrences: `split_words` treats
    it alike wherever it is, and costs far more than counting.
    """
    chunks = Counter(b"\n".join(texts).translate(_BLANKS).split(b" "))
    del chunks[b""]
    split = split_words(tf.constant(list(chunks), tf.string), lowercase)
    words, index = tf.unique(split.values)
    times = np.repeat(np.fromiter(chunks.values(), np.int64), split.row_lengths())
    totals = np.zeros(len(words), np.int64)
    np.add.at(totals, index.numpy(), times)
    return [word.decode() for word in words.numpy()], totals.tolist()


def _count_at(counts: dict[str, int], rank: int) -> int:
    """The count that `rank` words reach or exceed, besides one more."""
    values = np.fromiter(counts.values(), np.int64, len(counts))
    return int(np.partition(values, -rank - 1)[-rank - 1])
