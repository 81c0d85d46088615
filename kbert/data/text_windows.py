"""Texts of any length become several rows of ids each, so that nothing of them is cut away."""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data.encoding import string_tensor
from kbert.data.ragged import concat_rows
from kbert.text import WordPieceTokenizer, cut_windows

_CHUNK = 1024


def encode_windows(
    texts: Sequence[str], tokenizer: WordPieceTokenizer, max_length: int, stride: int
) -> tuple[dict[str, tf.RaggedTensor], np.ndarray]:
    """Texts as windows that overlap; a text that fits is one window, as `encode_texts` makes it.

    Args:
        texts: Single texts.
        tokenizer: Of the model's vocabulary.
        max_length: Most pieces of a window, special tokens included.
        stride: Pieces from the beginning of one window to that of the next, 1 to `max_length` - 2.

    Returns:
        Dict of `token_ids` and `segment_ids`, ragged int32 [windows, pieces]; and int64 [windows], ascending,
        which text each is cut from.

    Raises:
        InputError: `stride` is out of its range.
    """
    encode_chunk = _cutter(tokenizer, max_length, stride)
    firsts = range(0, max(1, len(texts)), _CHUNK)
    chunks = [encode_chunk(string_tensor(texts[first : first + _CHUNK])) for first in firsts]
    token_ids, segment_ids, _ = map(concat_rows, zip(*chunks, strict=True))
    owner = [first + chunk[2].numpy().astype(np.int64) for first, chunk in zip(firsts, chunks, strict=True)]
    return {features.TOKEN_IDS: token_ids, features.SEGMENT_IDS: segment_ids}, np.concatenate(owner)


@functools.lru_cache(maxsize=32)  # Tracing takes longer than encoding a few texts.
def _cutter(tokenizer: WordPieceTokenizer, max_length: int, stride: int):
    vocab = tokenizer.vocab

    # AutoGraph has nothing to rewrite here, and would wrap an InputError into one of its own.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encode_chunk(chunk):
        ids = tokenizer.tokenize(chunk)
        windows = cut_windows(
            ids, max_length=max_length, stride=stride, cls_id=vocab.cls_id, sep_id=vocab.sep_id
        )
        return windows.token_ids, windows.segment_ids, windows.owner

    return encode_chunk
