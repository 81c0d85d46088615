"""The first pass over a corpus: a part of it becomes a file of an `IdStore`."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from kbert.data.corpus import CorpusSlice, read_lines
from kbert.data.id_store import IdStoreWriter
from kbert.data.record_settings import RecordSettings
from kbert.data.work_pool import count_documents
from kbert.text import Vocab, WordPieceTokenizer
from kbert.text.sentences import split_sentences
from kbert.text.whole_words import jieba_segmenter, word_starts

#: Where whole words are wanted, a stored token has this bit if a word begins with it. What cuts and joins
#: tokens then moves the words with them, and needs to know nothing of it.
WORD_START = 1 << 30

#: In-graph tokenizing has a cost per call, so many sentences go in at once.
_BATCH_SENTENCES = 8192
_BATCH_CHARS = 1 << 20


def tokenize_part(slices: list[CorpusSlice], path: Path, settings: RecordSettings) -> None:
    """Reads, splits and tokenizes a part of a corpus, and writes it to `path`, which appears complete.

    Args:
        slices: Of `slice_corpus`.
        path: File of an `IdStore`.
        settings: `vocab`, `lowercase`, how to read, and whether to mark words.

    Raises:
        InputError: The text cannot be read.
    """
    tokenize, mark_words = _tokenizer(settings, settings.vocab_stamp)
    with IdStoreWriter(path) as writer:
        for sentences, document_ends in _batches(slices, settings):
            ids = tokenize(tf.constant(sentences, tf.string))
            tokens, lengths = ids.values.numpy(), ids.row_lengths().numpy()
            before = writer.documents
            writer.add(mark_words(tokens, lengths), lengths, document_ends)
            count_documents(writer.documents - before)


def _batches(slices, settings) -> Iterator[tuple[list[str], list[int]]]:
    """Sentences, and how many of them come before each end of a document."""
    sentences: list[str] = []
    ends: list[int] = []
    chars = 0
    for part in slices:
        for line in read_lines(part, text_field=settings.text_field, tfds_split=settings.tfds_split):
            if not line:
                ends.append(len(sentences))
                continue
            sentences += split_sentences(line) if settings.split_sentences else [line]
            chars += len(line)
            if len(sentences) >= _BATCH_SENTENCES or chars >= _BATCH_CHARS:
                yield sentences, ends
                sentences, ends, chars = [], [], 0
        ends.append(len(sentences))  # The next slice begins with another document.
    yield sentences, ends


@functools.lru_cache(maxsize=1)
def _tokenizer(settings: RecordSettings, vocab_stamp: int) -> tuple[Callable, Callable]:
    """Two functions: of sentences, their ids; and of ids and lengths, ids with words marked."""
    vocab = Vocab.read(settings.vocab)
    tokenizer = WordPieceTokenizer(vocab, lowercase=settings.lowercase)
    tokenize = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    segmenter = jieba_segmenter() if settings.segmenter else None
    starts = np.array(word_starts(vocab.tokens), np.int32)

    def mark(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        if not settings.whole_words:
            return tokens
        if segmenter is None:
            return tokens | starts[tokens] * WORD_START
        sentences = np.split(tokens, np.cumsum(lengths)[:-1])
        found = [word_starts([vocab.tokens[i] for i in ids], segmenter) for ids in sentences]
        return tokens | np.array([start for row in found for start in row], np.int32) * WORD_START

    return tokenize, mark
