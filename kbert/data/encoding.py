"""Texts become ragged ids, once, before the first epoch; `EncodedRows` holds them."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data.json_lines import whole_characters
from kbert.data.ragged import concat_rows
from kbert.text import WordPieceTokenizer, pack

_CHUNK = 1024


@dataclass(frozen=True)
class EncodedRows:
    """A whole data set in memory, as a model reads it: about 8 bytes a piece.

    A row of a file is one row here, or several where a long text was cut into windows.

    Args:
        inputs: Name in `kbert.features` -> ragged int32 [rows, pieces], or [rows, texts, pieces] where a row
            is several texts; special tokens included, padding not. `token_ids` is among them.
        targets: Name -> numbers [rows, ...], an array or ragged; none where there are no labels.
        owner: int64 [rows], which row of the file each is cut from, ascending.
        num_truncated: Rows of the file that were longer than allowed.
        places: What tells where in the text the pieces stand, name -> ragged [rows, pieces]; the model
            does not see it.
    """

    inputs: Mapping[str, tf.RaggedTensor]
    targets: Mapping[str, np.ndarray | tf.RaggedTensor]
    owner: np.ndarray
    num_truncated: int
    places: Mapping[str, tf.RaggedTensor]

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows], pieces of the longest text of each row, special tokens included."""
        token_ids = self.inputs[features.TOKEN_IDS]
        if token_ids.ragged_rank == 1:
            return token_ids.row_lengths().numpy()
        return tf.reduce_max(token_ids.row_lengths(axis=2), axis=1).numpy()

    def __len__(self) -> int:
        return len(self.owner)


def encode_texts(
    texts: Sequence[str], pairs: Sequence[str] | None, tokenizer: WordPieceTokenizer, max_length: int
) -> tuple[dict[str, tf.RaggedTensor], np.ndarray]:
    """Texts or pairs as the sequences that BERT reads, made by the same graph that serving uses.

    Args:
        texts: The first or only texts.
        pairs: As many second ones, or None.
        tokenizer: Of the model's vocabulary.
        max_length: Most pieces of a row, special tokens included; of a pair the longer text loses its end.

    Returns:
        Dict of `token_ids` and `segment_ids`, ragged int32 [texts, pieces]; and bool [texts], whether
        pieces were cut away.
    """
    encode_chunk = _packer(tokenizer, max_length, pairs is not None)
    sides = [texts] if pairs is None else [texts, pairs]
    chunks = [
        encode_chunk(*(string_tensor(side[first : first + _CHUNK]) for side in sides))
        for first in range(0, max(1, len(texts)), _CHUNK)
    ]
    token_ids, segment_ids, truncated = map(concat_rows, zip(*chunks, strict=True))
    return {features.TOKEN_IDS: token_ids, features.SEGMENT_IDS: segment_ids}, truncated.numpy()


def string_tensor(texts: Sequence[str]) -> tf.Tensor:
    """Texts as a string tensor [texts]; see `whole_characters` for what is no character."""
    try:
        return tf.constant(list(texts), tf.string)
    except ValueError:
        return tf.constant([whole_characters(text) for text in texts], tf.string)


@functools.lru_cache(maxsize=32)  # Tracing takes longer than encoding a few texts.
def _packer(tokenizer: WordPieceTokenizer, max_length: int, paired: bool):
    vocab = tokenizer.vocab

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * (2 if paired else 1))
    def encode_chunk(first, second=None):
        return pack(
            tokenizer.tokenize(first),
            None if second is None else tokenizer.tokenize(second),
            max_length=max_length,
            cls_id=vocab.cls_id,
            sep_id=vocab.sep_id,
        )

    return encode_chunk
