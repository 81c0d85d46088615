"""Masked-language-model targets, drawn inside the tf.data graph."""

import itertools

import tensorflow as tf

from kbert import features
from kbert.errors import InputError


def max_predictions(max_length: int, rate: float = 0.15) -> int:
    """Slots that a row of `max_length` pieces needs: the masked tokens of the longest row."""
    return max(1, round(max_length * rate))


class TokenMasker:
    """Chooses 15 % of a row's tokens to predict, and hides most of them.

    n = min(slots, max(1, round(rate · length))) positions are drawn without repetition among those that
    hold no special token. Of the chosen tokens, each by its own draw, 80 % become [MASK], 10 % stay, and
    10 % become a random entry of the vocabulary.

    With `word_starts` whole words are drawn instead: all pieces of a word or none. Words are gone through in
    random order, and one that is longer than what is left of n is passed over, not split, so that at most n
    pieces are chosen. With a `max_span` above 1 a row is first cut into spans of 1 to `max_span` words at
    random, short ones more often, and whole spans are drawn in the same way.

    All draws are stateless: the same row and seed give the same masks, however many workers there are.

    Args:
        vocab_size: Random replacements are drawn from [0, vocab_size).
        mask_id: Of [MASK].
        special_ids: Never chosen: [CLS], [SEP], [PAD].
        slots: P, the most tokens to predict in a row.
        rate: Share of tokens to predict, special tokens counted in the length; above 0, at most 1.
        shares: Of the chosen tokens, how many are hidden by [MASK], stay, and become random ones; sums to 1.
        max_span: N, the most words (or pieces, without `word_starts`) that a span has. Its length is n with
            probability (1/n) / (1/1 + ... + 1/N).

    Raises:
        InputError: `rate`, `shares` or `max_span` is out of its range.

    Reference:
        Devlin et al., 2019, section 3.1; google-research/bert, create_pretraining_data.py,
        `create_masked_lm_predictions`. Spans: Lan et al., 2020, "ALBERT", section 4.1, with N = 3.
        Departure: the row is cut into spans before any is chosen, so that no two can overlap.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        mask_id: int,
        special_ids: tuple[int, ...],
        slots: int,
        rate: float = 0.15,
        shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
        max_span: int = 1,
    ):
        if not 0 < rate <= 1:
            raise InputError(f"a masking rate of {rate}; expected a share above 0, at most 1, such as 0.15")
        if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise InputError(
                f"masking shares of {shares}; expected three that sum to 1: [MASK], kept, random"
            )
        if max_span < 1:
            raise InputError(f"max_span={max_span}; expected 1 for single words, or more")
        self.vocab_size = vocab_size
        self.mask_id = mask_id
        self.special_ids = special_ids
        self.slots = slots
        self.rate = rate
        self.shares = shares
        self.max_span = max_span

    def __call__(
        self, token_ids: tf.Tensor, seed: tf.Tensor, word_starts: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Masks one row.

        Args:
            token_ids: int32 (S), without padding.
            seed: int64 (2).
            word_starts: bool or int32 (S), non-zero where a word begins, see `kbert.text.whole_words`; None
                for single pieces.

        Returns:
            Dict of `token_ids` int32 (S) with tokens hidden, and `mask_positions`, `mask_ids` int32 (P)
            and `mask_weights` float32 (P), filled up with zeros.
        """
        seeds = tf.random.split(seed, 3)
        length = tf.size(token_ids)
        special = tf.reduce_any(token_ids[:, None] == tf.constant(self.special_ids, tf.int32), axis=1)
        # In float64, as Google's Python: 0.15·190 is a little below 28.5 there, and above it in float32.
        wanted = tf.cast(tf.round(self.rate * tf.cast(length, tf.float64)), tf.int32)
        candidates = length - tf.reduce_sum(tf.cast(special, tf.int32))
        budget = tf.minimum(tf.minimum(self.slots, candidates), tf.maximum(1, wanted))

        # The smallest of uniform draws are a random choice without repetition; special tokens are last.
        draws = tf.where(special, 2.0, tf.random.stateless_uniform([length], seeds[0]))
        if word_starts is None and self.max_span == 1:
            positions = tf.sort(tf.argsort(draws)[:budget])
        else:
            starts = self._span_starts(special, word_starts, tf.random.fold_in(seeds[0], 1))
            positions = _whole_spans(starts, draws, budget)
        originals = tf.gather(token_ids, positions)

        count = tf.size(positions)
        action = tf.random.stateless_uniform([count], seeds[1])
        random_ids = tf.random.stateless_uniform([count], seeds[2], 0, self.vocab_size, tf.int32)
        masked, kept, _ = itertools.accumulate(self.shares)
        hidden = tf.where(action < masked, self.mask_id, tf.where(action < kept, originals, random_ids))
        padding = [[0, self.slots - count]]
        return {
            features.TOKEN_IDS: tf.tensor_scatter_nd_update(token_ids, positions[:, None], hidden),
            features.MASK_POSITIONS: _fixed(tf.pad(positions, padding), self.slots),
            features.MASK_IDS: _fixed(tf.pad(originals, padding), self.slots),
            features.MASK_WEIGHTS: _fixed(tf.pad(tf.ones([count]), padding), self.slots),
        }

    def _span_starts(self, special, word_starts, seed):
        """Where what is hidden together begins, bool (S); special tokens stand alone."""
        starts = tf.ones_like(special) if word_starts is None else tf.cast(word_starts, tf.bool)
        # A text whose front was cut away may go on in the middle of a word, right after [CLS] or [SEP].
        borders = special | tf.concat([[True], special[:-1]], axis=0)
        starts |= borders
        if self.max_span == 1:
            return starts
        harmonic = list(itertools.accumulate(1 / n for n in range(1, self.max_span + 1)))
        draws = harmonic[-1] * tf.random.stateless_uniform(tf.shape(special), seed)
        sizes = 1 + tf.searchsorted(tf.constant(harmonic[:-1]), draws, side="right")
        word = tf.cumsum(tf.cast(starts, tf.int32)) - 1
        span = tf.searchsorted(tf.cumsum(sizes), word, side="right")
        return borders | tf.concat([[True], span[1:] != span[:-1]], axis=0)


