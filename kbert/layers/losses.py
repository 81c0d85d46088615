"""Losses and accuracies as sums with their weights, so that no padding and no replica distorts a mean.

A mean over a batch is `sum / weight`. Kept apart, both can be added up over replicas and batches before
they are divided: the mean of means is wrong as soon as the weights differ, as they do with masked tokens.
"""

import math
from typing import Any

from keras import ops

from kbert.layers.faster_ops import best_class


def cross_entropy_sum(labels, logits, weights=None, label_smoothing: float = 0.0):
    """Weighted sum of -log softmax(logits)[label].

    Args:
        labels: int32 (...).
        logits: float (..., C).
        weights: float (...), or None for 1 everywhere.
        label_smoothing: s, the share of the target that is spread evenly over all C classes: the sum is that
            of -(1 - s)·log p[label] - s/C·Σ log p. At least 0 and below 1.

    Returns:
        Two float32 scalars: the sum of the weighted losses, and the sum of the weights.

    Reference:
        Devlin et al., 2019, appendix A.2; Szegedy et al., 2016, "Rethinking the Inception Architecture",
        section 7, for label smoothing.
    """
    logits = ops.cast(logits, "float32")
    if logits.shape[-1] == 1:  # Of which Keras warns, as nothing is to be learned.
        values = -ops.squeeze(ops.log_softmax(logits), -1)
    else:
        values = _cross_entropy(ops.cast(labels, "int32"), logits)
    if label_smoothing:
        even = -ops.mean(ops.log_softmax(logits), axis=-1)
        values = (1 - label_smoothing) * values + label_smoothing * even
    return _weighted(values, weights)


def _cross_entropy(labels, logits) -> Any:
    """-log softmax(logits)[label], float32 (...), in as few passes over all classes as there can be.

    To pick from the log-softmax costs several times as much: the gradient of picking alone is a second tensor
    of the size of the logits, nearly all zeros. Here the gradient is the softmax, changed where the labels
    are, and the softmax is the fast operation that attention has too. Its largest value, never below 1/C,
    says by how much the log of the denominator is above the largest logit.
    """

    @ops.custom_gradient
    def of_logits(logits):
        probabilities = ops.softmax(logits)
        places = ops.expand_dims(labels, -1)
        # `initial`, as Keras else refuses, outside of a graph, the largest values of a batch of no rows.
        largest = ops.max(logits, axis=-1, initial=-math.inf)
        below_largest = largest - ops.squeeze(ops.take_along_axis(logits, places, axis=-1), -1)
        values = below_largest - ops.log(ops.max(probabilities, axis=-1, initial=0.0))

        def gradient(*args, upstream=None):
            if upstream is None:  # Keras on torch gives it by name, after what came in.
                (upstream,) = args
            at = ops.reshape(labels, (-1,))
            at = ops.stack([ops.arange(ops.shape(at)[0], dtype="int32"), at], axis=-1)
            rows = ops.reshape(probabilities * ops.expand_dims(upstream, -1), (-1, ops.shape(logits)[-1]))
            own = ops.squeeze(ops.take_along_axis(probabilities, places, axis=-1), -1)
            rows = ops.scatter_update(rows, at, ops.reshape((own - 1.0) * upstream, (-1,)))
            return ops.reshape(rows, ops.shape(logits))

        return values, gradient

    return of_logits(logits)


def divergence_sum(first, second, weights=None):
    """Weighted sum of ½(KL(P‖Q) + KL(Q‖P)), with P and Q the softmax of each.

    Args:
        first: float (..., C), logits.
        second: float (..., C), logits.
        weights: float (...), or None for 1 everywhere.

    Returns:
        Two float32 scalars: the weighted sum, and the sum of the weights.
    """
    one, other = (ops.log_softmax(ops.cast(logits, "float32")) for logits in (first, second))
    # (p - q)·(log p - log q), summed over the classes, is both directions at once.
    values = ops.sum((ops.exp(one) - ops.exp(other)) * (one - other), axis=-1)
    return _weighted(values / 2, weights)


