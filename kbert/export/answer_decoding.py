"""From scores of beginnings and ends to answers, in the graph: `kbert.evaluation.decode_answer` as ops."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

#: Texts are compared by two polynomials over the code points, modulo this prime.
_PRIME = 2**31 - 1
#: Where they are evaluated: drawn by lot.
_BASES = (1_404_827_093, 795_063_281)
#: Powers of a base are products of a power below this number and of one that is a multiple of it.
_STEP = 1024
#: Of a text whose parts can be compared.
MAX_CHARACTERS = _STEP**2 - 1


class Spans(NamedTuple):
    """Possible answers, in the order in which equal scores are to be listed.

    Args:
        row: int32 (N), which text of the batch it is from.
        score: float32 (N).
        begins: int32 (N), number of its first character in the text.
        ends: int32 (N), number of the character after its last one.
    """

    row: tf.Tensor
    score: tf.Tensor
    begins: tf.Tensor
    ends: tf.Tensor


class Listed(NamedTuple):
    """The best answers to each question, the best first.

    Args:
        is_real: bool (B, K); False behind the last answer of a row.
        scores: float32 (B, K); 0.0 there.
        begins: int32 (B, K), in characters of the text; -1 for no answer, and there.
        ends: int32 (B, K), the same.
    """

    is_real: tf.Tensor
    scores: tf.Tensor
    begins: tf.Tensor
    ends: tf.Tensor


def possible_spans(
    start_logits: tf.Tensor,
    end_logits: tf.Tensor,
    begins: tf.Tensor,
    ends: tf.Tensor,
    has_most_context: tf.Tensor,
    owner: tf.Tensor,
    *,
    n_best: int,
    max_pieces: int,
) -> Spans:
    """The spans that are possible of the most likely pieces of each window.

    Args:
        start_logits: float32 (W, S), of each token as the first of the answer; so are
        end_logits: of each token as the last one.
        begins: int32 (W, S), the character of the text where the token begins; -1 for special tokens,
            question and padding; so are
        ends: the character behind it.
        has_most_context: bool (W, S), of `kbert.text.cut_windows`.
        owner: int32 (W), which text the window is cut from.
        n_best: How many beginnings and ends of a window are tried.
        max_pieces: The longest answer.

    Returns:
        Those of the first window first, then those of its likeliest beginning.
    """
    in_text = begins >= 0
    first, start_score, is_first = _largest(start_logits, in_text & has_most_context, n_best)
    last, end_score, is_last = _largest(end_logits, in_text, n_best)
    pieces = last[:, tf.newaxis, :] - first[:, :, tf.newaxis]
    possible = is_first[:, :, tf.newaxis] & is_last[:, tf.newaxis, :] & (pieces >= 0) & (pieces < max_pieces)
    scores = start_score[:, :, tf.newaxis] + end_score[:, tf.newaxis, :]
    place = tf.where(possible)
    return Spans(
        row=tf.gather(owner, place[:, 0]),
        score=tf.gather_nd(scores, place),
        begins=tf.gather_nd(tf.gather(begins, first, batch_dims=1), place[:, :2]),
        ends=tf.gather_nd(tf.gather(ends, last, batch_dims=1), place[:, ::2]),
    )


def list_answers(
    spans: Spans, chars: tf.RaggedTensor, null_score: tf.Tensor, *, n_best: int, lists_null: bool
) -> Listed:
    """The best spans of each text, of the same words at several places the best one.

    Args:
        spans: Of `possible_spans`.
        chars: int32 (B, None), ragged, the texts' code points, `MAX_CHARACTERS` at most.
        null_score: float32 (B), of no answer.
        n_best: How many answers are listed.
        lists_null: Whether no answer is listed besides; where no span is possible, it is the only one.

    Returns:
        K is `n_best`, and one more with `lists_null`.
    """
    count, size = tf.size(null_score), tf.size(spans.row)
    num_spans = tf.math.unsorted_segment_sum(tf.ones_like(spans.row), spans.row, count)
    nulls = tf.range(count) if lists_null else tf.boolean_mask(tf.range(count), num_spans < 1)
    nowhere = tf.fill(tf.shape(nulls), -1)
    columns = [
        tf.concat([spans.row, nulls], axis=0),
        tf.concat([spans.score, tf.gather(null_score, nulls)], axis=0),
        tf.concat([spans.begins, nowhere], axis=0),
        tf.concat([spans.ends, nowhere], axis=0),
        tf.concat([_text_numbers(spans, chars), tf.fill(tf.shape(nulls), size)], axis=0),
    ]
    by_score = tf.argsort(columns[1], direction="DESCENDING", stable=True)
    order = tf.gather(by_score, tf.argsort(tf.gather(columns[0], by_score), stable=True))
    row, scores, begins, ends, number = (tf.gather(column, order) for column in columns)

    _, text = tf.unique(tf.cast(row, tf.int64) * tf.cast(size + 1, tf.int64) + tf.cast(number, tf.int64))
    place = tf.range(tf.size(text))
    is_new = tf.equal(place, tf.gather(tf.math.unsorted_segment_min(place, text, tf.size(text)), text))
    is_span = begins >= 0
    counted = tf.cast(is_new & is_span, tf.int32)
    before_row = tf.cumsum(tf.math.unsorted_segment_sum(counted, row, count), exclusive=True)
    rank = tf.cumsum(counted, exclusive=True) - tf.gather(before_row, row)
    kept = is_new & ((rank < n_best) | ~is_span)
    row = tf.boolean_mask(row, kept)

    def dense(values, filling):
        rows = tf.RaggedTensor.from_value_rowids(  # pyright: ignore[reportAttributeAccessIssue]
            tf.boolean_mask(values, kept), row, nrows=count, validate=False
        )
        return rows.to_tensor(filling, shape=[None, n_best + lists_null])

    return Listed(dense(kept, False), dense(scores, 0.0), dense(begins, -1), dense(ends, -1))


def cut_out(chars: tf.RaggedTensor, begins: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Parts of texts, UTF-8.

    Args:
        chars: int32 (B, None), ragged, the texts' code points.
        begins: int32 (B, K), the first character; so are
        ends: the character behind the last one; where both are the same, the part is "".

    Returns:
        string (B, K).
    """
    first = tf.cast(chars.row_starts(), tf.int32)[:, tf.newaxis] + begins
    place = tf.ragged.range(tf.reshape(ends - begins, [-1]))
    index = tf.gather(tf.reshape(first, [-1]), place.value_rowids()) + place.values
    # Not `substr`, which would copy the whole text for each part of it.
    parts = tf.strings.unicode_encode(place.with_values(tf.gather(chars.values, index)), "UTF-8")
    return tf.reshape(parts, tf.shape(begins))