def _whole_spans(starts: tf.Tensor, draws: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
    """Positions of the spans that are chosen, ascending, int32, `budget` at most.

    Args:
        starts: bool (S), where spans begin.
        draws: float (S); spans are taken in the order of the draws at their starts, those over 1 never.
        budget: Most positions.
    """
    firsts = tf.cast(tf.where(starts)[:, 0], tf.int32)
    sizes = tf.concat([firsts[1:], [tf.size(starts)]], axis=0) - firsts
    turns = tf.gather(draws, firsts)
    order = tf.argsort(turns)
    sizes = tf.gather(tf.where(turns > 1, tf.size(starts) + 1, sizes), order)
    chosen = tf.scatter_nd(order[:, None], _taken_in_turn(sizes, budget), tf.shape(order))
    span = tf.cumsum(tf.cast(starts, tf.int32)) - 1
    return tf.cast(tf.where(tf.gather(chosen, span) > 0)[:, 0], tf.int32)


def _taken_in_turn(sizes: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
    """1 for what one takes who goes through `sizes` and takes whatever still fits into the budget, int32.

    All up to the first that does not fit are taken at once, then those after it from what is left; what
    once did not fit never will. So there are a few rounds, rather than one for each word.
    """

    def fits(taken, left):
        return (taken == 0) & (sizes <= left)

    def take(taken, left):
        wanted = tf.where(fits(taken, left), sizes, 0)
        more = tf.where((wanted > 0) & (tf.cumsum(wanted) <= left), 1, 0)
        return taken + more, left - tf.reduce_sum(more * sizes)

    start = (tf.zeros_like(sizes), budget)
    return tf.while_loop(lambda *state: tf.reduce_any(fits(*state)), take, start)[0]


def _fixed(tensor: tf.Tensor, size: int) -> tf.Tensor:
    return tf.ensure_shape(tensor, [size])
