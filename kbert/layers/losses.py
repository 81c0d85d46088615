"""Losses and accuracies as sums with their weights, so that no padding and no replica distorts a mean.

A mean over a batch is `sum / weight`. Kept apart, both can be added up over replicas and batches before
they are divided: the mean of means is wrong as soon as the weights differ, as they do with masked tokens.
"""

from keras import ops


def cross_entropy_sum(labels, logits, weights=None):
    """Weighted sum of -log softmax(logits)[label].

    Args:
        labels: int32 (...).
        logits: float (..., C).
        weights: float (...), or None for 1 everywhere.

    Returns:
        Two float32 scalars: the sum of the weighted losses, and the sum of the weights.

    Reference:
        Devlin et al., 2019, appendix A.2.
    """
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"))
    picked = ops.take_along_axis(log_probabilities, ops.expand_dims(labels, -1), axis=-1)
    return _weighted(-ops.squeeze(picked, -1), weights)


def correct_sum(labels, logits, weights=None):
    """Weighted number of rows whose largest logit is the label's.

    Args and Returns: as for `cross_entropy_sum`.
    """
    hits = ops.equal(ops.argmax(logits, axis=-1), ops.cast(labels, "int32"))
    return _weighted(ops.cast(hits, "float32"), weights)


def _weighted(values, weights):
    weights = ops.ones_like(values) if weights is None else ops.cast(weights, "float32")
    return ops.sum(values * weights), ops.sum(weights)
