"""Masked-language-model targets, drawn inside the tf.data graph."""

import tensorflow as tf

from kbert import features


def max_predictions(max_length: int, rate: float = 0.15) -> int:
    """Slots that a row of `max_length` pieces needs: the masked tokens of the longest row."""
    return max(1, round(max_length * rate))


class TokenMasker:
    """Chooses 15 % of a row's tokens to predict, and hides most of them.

    n = min(slots, max(1, round(rate · length))) positions are drawn without repetition among those that
    hold no special token. Of the chosen tokens, each by its own draw, 80 % become [MASK], 10 % stay, and
    10 % become a random entry of the vocabulary.

    All draws are stateless: the same row and seed give the same masks, however many workers there are.

    Args:
        vocab_size: Random replacements are drawn from [0, vocab_size).
        mask_id: Of [MASK].
        special_ids: Never chosen: [CLS], [SEP], [PAD].
        slots: P, the most tokens to predict in a row.
        rate: Share of tokens to predict, special tokens counted in the length.

    Reference:
        Devlin et al., 2019, section 3.1; google-research/bert, create_pretraining_data.py,
        `create_masked_lm_predictions`.
    """

    def __init__(
        self, *, vocab_size: int, mask_id: int, special_ids: tuple[int, ...], slots: int, rate: float = 0.15
    ):
        self.vocab_size = vocab_size
        self.mask_id = mask_id
        self.special_ids = special_ids
        self.slots = slots
        self.rate = rate

    def __call__(self, token_ids: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Masks one row.

        Args:
            token_ids: int32 (S), without padding.
            seed: int64 (2).

        Returns:
            Dict of `token_ids` int32 (S) with tokens hidden, and `mask_positions`, `mask_ids` int32 (P)
            and `mask_weights` float32 (P), filled up with zeros.
        """
        seeds = tf.random.split(seed, 3)
        length = tf.size(token_ids)
        special = tf.reduce_any(token_ids[:, None] == tf.constant(self.special_ids, tf.int32), axis=1)
        wanted = tf.cast(tf.round(self.rate * tf.cast(length, tf.float32)), tf.int32)
        candidates = length - tf.reduce_sum(tf.cast(special, tf.int32))
        count = tf.minimum(tf.minimum(self.slots, candidates), tf.maximum(1, wanted))

        # The `count` smallest of uniform draws are a random choice without repetition.
        draws = tf.where(special, 2.0, tf.random.stateless_uniform([length], seeds[0]))
        positions = tf.sort(tf.argsort(draws)[:count])
        originals = tf.gather(token_ids, positions)

        action = tf.random.stateless_uniform([count], seeds[1])
        random_ids = tf.random.stateless_uniform([count], seeds[2], 0, self.vocab_size, tf.int32)
        hidden = tf.where(action < 0.8, self.mask_id, tf.where(action < 0.9, originals, random_ids))
        padding = [[0, self.slots - count]]
        return {
            features.TOKEN_IDS: tf.tensor_scatter_nd_update(token_ids, positions[:, None], hidden),
            features.MASK_POSITIONS: _fixed(tf.pad(positions, padding), self.slots),
            features.MASK_IDS: _fixed(tf.pad(originals, padding), self.slots),
            features.MASK_WEIGHTS: _fixed(tf.pad(tf.ones([count]), padding), self.slots),
        }


def _fixed(tensor: tf.Tensor, size: int) -> tf.Tensor:
    return tf.ensure_shape(tensor, [size])
