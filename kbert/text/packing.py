"""`pack`: the ids of one or two texts as the sequence that BERT reads; `pad`: such rows as one batch."""

import tensorflow as tf

from kbert import features
from kbert.errors import InputError

#: What `pack` may do with a pair that is too long.
TRUNCATIONS = ("longest_first", "only_first", "only_second")


def pack(
    ids: tf.RaggedTensor,
    pair_ids: tf.RaggedTensor | None = None,
    *,
    max_length: int,
    cls_id: int,
    sep_id: int,
    truncation: str = "longest_first",
) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.Tensor]:
    """`[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`, cut to at most `max_length` ids.

    What is too long loses its end. Of a pair, `truncation` says whose:

    - "longest_first": one id at a time goes from the longer text, from B where they are equally long. So a
      short question keeps all its words beside a long passage.
    - "only_first", "only_second": that text gives way, down to nothing, and the other stays whole. Where the
      other alone is longer than the room, what remains of it is its beginning: an input that strangers wrote
      must not be able to stop a server.

    Args:
        ids: int32 (B, None), ragged, the first text, without special tokens.
        pair_ids: int32 (B, None), ragged, the second text, or None.
        max_length: Longest sequence in ids, special ones included; at least 2, and 3 for a pair.
        cls_id: Id of [CLS].
        sep_id: Id of [SEP].
        truncation: One of the three above; without `pair_ids` there is nothing to choose between.

    Returns:
        `(token_ids, segment_ids, truncated)`: two ragged int32 (B, None) of the same row lengths, 0 for
        `[CLS] A [SEP]` and 1 for `B [SEP]`; bool (B), whether ids were cut away.

    Raises:
        InputError: `max_length` leaves no room for the special tokens; `truncation` is none of the three.

    Example:
        >>> a, b = tf.ragged.constant([[10, 11, 12, 13]]), tf.ragged.constant([[20, 21]])
        >>> token_ids, segment_ids, truncated = pack(a, b, max_length=8, cls_id=2, sep_id=3)
        >>> token_ids.to_list(), segment_ids.to_list(), truncated.numpy().tolist()
        ([[2, 10, 11, 12, 3, 20, 21, 3]], [[0, 0, 0, 0, 0, 1, 1, 1]], [True])
        >>> pack(a, b, max_length=8, cls_id=2, sep_id=3, truncation="only_second")[0].to_list()
        [[2, 10, 11, 12, 13, 3, 20, 3]]

    Reference:
        google-research/bert, run_classifier.py: `_truncate_seq_pair`, whose loop stands here in closed form.
    """
    if truncation not in TRUNCATIONS:
        raise InputError(f"truncation={truncation!r}; expected one of {', '.join(TRUNCATIONS)}")
    num_special = 2 if pair_ids is None else 3
    room = max_length - num_special
    if room < 0:
        raise InputError(
            f"max_length={max_length} has no room for the {num_special} special tokens; choose a larger one"
        )
    lengths = ids.row_lengths()
    pair_lengths = tf.zeros_like(lengths) if pair_ids is None else pair_ids.row_lengths()
    # B has a right to half of the room (rounded down) and to whatever A leaves of the other half, and
    # conversely; or one of them has a right to all of it, and the other to what is left.
    share = {"longest_first": room // 2, "only_first": room, "only_second": 0}[truncation]
    kept = tf.minimum(lengths, tf.maximum(room - pair_lengths, room - share))
    pair_kept = tf.minimum(pair_lengths, tf.maximum(room - lengths, share))

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


def pad(
    token_ids: tf.RaggedTensor,
    segment_ids: tf.RaggedTensor,
    *,
    pad_id: int,
    length: int | tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Ragged rows as the dense batch that a model takes.

    Args:
        token_ids: int32 (B, None), ragged, of `pack`.
        segment_ids: int32 (B, None), ragged, of the same row lengths.
        pad_id: Id of [PAD].
        length: S. None is the longest row of the batch, which computes least. A fixed one gives each batch
            the same shape, as TPUs and compiled graphs want it; no row may be longer. It may be a scalar of
            the graph.

    Returns:
        Dict of `token_ids`, `segment_ids`, `padding_mask`, each int32 (B, S).

    Raises:
        tf.errors.InvalidArgumentError: A row is longer than `length`. Cutting it here would cost it its
            last [SEP]; give `pack` the same number as `max_length`.

    Example:
        >>> rows = tf.ragged.constant([[2, 10, 11, 3], [2, 3]])
        >>> batch = pad(rows, tf.zeros_like(rows), pad_id=0)
        >>> batch["token_ids"].numpy().tolist(), batch["padding_mask"].numpy().tolist()
        ([[2, 10, 11, 3], [2, 3, 0, 0]], [[1, 1, 1, 1], [1, 1, 0, 0]])
    """
    width = longest = token_ids.bounding_shape(axis=1)
    if length is not None:
        width = tf.cast(length, longest.dtype)
        tf.debugging.assert_less_equal(longest, width, message="a row is longer than the batch is to be")
    shape, static = tf.stack([-1, width]), [None, length if isinstance(length, int) else None]

    def dense(rows, default):
        return tf.ensure_shape(rows.to_tensor(default, shape=shape), static)

    return {
        features.TOKEN_IDS: dense(token_ids, pad_id),
        features.SEGMENT_IDS: dense(segment_ids, 0),
        features.PADDING_MASK: dense(tf.ones_like(token_ids), 0),
    }
