"""Scores against the reference figures and definitions; decoding of logits."""

import json

import numpy as np
import pytest

from kbert.evaluation import classification_scores, decode_labels


@pytest.mark.golden
def test_scores_equal_scikit_learns(shared):
    cases = json.loads((shared / "golden/metrics/glue.json").read_text())["cases"]
    cases = [case for case in cases if case["kind"] == "classification"]
    assert cases
    for case in cases:
        gold, predicted = (np.unique(case["y_true"] + case["y_pred"], return_inverse=True)[1]).reshape(2, -1)
        scores = classification_scores(gold, predicted, int(max(gold.max(), predicted.max())) + 1)
        for name, theirs in (("accuracy", "accuracy"), ("macro_f1", "f1_macro"), ("matthews", "matthews")):
            expected = case["expected"][theirs] or 0.0  # null: not defined
            assert scores[name] == pytest.approx(expected, abs=1e-9), (case["name"], name)


def test_scores_of_a_small_table():
    scores = classification_scores(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2]), 4)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 4 / 5) / 3)  # Class 3 does not occur.
    assert classification_scores(np.array([1, 1]), np.array([1, 1]), 2)["matthews"] == 0.0


def test_decoding_is_stable_and_plain():
    answers = decode_labels(np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 1.0]], "float32"), ["a", "b", "c"])
    assert [answer["label"] for answer in answers] == ["a", "c"]
    assert answers[0]["score"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert answers[1]["probabilities"]["b"] == pytest.approx(1 / (2 + np.e))
    assert json.loads(json.dumps(answers)) == answers
