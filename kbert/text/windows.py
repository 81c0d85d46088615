"""`cut_windows`: a text longer than BERT reads as overlapping windows, and the way back to the text."""

from typing import NamedTuple

import tensorflow as tf

from kbert.errors import InputError
from kbert.text.packing import pack


class Windows(NamedTuple):
    """The windows of a batch of texts, those of the first text first.

    `W` is the number of windows of the whole batch, at least one for each text.

    Args:
        token_ids: int32 (W, None), ragged: `[CLS] part [SEP]`, or `[CLS] question [SEP] part [SEP]`.
        segment_ids: int32 (W, None), ragged: 0 up to the first [SEP], 1 after it.
        owner: int32 (W), which text of the batch the window is cut from.
        piece: int32 (W, None), ragged: which piece of that text the token is, and -1 for special tokens and
            the question.
        has_most_context: bool (W, None), ragged: whether no other window shows more of what surrounds the
            piece. True for each piece of a text in exactly one window: where its answer is to be taken
            from. False for special tokens and the question.
    """

    token_ids: tf.RaggedTensor
    segment_ids: tf.RaggedTensor
    owner: tf.Tensor
    piece: tf.RaggedTensor
    has_most_context: tf.RaggedTensor

    def gather(self, per_piece: tf.RaggedTensor, outside: int = -1) -> tf.RaggedTensor:
        """What the pieces of the texts have, where they stand in the windows.

        Args:
            per_piece: int (B, None), ragged, a number for each piece of each text: the `begins` or `ends`
                of `tokenize_with_offsets`, or a label.
            outside: Stands at special tokens and at the question.

        Returns:
            int (W, None), ragged.
        """
        piece = self.piece.values
        text = tf.gather(self.owner, self.piece.value_rowids())
        place = tf.gather(per_piece.row_starts(), text) + tf.cast(piece, tf.int64)
        # One more value at the end, for the tokens that are no piece, however many pieces there are.
        values = tf.concat([per_piece.values, [outside]], axis=0)
        place = tf.where(piece >= 0, place, tf.size(per_piece.values, tf.int64))
        return self.piece.with_values(tf.gather(values, place))


def cut_windows(
    ids: tf.RaggedTensor,
    question_ids: tf.RaggedTensor | None = None,
    *,
    max_length: int,
    stride: int,
    cls_id: int,
    sep_id: int,
    max_question_length: int = 64,
) -> Windows:
    """Texts of any length as windows of at most `max_length` ids that overlap.

    A window begins `stride` pieces after the one before it, and the last one reaches the end of the text.
    Each holds as many pieces as fit, so neighbours share all but `stride` of them: what is cut at the edge
    of one stands amid its context in the other. An empty text has one window without a piece.

    With questions, each window holds the whole question and a part of the text, as BERT reads passages.

    Made of core ops, it runs in `tf.data` and in a served graph, for any batch, also one of no rows.

    Args:
        ids: int32 (B, None), ragged, the texts, without special tokens.
        question_ids: int32 (B, None), ragged, or None.
        max_length: Longest window in ids, special ones included.
        stride: Pieces from the beginning of one window to that of the next, at least 1, and at most the
            pieces that a window can hold beside the longest question: after a longer step, pieces between
            the windows would be in none.
        cls_id: Id of [CLS].
        sep_id: Id of [SEP].
        max_question_length: In pieces; longer questions lose their end. Only with `question_ids`.

    Returns:
        The `Windows`.

    Raises:
        InputError: `stride` is out of its range.

    Example:
        >>> texts = tf.ragged.constant([[10, 11, 12, 13, 14]])
        >>> windows = cut_windows(texts, max_length=5, stride=2, cls_id=2, sep_id=3)
        >>> windows.token_ids.to_list()
        [[2, 10, 11, 12, 3], [2, 12, 13, 14, 3]]
        >>> windows.has_most_context.to_list()  # 12 is at an edge of both: the earlier one has it
        [[False, True, True, True, False], [False, False, True, True, False]]

    Reference:
        google-research/bert, run_squad.py: `convert_examples_to_features` and `_check_is_max_context`.
        Departure: an empty text, of which that makes no window at all, gets one, so that it has an answer.
    """
    _check_stride(stride, max_length, None if question_ids is None else max_question_length)
    lengths = ids.row_lengths()
    front = tf.ones_like(lengths)  # [CLS], or [CLS] question [SEP]
    if question_ids is not None:
        question_lengths = tf.minimum(question_ids.row_lengths(), max_question_length)
        front = question_lengths + 2
    room = max_length - 1 - front
    further = (tf.maximum(lengths - room, 0) + stride - 1) // stride

    number = tf.ragged.range(further + 1)  # 0, 1, 2 ... in each text
    owner = number.value_rowids()
    starts = number.values * stride
    sizes = tf.minimum(tf.gather(lengths, owner) - starts, tf.gather(room, owner))
    rows = [_runs(ids, owner, starts, sizes)]
    if question_ids is not None:
        rows = [_runs(question_ids, owner, tf.zeros_like(starts), tf.gather(question_lengths, owner)), *rows]
    token_ids, segment_ids, _ = pack(*rows, max_length=max_length, cls_id=cls_id, sep_id=sep_id)

    places = tf.ragged.range(token_ids.row_lengths())
    window = places.value_rowids()
    place = places.values - tf.gather(tf.gather(front, owner), window)  # 0 is the first of the part
    size = tf.gather(sizes, window)
    piece = tf.where((place >= 0) & (place < size), tf.gather(starts, window) + place, -1)
    context = tf.cast(tf.minimum(place, size - 1 - place), tf.float64) + 0.01 * tf.cast(size, tf.float64)
    text_start = tf.gather(tf.gather(ids.row_starts(), owner), window)
    chosen = _best_windows(text_start, piece, window, context)
    return Windows(
        token_ids=token_ids,
        segment_ids=segment_ids,
        owner=tf.cast(owner, tf.int32),
        piece=places.with_values(tf.cast(piece, tf.int32)),
        has_most_context=places.with_values(chosen),
    )


