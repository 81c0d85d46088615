"""Questions on passages become windows: `[CLS] question [SEP] a part of the passage [SEP]`."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from kbert import features
from kbert.data.answer_readers import Question
from kbert.data.encoding import EncodedRows
from kbert.data.ragged import concat_rows
from kbert.text import WordPieceTokenizer, cut_windows, ends_with_accents

_CHUNK = 1024
#: Where an answer stands that no window can be trained on: no piece has this number.
_UNKNOWN = -2


def encode_questions(
    questions: Sequence[Question],
    tokenizer: WordPieceTokenizer,
    *,
    max_length: int,
    stride: int,
    max_question_length: int,
    labelled: bool = True,
) -> EncodedRows:
    """All windows of all questions, those of the first question first.

    Nothing of a passage is cut away: one that is too long is read in several windows. Those that do not hold
    the whole answer are trained to say so, with both positions 0, [CLS], as is a question without an answer.
    Where the place of the answer is not known nothing is to be learnt: both positions are -1, which
    `kbert.models.SpanObjective` leaves out.

    Args:
        questions: The rows.
        tokenizer: Of the model's vocabulary.
        max_length: Longest window in pieces, special tokens included.
        stride: Pieces from the beginning of one window to that of the next.
        max_question_length: In pieces; longer questions lose their end, and count as truncated.
        labelled: Whether to make targets.

    Returns:
        `inputs`: `token_ids` and `segment_ids`; `targets`: `start_position` and `end_position`; `places`:
        `begins` and `ends`, ragged int32, the characters of the passage that a piece stands for and -1 where
        there is none of it, and `has_most_context`, ragged bool, as `kbert.text.cut_windows` says.

    Raises:
        InputError: A window has no room for these settings.

    Reference:
        google-research/bert, run_squad.py, `convert_examples_to_features`. Departures: an answer's first and
        last piece are those that share a character with it, so Chinese needs no words made of characters
        first; training sees the questions whose answer has no place by 0 loss, not as unanswerable.
    """
    passages = list(dict.fromkeys(row.context for row in questions))
    number_of = {passage: number for number, passage in enumerate(passages)}
    # Each passage once, however many questions are on it.
    of_passages = _in_chunks(functools.partial(_located, tokenizer), passages)
    chunks, long_questions, unknown = [], 0, 0
    for first in range(0, len(questions), _CHUNK):
        rows = questions[first : first + _CHUNK]
        asked = tokenizer.tokenize([row.question for row in rows])
        ids, begins, ends = (
            tf.gather(part, [number_of[row.context] for row in rows]) for part in of_passages
        )
        windows = cut_windows(
            ids,
            asked,
            max_length=max_length,
            stride=stride,
            cls_id=tokenizer.vocab.cls_id,
            sep_id=tokenizer.vocab.sep_id,
            max_question_length=max_question_length,
        )
        chunk = {
            features.TOKEN_IDS: windows.token_ids,
            features.SEGMENT_IDS: windows.segment_ids,
            "begins": windows.gather(begins),
            "ends": windows.gather(ends),
            "has_most_context": windows.has_most_context,
            "owner": tf.cast(windows.owner, tf.int64) + first,
        }
        if labelled:
            spans = answer_pieces(rows, begins, ends)
            unknown += int((spans[:, 0] == _UNKNOWN).sum())
            chunk |= _positions(windows, spans)
        chunks.append(chunk)
        long_questions += int((asked.row_lengths() > max_question_length).numpy().sum())
    if unknown:
        logging.warning("%d of %d questions are not trained on: the place of their answer is not known",
                        unknown, len(questions))  # fmt: skip
    joined = {name: concat_rows(chunk[name] for chunk in chunks) for name in chunks[0]}
    return EncodedRows(
        inputs={name: joined[name] for name in (features.TOKEN_IDS, features.SEGMENT_IDS)},
        targets={
            name: joined[name].numpy()
            for name in (features.START_POSITION, features.END_POSITION)
            if labelled
        },
        owner=joined["owner"].numpy(),
        num_truncated=long_questions,
        places={name: joined[name] for name in ("begins", "ends", "has_most_context")},
    )


def answer_pieces(
    questions: Sequence[Question], begins: tf.RaggedTensor, ends: tf.RaggedTensor
) -> np.ndarray:
    """The first and the last piece of the passage that share a character with the answer to train on.

    Args:
        questions: The rows.
        begins: int32 (Q, None), ragged, where the pieces of each question's passage begin, in characters.
        ends: Where they end.

    Returns:
        int64 (Q, 2); -1 for a question that has no answer, -2 for one whose answer has no known place, or
        no piece, as where it consists of what the tokenizer drops.
    """
    spans = np.full([len(questions), 2], _UNKNOWN)
    splits = begins.row_splits.numpy()
    all_begins, all_ends = begins.values.numpy(), ends.values.numpy()
    for number, row in enumerate(questions):
        if not row.has_answer:
            spans[number] = -1
        elif row.answer is not None and (start := row.answer.start) is not None:
            own = slice(splits[number], splits[number + 1])
            first = np.searchsorted(all_ends[own], start, side="right")
            last = np.searchsorted(all_begins[own], start + len(row.answer.text), side="left") - 1
            if first <= last:
                spans[number] = first, last
    return spans


def _positions(windows, spans: np.ndarray) -> dict[str, tf.Tensor]:
    """Where in each window the first and the last piece stand; 0 and 0 if not both do, -1 if unknown."""
    owner, splits = windows.owner.numpy(), windows.piece.row_splits.numpy()
    window = windows.piece.value_rowids().numpy()
    positions = np.zeros([2, len(owner)], np.int32)
    for side in (0, 1):
        of_token = spans[owner, side][window]
        found = np.flatnonzero((windows.piece.values.numpy() == of_token) & (of_token >= 0))
        positions[side, window[found]] = found - splits[window[found]]
    positions[:, (positions == 0).any(axis=0)] = 0
    positions[:, spans[owner, 0] == _UNKNOWN] = -1
    return {features.START_POSITION: positions[0], features.END_POSITION: positions[1]}


def _located(tokenizer: WordPieceTokenizer, texts: Sequence[str]) -> tuple[tf.RaggedTensor, ...]:
    """Ids of pieces, where they begin, and where they end: what is cut out of a text keeps its accents."""
    ids, begins, ends = tokenizer.tokenize_with_offsets(texts)
    return ids, begins, ends_with_accents(texts, ends)


def _in_chunks(tokenize: Callable, texts: Sequence[str]) -> list[tf.RaggedTensor]:
    chunks = [tokenize(texts[first : first + _CHUNK]) for first in range(0, len(texts), _CHUNK)]
    return [concat_rows(column) for column in zip(*chunks, strict=True)]
