"""From one vector a token to one vector a text, and cosines between texts."""

from keras import ops


def first_pool(sequence, padding_mask):
    """The first token's vector: that of [CLS], which no mask hides.

    Args:
        sequence: float (B, S, H).
        padding_mask: Not used; here so that all ways of pooling are called alike.

    Returns:
        float32 (B, H).
    """
    return ops.cast(sequence[:, 0], "float32")


def mean_pool(sequence, padding_mask):
    """The mean over the real tokens; 0 for a text that has none.

    Args:
        sequence: float (B, S, H).
        padding_mask: bool, integer or float (B, S); non-zero = real token.

    Returns:
        float32 (B, H).

    Reference:
        Reimers and Gurevych, 2019, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks".
    """
    real = _real(padding_mask)
    total = ops.sum(ops.where(real, ops.cast(sequence, "float32"), 0.0), axis=1)
    return total / ops.maximum(ops.sum(ops.cast(real, "float32"), axis=1), 1.0)


def max_pool(sequence, padding_mask):
    """The largest value of each column over the real tokens; 0 for a text that has none.

    Args and Returns: as for `mean_pool`.
    """
    real = _real(padding_mask)
    # Finite, unlike -inf: what the gradient multiplies by 0 must not be infinite.
    sequence = ops.where(real, ops.cast(sequence, "float32"), -1e9)
    largest = ops.max(sequence, axis=1, initial=-1e9)  # Else no rows at all would be an error.
    return ops.where(ops.any(real, axis=1), largest, 0.0)


def l2_normalize(vectors):
    """Each vector divided by its length, so that a dot product is a cosine; 0 stays 0.

    Args:
        vectors: float (..., H).

    Returns:
        float32 (..., H), of length 1.
    """
    vectors = ops.cast(vectors, "float32")
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    # The bound is inside the root: at 0, the root's slope is infinite, and the gradient would be NaN.
    return vectors * ops.rsqrt(ops.maximum(squares, 1e-24))


def _real(padding_mask):
    """Which are real, bool (B, S, 1), to be broadcast over the columns."""
    return ops.expand_dims(ops.cast(padding_mask, "bool"), -1)