def _check_stride(stride: int, max_length: int, max_question_length: int | None) -> None:
    if max_question_length is None:
        room, beside = max_length - 2, "[CLS] and [SEP]"
    else:
        room, beside = max_length - 3 - max_question_length, f"a question of {max_question_length} pieces"
    if room < 1:
        raise InputError(f"max_length={max_length} has no room for a text beside {beside}; choose a larger")
    if not 1 <= stride <= room:
        raise InputError(
            f"stride={stride}; a window of max_length={max_length} holds {room} pieces beside {beside}, and "
            f"what is between two windows would be in none; expected 1 to {room}"
        )


def _runs(texts: tf.RaggedTensor, rows: tf.Tensor, starts: tf.Tensor, sizes: tf.Tensor) -> tf.RaggedTensor:
    """From text `rows[i]` the `sizes[i]` ids from place `starts[i]` on; int32 (W, None), ragged."""
    places = tf.ragged.range(sizes)
    first = tf.gather(tf.gather(texts.row_starts(), rows) + starts, places.value_rowids())
    return places.with_values(tf.gather(texts.values, first + places.values))


def _best_windows(
    text_start: tf.Tensor, piece: tf.Tensor, window: tf.Tensor, context: tf.Tensor
) -> tf.Tensor:
    """Whether of all windows that hold the piece this one has the most context, the earliest of equals.

    All arguments and the result go through the tokens of all windows, (N).

    Args:
        text_start: int64, where in the batch the window's text begins.
        piece: int64, place in the text, -1 for no piece.
        window: int64, number of the window.
        context: float64, the score to compare.
    """
    is_piece = piece >= 0
    # Tokens that are no piece compete with each other under the number 0.
    key = tf.where(is_piece, 1 + text_start + piece, 0)
    count = tf.maximum(tf.reduce_max(key), 0) + 1  # the maximum of nothing is the smallest int64
    most = tf.gather(tf.math.unsorted_segment_max(context, key, count), key)
    never = tf.size(window, tf.int64)
    candidate = tf.where(context == most, window, never)
    return is_piece & (window == tf.gather(tf.math.unsorted_segment_min(candidate, key, count), key))
