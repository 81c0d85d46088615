"""`WordPieceTokenizer` where tensorflow-text is missing: the plain-Python twin, called from the graph."""

import itertools
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kbert.errors import InputError
from kbert.text import reference
from kbert.text.normalization import as_batch
from kbert.text.vocab import Vocab


class WordPieceTokenizer(tf.Module):
    """BERT's tokenizer with the arguments, methods, ids and offsets of the graph's, run by Python.

    `kbert.text.WordPieceTokenizer` is this class where no wheel of tensorflow-text is installed. Training and
    prediction work as with it, eagerly and in `tf.data`, but slower: one thread at a time runs Python.
    A SavedModel cannot hold Python code, so that a model with this tokenizer cannot be exported.

    Args:
        vocab_path: File of the vocabulary, one piece a line, or a `Vocab`.
        lowercase: Whether to lower-case and to strip accents; must be as the vocabulary was made.
        special_tokens_in_text: Whether a literal "[MASK]" in the text is the token, not words of text.

    Raises:
        InputError: The vocabulary cannot be used, see `Vocab`; the texts are no batch; or a SavedModel is to
            be made.

    Example:
        >>> vocab = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
        >>> WordPieceTokenizer(vocab).tokenize(["Playing", "play! play"]).to_list()
        [[5, 6], [5, 1, 5]]
    """

    def __init__(
        self,
        vocab_path: str | os.PathLike | Vocab,
        lowercase: bool = True,
        special_tokens_in_text: bool = False,
    ):
        super().__init__(name="word_piece_tokenizer")
        self._twin = reference.WordPieceTokenizer(vocab_path, lowercase, special_tokens_in_text)
        self.vocab = self._twin.vocab
        self.lowercase = lowercase
        self.special_tokens_in_text = special_tokens_in_text

    def tokenize(self, texts) -> tf.RaggedTensor:
        """The ids of each text, without special tokens (but those in the text, where they are asked for).

        Args:
            texts: string (B), UTF-8: a tensor, or a list of `str` or `bytes`.

        Returns:
            int32 (B, None), ragged.
        """
        return _ragged(lambda batch: (self._twin.tokenize(batch),), texts, 1)[0]

    def tokenize_with_offsets(self, texts) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """The ids of each text, and where each token stands in the text as given.

        Args:
            texts: As for `tokenize`.

        Returns:
            `(ids, begins, ends)`, each int32 (B, None), ragged, as in `reference.WordPieceTokenizer`.
        """
        ids, begins, ends = _ragged(self._twin.tokenize_with_offsets, texts, 3)
        return ids, begins, ends

    def count_invalid(self, texts) -> tf.Tensor:
        """How many sequences of bytes in each text are no UTF-8 and were left out, int32 (B)."""

        def count(batch: np.ndarray) -> np.ndarray:
            return np.array(self._twin.count_invalid(batch.tolist()), np.int32)

        texts = as_batch(texts)
        counts = tf.numpy_function(count, [texts], tf.int32, stateful=False)
        return tf.ensure_shape(counts, texts.shape)

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        # The one place where TensorFlow says that a SavedModel, and no checkpoint, is being made.
        if save_type == "savedmodel":
            raise InputError(
                "this tokenizer runs in Python, which a SavedModel cannot hold; expected the one of "
                "tensorflow-text: pip install tensorflow-text, on a system that has a wheel, and export there"
            )
        return super()._trackable_children(save_type, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]


def _ragged(function: Callable, texts, count: int) -> list[tf.RaggedTensor]:
    """The `count` lists of rows that a function of a list of texts gives, all of the same row lengths."""

    def flat(batch: np.ndarray) -> list[np.ndarray]:
        columns = function(batch.tolist())
        lengths = np.array([len(row) for row in columns[0]], np.int64)
        values = [np.fromiter(itertools.chain.from_iterable(column), np.int32) for column in columns]
        return [lengths, *values]

    texts = as_batch(texts)
    types = [tf.int64] + [tf.int32] * count
    lengths, *values = tf.numpy_function(flat, [texts], types, stateful=False)
    lengths = tf.ensure_shape(lengths, texts.shape)
    return [
        tf.RaggedTensor.from_row_lengths(  # pyright: ignore[reportAttributeAccessIssue]
            tf.ensure_shape(flat_values, [None]), lengths, validate=False
        )
        for flat_values in values
    ]
