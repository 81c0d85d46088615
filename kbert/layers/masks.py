"""From "which tokens are real" to "what attention may look at"."""

from keras import ops

#: Added to the score of a key that must not be seen. Large enough that exp() of it is 0 in float32, and
#: finite, so that a row in which every key is padding gives a uniform distribution instead of NaN.
HIDDEN_SCORE = -1e9


def attention_bias(padding_mask):
    """The number to add to each attention score: 0 for real keys, `HIDDEN_SCORE` for padding.

    Only keys are masked. A padded query still gives values, which nobody may use: pool by the mask.

    Args:
        padding_mask: bool, integer or float (B, S); non-zero = real token.

    Returns:
        float32 (B, 1, 1, S), to be broadcast over heads and queries.

    Reference:
        Vaswani et al., 2017, section 3.2.3; google-research/bert adds -10000 instead.
    """
    real = ops.cast(padding_mask, "bool")
    return ops.where(real, 0.0, HIDDEN_SCORE)[:, None, None, :]
