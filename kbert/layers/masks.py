"""From "which tokens are real" to "what attention may look at"."""

import numpy as np
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
    return _bias(ops.cast(padding_mask, "bool"))[:, None, None, :]


def part_attention_bias(part_ids):
    """The same for rows of several texts: each token sees its own text and nothing else.

    Padding is one more part, which only padding sees.

    Args:
        part_ids: int (B, S), equal for tokens of one text; 0 = padding.

    Returns:
        float32 (B, 1, S, S), [batch, 1, from, to], to be broadcast over heads.

    Reference:
        Krell et al., 2021, "Efficient Sequence Packing without Cross-contamination", section 3.2.
    """
    part_ids = ops.cast(part_ids, "int32")
    same = ops.equal(ops.expand_dims(part_ids, 2), ops.expand_dims(part_ids, 1))
    return _bias(same)[:, None]


def _bias(seen):
    # Of two Python numbers Keras would make its `floatx`.
    return ops.where(seen, np.float32(0), HIDDEN_SCORE)
