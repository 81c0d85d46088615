"""Labelled texts become ragged ids, once, before the first epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kbert.data.examples import Example
from kbert.errors import InputError
from kbert.text import WordPieceTokenizer, pack

_CHUNK = 1024


@dataclass(frozen=True)
class EncodedTexts:
    """A whole data set in memory: about 8 bytes a piece.

    Args:
        token_ids: Ragged int32 [rows, pieces], special tokens included.
        segment_ids: Ragged int32 [rows, pieces].
        labels: int32 [rows]; -1 where there is no label.
        num_truncated: Rows that were longer than allowed.
    """

    token_ids: tf.RaggedTensor
    segment_ids: tf.RaggedTensor
    labels: np.ndarray
    num_truncated: int

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows], pieces of each row, special tokens included."""
        return self.token_ids.row_lengths().numpy()

    def __len__(self) -> int:
        return len(self.labels)


def encode(
    examples: Sequence[Example],
    tokenizer: WordPieceTokenizer,
    max_length: int,
    *,
    labels: Sequence[str],
    paired: bool,
) -> EncodedTexts:
    """Tokenizes, truncates and packs all examples, with the same graph that serving uses.

    Args:
        examples: All with a pair, or none.
        tokenizer: Of the model's vocabulary.
        max_length: Most pieces of a row, special tokens included.
        labels: The label at index i of this list has id i. Empty: labels are not looked at.
        paired: Whether the model reads pairs of texts.

    Raises:
        InputError: A label is not in `labels`; pairs came for single texts or the other way round.
    """
    if (examples[0].pair is not None) != paired:
        raise InputError(
            f"{examples[0].source}: the model reads {'pairs of texts' if paired else 'single texts'}, but "
            f"here {'is no second text' if paired else 'are pairs'}; set --pair_column"
        )
    index = {label: number for number, label in enumerate(labels)}
    ids = np.array([_label_id(example, index) for example in examples], np.int32)
    vocab = tokenizer.vocab

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * (2 if paired else 1))
    def encode_chunk(texts, pairs=None):
        return pack(
            tokenizer.tokenize(texts),
            tokenizer.tokenize(pairs) if paired else None,
            max_length=max_length,
            cls_id=vocab.cls_id,
            sep_id=vocab.sep_id,
        )

    chunks = []
    for first in range(0, len(examples), _CHUNK):
        rows = examples[first : first + _CHUNK]
        sides = [[row.text for row in rows], [row.pair or "" for row in rows]]
        chunks.append(encode_chunk(*map(tf.constant, sides if paired else sides[:1])))
    token_ids, segment_ids, truncated = zip(*chunks, strict=True)
    return EncodedTexts(
        token_ids=tf.concat(token_ids, 0),  # pyright: ignore[reportArgumentType] - ragged in, ragged out
        segment_ids=tf.concat(segment_ids, 0),  # pyright: ignore[reportArgumentType]
        labels=ids,
        num_truncated=int(tf.concat(truncated, 0).numpy().sum()),
    )


def label_list(examples: Sequence[Example]) -> list[str]:
    """The distinct labels, whole numbers in numeric order, others in the order of their code points.

    Raises:
        InputError: There is only one.
    """
    labels = {example.label for example in examples if example.label is not None}
    if len(labels) < 2:
        raise InputError(
            f"{examples[0].source}: all {len(examples)} rows have the label {examples[0].label!r}; "
            f"a classifier needs at least 2 labels"
        )
    numeric = all(label.lstrip("-").isdecimal() for label in labels)
    return sorted(labels, key=int) if numeric else sorted(labels)


def _label_id(example: Example, index: dict[str, int]) -> int:
    if not index:
        return -1
    if example.label not in index:
        raise InputError(
            f"{example.source}: label {example.label!r} was not seen in training; "
            f"expected one of {', '.join(index)}"
        )
    return index[example.label]
