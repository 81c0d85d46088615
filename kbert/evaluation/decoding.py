"""From logits to answers, in NumPy."""

from collections.abc import Sequence

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, float64, stable for logits of any size."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def decode_labels(logits: np.ndarray, labels: Sequence[str]) -> list[dict]:
    """One answer a row.

    Args:
        logits: float (B, C).
        labels: The C names, by id.

    Returns:
        Dicts of `label`, `label_id`, `score` (probability of that label) and `probabilities` (label ->
        probability), all plain Python.

    Example:
        >>> decode_labels(np.array([[0.0, 0.0, 50.0]]), ["no", "maybe", "yes"])[0]["label"]
        'yes'
    """
    answers = []
    for row in softmax(logits):
        best = int(row.argmax())
        answers.append(
            {
                "label": labels[best],
                "label_id": best,
                "score": float(row[best]),
                "probabilities": dict(zip(labels, row.tolist(), strict=True)),
            }
        )
    return answers