def softmax_of_real(scores: tf.Tensor, is_real: tf.Tensor) -> tf.Tensor:
    """Probabilities float32 (B, K) among the scores of a row that are real, of which there is one or more."""
    exact = tf.cast(scores, tf.float64)
    most = tf.reduce_max(tf.where(is_real, exact, exact.dtype.min), axis=1, keepdims=True)
    powers = tf.where(is_real, tf.exp(tf.minimum(exact - most, 0.0)), 0.0)
    return tf.cast(powers / tf.reduce_sum(powers, axis=1, keepdims=True), tf.float32)


def _largest(logits: tf.Tensor, allowed: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Places (W, k) of the largest of those allowed, the logits there, and whether the place is allowed."""
    masked = tf.where(allowed, logits, logits.dtype.min)
    values, places = tf.math.top_k(masked, tf.minimum(count, tf.shape(logits)[1]))
    return places, values, tf.gather(allowed, places, batch_dims=1)


def _text_numbers(spans: Spans, chars: tf.RaggedTensor) -> tf.Tensor:
    """int32 (N), the same for spans of the same words, and below N.

    Spans can be many, and each as long as the text where that has few pieces. So they are not cut out, but
    compared by 62 bits that sums over all characters up to a place yield: texts that
    differ have the same with a probability of length / 2**31 for each half.

    Reference:
        Karp and Rabin, 1987, "Efficient randomized pattern-matching algorithms".
    """
    starts = chars.row_starts()
    offset = tf.gather(starts, spans.row)
    place = tf.range(tf.size(chars.values, tf.int64), dtype=tf.int64) - tf.gather(
        starts, chars.value_rowids()
    )
    begins = tf.cast(spans.begins, tf.int64)
    # 0 would not be seen at the end of a text.
    codes = tf.cast(chars.values, tf.int64) + 1
    both = tf.zeros_like(begins)
    for base in _BASES:
        powers = [pow(base, exponent, _PRIME) for exponent in range(_STEP)]
        multiples = [pow(base, exponent * _STEP, _PRIME) for exponent in range(_STEP)]
        low, high = tf.constant(np.array(powers)), tf.constant(np.array(multiples))

        def power(exponent, low=low, high=high):
            return tf.gather(high, exponent // _STEP) * tf.gather(low, exponent % _STEP) % _PRIME

        sums = tf.concat([[0], tf.cumsum(codes * power(place) % _PRIME)], axis=0)
        inside = tf.gather(sums, offset + tf.cast(spans.ends, tf.int64)) - tf.gather(sums, offset + begins)
        # As if all of them ended at the same place.
        both = both * (_PRIME + 1) + inside % _PRIME * power(MAX_CHARACTERS - begins) % _PRIME
    return tf.unique(both)[1]
