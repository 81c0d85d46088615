"""The measures of classification and regression, in NumPy.

All of them take real rows only: what fills up the last batch must be cut off before.
"""

from collections.abc import Callable

import numpy as np


def confusion_matrix(gold: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """How often each class was taken for which.

    Args:
        gold: int (rows), the right ids.
        predicted: int (rows).
        num_classes: C.

    Returns:
        int64 (C, C): row = the right class, column = the predicted one.
    """
    gold, predicted = _same_rows(gold, predicted)
    table = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(table, (gold, predicted), 1)
    return table


def class_counts(
    gold: np.ndarray, predicted: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each class was found, is right, and was predicted; each int64 (num_classes).

    These are the diagonal and the sums of `confusion_matrix`, which of thousands of classes is far larger.

    Args:
        gold: int (rows), the right ids.
        predicted: int (rows).
        num_classes: All ids are below it.
    """
    found = gold[gold == predicted]
    hits, golds, predictions = (np.bincount(ids, minlength=num_classes) for ids in (found, gold, predicted))
    return hits, golds, predictions


def classification_scores(gold: np.ndarray, predicted: np.ndarray, num_classes: int) -> dict[str, float]:
    """Accuracy, F1 and Matthews correlation of predicted label ids.

    Args:
        gold: int (rows), the right ids; C and more are classes that whatever predicts does not know.
        predicted: int (rows).
        num_classes: C, those that may be predicted.

    Returns:
        `accuracy`; `macro_f1`, the mean of the F1 of all classes that occur, a class that was never
        predicted rightly counting 0; `matthews`, 0 where it is not defined; and of two classes also `f1`,
        that of class 1, 0 where it is not defined.

    Example:
        >>> classification_scores(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)["matthews"]
        0.5

    Reference:
        Gorodkin, 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
        scikit-learn's `f1_score` and `matthews_corrcoef` give the same.
    """
    gold, predicted = _same_rows(gold, predicted)
    hits, golds, predictions = class_counts(gold, predicted, max(num_classes, int(gold.max()) + 1))
    f1 = _f1(hits, golds + predictions)
    total = len(gold)
    covariance = float(hits.sum() * total - golds @ predictions)
    # In float64, where the product of two squares has room.
    spread = np.sqrt(float(total**2 - golds @ golds) * float(total**2 - predictions @ predictions))
    scores = {
        "accuracy": float(hits.sum() / total),
        "macro_f1": float(f1[golds + predictions > 0].mean()),
        "matthews": float(covariance / spread) if spread else 0.0,
    }
    return scores | {"f1": float(f1[1])} if num_classes == 2 else scores


def several_labels_scores(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """F1 where a row may have several labels, or none.

    Args:
        gold: bool or 0/1 (rows, C), whether the label applies.
        predicted: bool or 0/1 (rows, C).

    Returns:
        `micro_f1`, of all decisions together; `macro_f1`, the mean over all C labels, one that neither
        occurs nor is predicted counting 0; `exact_match`, the share of rows with all decisions right.

    Reference:
        scikit-learn, `f1_score` and `accuracy_score` of indicator matrices.
    """
    gold, predicted = _same_rows(np.asarray(gold, bool), np.asarray(predicted, bool))
    hits, sizes = (gold & predicted).sum(0), gold.sum(0) + predicted.sum(0)
    return _several_labels_scores(hits, sizes, (gold == predicted).all(1))


def several_labels_measures(
    gold: np.ndarray, predicted: np.ndarray
) -> Callable[[np.ndarray], dict[str, float]]:
    """For `measured`: `several_labels_scores` of some rows, from the labels of each, which are few of all.

    Args:
        gold: bool (rows, C).
        predicted: bool (rows, C).
    """
    right = (gold == predicted).all(1)
    pairs = [np.nonzero(applies) for applies in (gold & predicted, gold, predicted)]

    def measures(rows):
        times = np.bincount(rows, minlength=len(right))
        hits, golds, predictions = (
            np.bincount(labels, times[owners], minlength=gold.shape[1]) for owners, labels in pairs
        )
        return _several_labels_scores(hits, golds + predictions, right[rows])

    return measures


def best_threshold(gold: np.ndarray, probabilities: np.ndarray, misses: int = 0) -> tuple[float, float]:
    """The probability from which on a label is best given; choose it on dev data and keep it for others.

    Args:
        gold: bool or 0/1 (rows, C).
        probabilities: float (rows, C), of each label by itself.
        misses: Labels that apply, but are none of the C, and are missed with any threshold.

    Returns:
        The threshold, in the middle between the lowest probability accepted and the next one; and the
        micro F1 of the labels at or above it. 0.5 and 0 where no row has a label.

    Example:
        >>> best_threshold(np.array([[1, 1, 0]]), np.array([[0.9, 0.3, 0.1]]))
        (0.2, 1.0)
    """
    gold, probabilities = _same_rows(np.asarray(gold, bool), np.asarray(probabilities, np.float64))
    if not gold.any():
        return 0.5, 0.0
    order = np.argsort(-probabilities, axis=None, kind="stable")
    descending = probabilities.ravel()[order]
    hits = np.cumsum(gold.ravel()[order])
    f1 = _f1(hits, np.arange(1, len(order) + 1) + hits[-1] + misses)
    below = np.append(descending[1:], -np.inf)
    # Equal probabilities are accepted together, or not at all.
    best = int(np.where(descending > below, f1, -1.0).argmax())
    upper, lower = descending[best], max(below[best], 0.0)
    middle = (upper + lower) / 2
    return float(middle if middle > lower else upper), float(f1[best])


def regression_scores(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """How well predicted numbers go with the right ones.

    Args:
        gold: float (rows).
        predicted: float (rows).

    Returns:
        `pearson` and `spearman`, correlations of the numbers and of their ranks, equal numbers sharing the
        mean of their ranks; 0 where they are not defined, as of a constant. `mse`, the mean squared error.

    Example:
        >>> regression_scores(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0]))["spearman"]
        1.0

    Reference:
        Cer et al., 2017, SemEval task 1 (STS-B); scipy's `pearsonr` and `spearmanr` give the same.
    """
    gold, predicted = _same_rows(np.asarray(gold, np.float64), np.asarray(predicted, np.float64))
    return {
        "pearson": correlation(gold, predicted),
        "spearman": correlation(tied_ranks(gold), tied_ranks(predicted)),
        "mse": float(np.square(gold - predicted).mean()),
    }


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two lists of numbers, 0 where it is not defined."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def tied_ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value by size, from 1, float64 (rows); equal values share the mean of theirs."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return ((last - sizes + 1 + last) / 2)[group]


def _several_labels_scores(hits: np.ndarray, sizes: np.ndarray, right: np.ndarray) -> dict[str, float]:
    return {
        "micro_f1": float(_f1(hits.sum(), sizes.sum())),
        "macro_f1": float(_f1(hits, sizes).mean()),
        "exact_match": float(right.mean()),
    }


def _f1(hits: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`sizes` are the right ones and the predicted ones together; 0 where there are neither."""
    return 2 * hits / np.maximum(sizes, 1)


def _same_rows(gold, predicted) -> tuple[np.ndarray, np.ndarray]:
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    if gold.shape != predicted.shape or not len(gold):
        raise ValueError(
            f"gold has shape {gold.shape}, predicted {predicted.shape}; expected the same, 1 row or more"
        )
    return gold, predicted
