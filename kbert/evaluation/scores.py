"""The measures of the benchmarks, in NumPy."""

import numpy as np


def classification_scores(gold: np.ndarray, predicted: np.ndarray, num_classes: int) -> dict[str, float]:
    """Accuracy, macro F1 and Matthews correlation of predicted label ids.

    Args:
        gold: int (rows), the right ids.
        predicted: int (rows).
        num_classes: C.

    Returns:
        `accuracy`; `macro_f1`, the mean of the F1 of all classes that occur, a class that was never
        predicted rightly counting 0; `matthews`, 0 where it is not defined.

    Example:
        >>> classification_scores(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)["matthews"]
        0.5

    Reference:
        Gorodkin, 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
    """
    table = np.zeros((num_classes, num_classes))
    np.add.at(table, (gold, predicted), 1)
    hits, golds, predictions = table.diagonal(), table.sum(1), table.sum(0)
    occurring = golds + predictions > 0
    f1 = 2 * hits[occurring] / (golds + predictions)[occurring]
    total = table.sum()
    covariance = hits.sum() * total - golds @ predictions
    spread = np.sqrt((total**2 - golds @ golds) * (total**2 - predictions @ predictions))
    return {
        "accuracy": float(hits.sum() / total),
        "macro_f1": float(f1.mean()),
        "matthews": float(covariance / spread) if spread else 0.0,
    }
