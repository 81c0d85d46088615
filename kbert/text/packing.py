"""`pack`: the ids of one or two texts as the one sequence that BERT reads."""

import tensorflow as tf

from kbert.errors import InputError


def pack(
    ids: tf.RaggedTensor,
    pair_ids: tf.RaggedTensor | None = None,
    *,
    max_length: int,
    cls_id: int,
    sep_id: int,
) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.Tensor]:
    """`[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`, cut to at most `max_length` ids.

    What is too long loses its end; of a pair, one id at a time goes from the longer text, from B where they
    are equally long. So a short question keeps all its words beside a long passage.

    Args:
        ids: int32 (B, None), ragged, the first text, without special tokens.
        pair_ids: int32 (B, None), ragged, the second text, or None.
        max_length: Longest sequence in ids, special ones included; at least 2, and 3 for a pair.
        cls_id: Id of [CLS].
        sep_id: Id of [SEP].

    Returns:
        `(token_ids, segment_ids, truncated)`: two ragged int32 (B, None) of the same row lengths, 0 for
        `[CLS] A [SEP]` and 1 for `B [SEP]`; bool (B), whether ids were cut away.

    Raises:
        InputError: `max_length` leaves no room for the special tokens.

    Example:
        >>> a, b = tf.ragged.constant([[10, 11, 12, 13]]), tf.ragged.constant([[20, 21]])
        >>> token_ids, segment_ids, truncated = pack(a, b, max_length=8, cls_id=2, sep_id=3)
        >>> token_ids.to_list(), segment_ids.to_list(), truncated.numpy().tolist()
        ([[2, 10, 11, 12, 3, 20, 21, 3]], [[0, 0, 0, 0, 0, 1, 1, 1]], [True])

    Reference:
        google-research/bert, run_classifier.py: `_truncate_seq_pair`, whose loop stands here in closed form.
    """
    num_special = 2 if pair_ids is None else 3
    room = max_length - num_special
    if room < 0:
        raise InputError(
            f"max_length={max_length} has no room for the {num_special} special tokens; choose a larger one"
        )
    lengths = ids.row_lengths()
    pair_lengths = tf.zeros_like(lengths) if pair_ids is None else pair_ids.row_lengths()
    # B may have half of the room (rounded down) and whatever A leaves of the other half, and conversely.
    kept = tf.minimum(lengths, tf.maximum(room - pair_lengths, room - room // 2))
    pair_kept = tf.minimum(pair_lengths, tf.maximum(room - lengths, room // 2))

    # Every place of the result says where in `pool` its id is; ragged `tf.concat` takes ten times the ops.
    pool = [ids.values] if pair_ids is None else [ids.values, pair_ids.values]
    pool = tf.concat([*pool, [cls_id, sep_id]], axis=0)
    at_cls, at_sep = tf.size(pool, tf.int64) - 2, tf.size(pool, tf.int64) - 1
    places = tf.ragged.range(kept + pair_kept + num_special)
    row, place = places.value_rowids(), places.values
    first_sep = tf.gather(kept + 1, row)
    source = tf.gather(ids.row_starts(), row) + place - 1
    segment = tf.cast(place > first_sep, tf.int32)
    if pair_ids is not None:
        pair_start = tf.gather(tf.size(ids.values, tf.int64) + pair_ids.row_starts(), row)
        source = tf.where(place > first_sep, pair_start + place - first_sep - 1, source)
    is_sep = (place == first_sep) | (place == tf.gather(places.row_lengths() - 1, row))
    source = tf.where(is_sep, at_sep, tf.where(place == 0, at_cls, source))
    token_ids = places.with_values(tf.gather(pool, source))
    return token_ids, places.with_values(segment), lengths + pair_lengths > room
