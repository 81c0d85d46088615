"""Labels and scores of a data set as the numbers that a model learns."""

import numpy as np
import pytest

from kbert.data import (
    LabelSetExample,
    ScoredExample,
    check_labels,
    label_matrix,
    label_set_list,
    labels_with_unseen,
    varied_scores,
)
from kbert.errors import InputError


def sets(*labels):
    return [LabelSetExample("a", None, each, f"f:{line}") for line, each in enumerate(labels, 2)]


def test_label_sets():
    rows = sets(("10", "2"), (), ("2",), ("-1",))
    assert label_set_list(rows) == ["-1", "2", "10"]
    assert label_set_list(sets(("01", "1"), ("001",))) == ["001", "01", "1"]
    assert label_set_list(sets(("b", "a"), ("c",))) == ["a", "b", "c"]
    assert label_set_list(sets(("2", "--1"), ("10",))) == ["--1", "10", "2"]  # No numbers.
    matrix = label_matrix(rows, ["-1", "2", "10"])
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[0, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]]
    with pytest.raises(InputError, match="f:2: none of 2 rows has a label"):
        label_set_list(sets((), ()))
    with pytest.raises(InputError, match="f:3: label 'x' was not seen in training; expected one of a, b"):
        label_matrix(sets(("a",), ("b", "x")), ["a", "b"])


def test_of_many_labels_a_message_names_ten():
    known = [str(number) for number in range(10_000)]
    ten = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    for refuse in (check_labels, label_matrix):
        with pytest.raises(InputError, match=rf"expected one of {ten}, \.\.\. \(9,990 more\)(; is it.*)?$"):
            refuse(sets(("x",)), known)
        with pytest.raises(InputError, match=rf"expected one of {ten}(; is it.*)?$"):
            refuse(sets(("x",)), known[:10])


def test_labels_that_only_the_rows_have_come_last():
    rows = sets(("b", "a"), (), ("z",), ("c", "z"))
    assert labels_with_unseen(["b", "a"], rows) == ["b", "a", "c", "z"]
    assert labels_with_unseen(["1", "0"], sets(("10", "2"))) == ["1", "0", "2", "10"]


def test_scores_must_vary():
    rows = [ScoredExample("a", None, score, "f:2") for score in (1.5, 1.5, 2.0)]
    assert varied_scores(rows).tolist() == [1.5, 1.5, 2.0]
    with pytest.raises(InputError, match="f:2: all 2 rows have the score 1.5"):
        varied_scores(rows[:2])
