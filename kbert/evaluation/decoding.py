"""From logits to probabilities, and from these to answers, in NumPy."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


class Probabilities(Mapping[str, float]):
    """Label -> probability, made when asked for: in a dict each number takes the room of seven.

    Args:
        places: Label -> its place in the row, in order.
        row: float (C).
    """

    __slots__ = ("_places", "_row")

    def __init__(self, places: Mapping[str, int], row: np.ndarray):
        self._places, self._row = places, row

    def __getitem__(self, label: str) -> float:
        return float(self._row[self._places[label]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def values(self) -> list[float]:
        """All at once, much faster than one by one."""
        return self._row.tolist()


def plain_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of a task in nothing but plain Python, which takes many times the room of its arrays."""
    return {name: _plain(value) for name, value in answer.items()}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, float64, stable for logits of any size."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of each logit by itself, float64, without overflow for logits of any size."""
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(logits, np.float64))


def decode_labels(probabilities: np.ndarray, labels: Sequence[str]) -> list[dict]:
    """One answer a row, where just one label is right.

    Args:
        probabilities: float (B, C), as of `softmax`.
        labels: The C names, by id.

    Returns:
        Dicts of `label`, `label_id`, `score` (probability of that label) and `probabilities` (label ->
        probability), all plain Python but for the last, which `plain_answer` makes a dict.

    Example:
        >>> decode_labels(np.array([[0.1, 0.2, 0.7]]), ["no", "maybe", "yes"])[0]["label"]
        'yes'
    """
    answers, places = [], _places(labels, probabilities)
    for row in probabilities:
        best = int(row.argmax())
        answers.append(
            {
                "label": labels[best],
                "label_id": best,
                "score": float(row[best]),
                "probabilities": Probabilities(places, row),
            }
        )
    return answers


def decode_label_sets(probabilities: np.ndarray, labels: Sequence[str], threshold: float) -> list[dict]:
    """One answer a row, where several labels may apply, or none.

    Args:
        probabilities: float (B, C), of each label by itself, as of `sigmoid`.
        labels: The C names, by id.
        threshold: Least probability of a label that is given.

    Returns:
        Dicts of `labels`, `label_ids` and `probabilities` (label -> probability), as of `decode_labels`.

    Example:
        >>> decode_label_sets(np.array([[0.9, 0.2, 0.5]]), ["art", "law", "tax"], 0.5)[0]["labels"]
        ['art', 'tax']
    """
    answers, places = [], _places(labels, probabilities)
    for row in probabilities:
        given = np.flatnonzero(row >= threshold).tolist()
        answers.append(
            {
                "labels": [labels[number] for number in given],
                "label_ids": given,
                "probabilities": Probabilities(places, row),
            }
        )
    return answers


def _places(labels: Sequence[str], probabilities: np.ndarray) -> dict[str, int]:
    return dict(zip(labels, range(probabilities.shape[1]), strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(zip(value, value.values(), strict=True))
    return value.tolist() if isinstance(value, np.ndarray) else value