def binary_divergence_sum(first, second):
    """The same for yes-or-no questions: P and Q the sigmoid of each logit, every one counting 1.

    Args:
        first: float (...), logits.
        second: float (...), logits.

    Returns:
        Two float32 scalars: the sum, and the number of questions.
    """
    first, second = ops.cast(first, "float32"), ops.cast(second, "float32")
    return _weighted((ops.sigmoid(first) - ops.sigmoid(second)) * (first - second) / 2, None)


def correct_sum(labels, logits, weights=None):
    """Weighted number of rows whose largest logit is the label's.

    Args and Returns: as for `cross_entropy_sum`.
    """
    hits = ops.equal(best_class(logits), ops.cast(labels, "int32"))
    return _weighted(ops.cast(hits, "float32"), weights)


def binary_cross_entropy_sum(labels, logits, weights=None):
    """Weighted sum of -(z·log σ(x) + (1 - z)·log σ(-x)): every value is a yes-or-no question of its own.

    Args:
        labels: float or int (...), each 0 or 1, or a probability between them.
        logits: float (...), of the same shape: none is broadcast.
        weights: float (...), or None for 1 everywhere.

    Returns:
        Two float32 scalars: the sum of the weighted losses, and the sum of the weights.
    """
    labels, logits = ops.cast(labels, "float32"), ops.cast(logits, "float32")
    _check_shapes(labels, logits)
    # log σ(-x) and not log(1 - σ(x)): the latter is log(0) as soon as σ(x) rounds to 1, at x = 17.
    yes, no = ops.log_sigmoid(logits), ops.log_sigmoid(-logits)
    return _weighted(-(labels * yes + (1.0 - labels) * no), weights)


def binary_correct_sum(labels, logits):
    """Number of answers on the right side of 0, which is probability 0.5.

    Args:
        labels: float or int (B, C), 0 or 1.
        logits: float (B, C).

    Returns:
        Two float32 scalars: the number of right answers, and that of all, B·C.
    """
    return _weighted(ops.cast(_on_the_right_side(labels, logits), "float32"), None)


def exact_match_sum(labels, logits):
    """Number of rows in which all labels are right.

    Args: as for `binary_correct_sum`.

    Returns:
        Two float32 scalars: the number of such rows, and that of all, B.
    """
    return _weighted(ops.cast(ops.all(_on_the_right_side(labels, logits), axis=-1), "float32"), None)


def _on_the_right_side(labels, logits):
    said, right = ops.greater(logits, 0), ops.greater(labels, 0.5)
    _check_shapes(right, said)
    return ops.equal(said, right)


def squared_error_sum(targets, values, weights=None):
    """Weighted sum of (value - target)².

    Args:
        targets: float (...).
        values: float (...), of the same shape: none is broadcast.
        weights: float (...), or None for 1 everywhere.

    Returns:
        Two float32 scalars: the sum of the weighted errors, and the sum of the weights.
    """
    return _weighted(ops.square(_difference(targets, values)), weights)


def absolute_error_sum(targets, values, weights=None):
    """Weighted sum of |value - target|.

    Args and Returns: as for `squared_error_sum`.
    """
    return _weighted(ops.abs(_difference(targets, values)), weights)


def _difference(targets, values):
    _check_shapes(targets, values)
    return ops.cast(values, "float32") - ops.cast(targets, "float32")


def _check_shapes(targets, values):
    """Refuses (B) against (B, 1), which would broadcast to (B, B), and train without a word."""
    shapes = tuple(targets.shape), tuple(values.shape)
    axes = zip(*shapes, strict=False)
    if len(shapes[0]) != len(shapes[1]) or any(a != b for a, b in axes if None not in (a, b)):
        raise ValueError(f"targets have the shape {shapes[0]}, values {shapes[1]}; expected the same")


def _weighted(values, weights):
    weights = ops.ones_like(values) if weights is None else ops.cast(weights, "float32")
    return ops.sum(values * weights), ops.sum(weights)
