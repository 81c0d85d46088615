"""The labels of a data set, and their ids; and its scores."""

import itertools
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from absl import logging

from kbert.data.examples import Example
from kbert.data.readers import LabelSetExample, ScoredExample
from kbert.errors import InputError


def label_list(examples: Sequence[Example]) -> list[str]:
    """The distinct labels, whole numbers in numeric order, others in the order of their code points.

    Raises:
        InputError: There is only one.
    """
    labels = {example.label for example in examples if example.label is not None}
    if len(labels) < 2:
        raise InputError(
            f"{examples[0].source}: all {len(examples)} rows have the label {examples[0].label!r}; "
            f"a classifier needs at least 2 labels"
        )
    return _in_order(labels)


def labels_of(row: Example | LabelSetExample) -> tuple[str, ...]:
    """The labels of a row, whether it has one, several or none."""
    if isinstance(row, LabelSetExample):
        return row.labels
    return () if row.label is None else (row.label,)


def check_labels(examples: Sequence[Example | LabelSetExample], labels: Sequence[str]) -> None:
    """Warns of labels that a model does not know, as a test file may have them: they cannot be right.

    Args:
        examples: Rows of a file.
        labels: Those of the training rows.

    Raises:
        InputError: Most rows have such a label: it is another file's, or another column.
    """
    known = set(labels)
    unseen = [row for row in examples if not known.issuperset(labels_of(row))]
    if not unseen:
        return
    first = next(label for label in labels_of(unseen[0]) if label not in known)
    if 2 * len(unseen) > len(examples):
        raise InputError(
            f"{unseen[0].source}: label {first!r} was not seen in training, nor those of most rows; "
            f"expected one of {listed(labels)}; is it the right file, and the right --label_column?"
        )
    logging.warning(
        "%d of %d rows have a label that was not seen in training, such as %r (%s); they cannot be right",
        len(unseen),
        len(examples),
        first,
        unseen[0].source,
    )


def listed(labels: Collection[str]) -> str:
    """Labels in a message of one line: the first ten, and how many more there are.

    Example:
        >>> listed([str(number) for number in range(12)])
        '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (2 more)'
    """
    more = f", ... ({len(labels) - 10:,} more)" if len(labels) > 10 else ""
    return ", ".join(itertools.islice(labels, 10)) + more


def labels_with_unseen(labels: Sequence[str], examples: Sequence[Example | LabelSetExample]) -> list[str]:
    """The labels of a model, and after them those that only these rows have."""
    return [*labels, *_in_order({label for row in examples for label in labels_of(row)}.difference(labels))]


def label_ids(examples: Sequence[Example], labels: Sequence[str]) -> np.ndarray:
    """The place of each row's label in a list of them, int32 (rows).

    Raises:
        InputError: A label is not in the list.
    """
    index = _index(labels)
    return np.array([_place(index, row.label, row.source) for row in examples], np.int32)


def label_set_list(examples: Sequence[LabelSetExample]) -> list[str]:
    """The distinct labels of rows that have several or none, in the order of `label_list`.

    Raises:
        InputError: No row has one.
    """
    labels = {label for example in examples for label in example.labels}
    if not labels:
        raise InputError(
            f"{examples[0].source}: none of {len(examples)} rows has a label; expected some; "
            f"set --label_column"
        )
    return _in_order(labels)


def label_matrix(examples: Sequence[LabelSetExample], labels: Sequence[str]) -> np.ndarray:
    """Which label of a list applies to which row, float32 (rows, labels), 0 or 1.

    Raises:
        InputError: A label is not in the list.
    """
    index = _index(labels)
    matrix = np.zeros((len(examples), len(labels)), np.float32)
    for row, example in enumerate(examples):
        for label in example.labels:
            matrix[row, _place(index, label, example.source)] = 1.0
    return matrix


def varied_scores(examples: Sequence[ScoredExample]) -> np.ndarray:
    """The scores to learn from, float64 (rows).

    Raises:
        InputError: They are all the same.
    """
    scores = np.array([example.score for example in examples], np.float64)
    if np.ptp(scores) == 0:
        raise InputError(
            f"{examples[0].source}: all {len(examples)} rows have the score {examples[0].score}; "
            f"there is nothing to learn"
        )
    return scores


def _in_order(labels: Iterable[str]) -> list[str]:
    labels = list(labels)
    numeric = all(label.removeprefix("-").isdecimal() for label in labels)
    # "1" and "01" are two labels, and shall have the same order in every process.
    return sorted(labels, key=lambda label: (int(label), label)) if numeric else sorted(labels)


def _index(labels: Sequence[str]) -> dict[str, int]:
    return {label: number for number, label in enumerate(labels)}


def _place(index: dict[str, int], label: str | None, source: str) -> int:
    if label not in index:
        raise InputError(
            f"{source}: label {label!r} was not seen in training; expected one of {listed(index)}"
        )
    return index[label]
