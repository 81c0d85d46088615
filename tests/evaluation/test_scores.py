"""Scores against the reference figures and definitions; decoding of logits."""

import functools
import json
import tracemalloc

import numpy as np
import pytest

from kbert.evaluation import (
    best_threshold,
    classification_scores,
    confusion,
    confusion_matrix,
    decode_label_sets,
    decode_labels,
    label_scores,
    plain_answer,
    regression_scores,
    several_labels_measures,
    several_labels_scores,
    sigmoid,
    softmax,
)
from kbert.evaluation.scores import class_counts


def glue_cases(shared, kind):
    cases = json.loads((shared / "golden/metrics/glue.json").read_text())["cases"]
    cases = [case for case in cases if case["kind"] == kind]
    assert cases
    return cases


@pytest.mark.golden
def test_scores_equal_scikit_learns(shared):
    for case in glue_cases(shared, "classification"):
        gold, predicted = (np.unique(case["y_true"] + case["y_pred"], return_inverse=True)[1]).reshape(2, -1)
        num_classes = max(2, int(max(gold.max(), predicted.max())) + 1)
        scores = classification_scores(gold, predicted, num_classes)
        assert set(scores) == {"accuracy", "macro_f1", "matthews"} | ({"f1"} if num_classes == 2 else set())
        for name, theirs in (
            ("accuracy", "accuracy"),
            ("macro_f1", "f1_macro"),
            ("f1", "f1_binary"),
            ("matthews", "matthews"),
        ):
            if name in scores:
                assert scores[name] == case["expected"][theirs], (case["name"], name)
        one_hot = several_labels_scores(np.eye(num_classes)[gold], np.eye(num_classes)[predicted])
        assert one_hot["micro_f1"] == case["expected"]["f1_micro"], case["name"]


@pytest.mark.golden
def test_correlations_equal_scipys(shared):
    for case in glue_cases(shared, "regression"):
        scores = regression_scores(np.array(case["y_true"]), np.array(case["y_pred"]))
        for name, expected in case["expected"].items():  # null: not defined
            # Near 0, sums in another order leave fewer right digits.
            assert scores[name] == pytest.approx(expected or 0.0, rel=1e-14, abs=1e-14), (case["name"], name)


def test_rows_of_padding_are_refused():
    with pytest.raises(ValueError, match=r"gold has shape \(3,\), predicted \(4,\)"):
        classification_scores(np.array([0, 1, 1]), np.array([0, 1, 1, 0]), 2)
    with pytest.raises(ValueError, match="1 row or more"):
        regression_scores(np.array([]), np.array([]))


def test_confusion_has_the_right_class_in_rows():
    table = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2]), 3)
    assert table.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("num_classes", [2, 5, 30])
def test_scores_of_classes_are_those_of_their_table(num_classes):
    rng = np.random.default_rng(num_classes)
    gold, predicted = rng.integers(num_classes + 2, size=50), rng.integers(num_classes, size=50)
    table = confusion_matrix(gold, predicted, num_classes + 2)
    hits, golds, predictions = class_counts(gold, predicted, num_classes + 2)
    assert hits.tolist() == table.diagonal().tolist()
    assert golds.tolist() == table.sum(1).tolist() and predictions.tolist() == table.sum(0).tolist()
    there = golds + predictions > 0
    f1 = 2 * hits[there] / (golds + predictions)[there]
    scores = classification_scores(gold, predicted, num_classes)
    assert scores["accuracy"] == table.trace() / 50 and scores["macro_f1"] == pytest.approx(f1.mean())
    one_hot = np.eye(num_classes + 2)
    assert scores["matthews"] == pytest.approx(
        np.cov(one_hot[gold].T, one_hot[predicted].T)[: num_classes + 2, num_classes + 2 :].trace()
        / np.sqrt(np.cov(one_hot[gold].T).trace() * np.cov(one_hot[predicted].T).trace())
    )


def test_thousands_of_classes_take_no_table_of_all():
    """Which is 800 MB for these."""
    gold, predicted = np.random.default_rng(1).integers(10_000, size=(2, 500))
    labels = [str(number) for number in range(10_000)]
    tracemalloc.start()
    classification_scores(gold, predicted, 10_000)
    peak_of_scores = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    told, of_labels = confusion(gold, predicted, labels), label_scores(gold, predicted, labels)
    peak_of_report = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_of_scores < 1e6 and peak_of_report < 2e7
    assert len(told["pairs"]) == 20 and told["pairs"][0]["count"] >= told["pairs"][1]["count"]
    assert sum(of_label["support"] for of_label in of_labels.values()) == 500


def test_several_labels_of_some_rows_are_those_of_the_rows():
    rng = np.random.default_rng(4)
    gold, predicted = rng.random((2, 40, 7)) < 0.2
    predicted[:, 3] = gold[:, 3] = False
    measures = several_labels_measures(gold, predicted)
    for size in (1, 40, 300):
        rows = rng.integers(40, size=size)
        assert measures(rows) == several_labels_scores(gold[rows], predicted[rows])


def test_several_labels_by_hand():
    gold = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    scores = several_labels_scores(gold, np.array([[1, 0, 0], [1, 0, 1], [0, 0, 0]]))
    # Hits 2, 0, 0 of 2, 1, 0 right ones and 2, 0, 1 predicted ones.
    assert scores == {
        "micro_f1": 4 / 6,
        "macro_f1": pytest.approx((1 + 0 + 0) / 3),
        "exact_match": pytest.approx(2 / 3),
    }


def test_the_threshold_is_the_best_of_all_possible_ones():
    rng = np.random.default_rng(5)
    for rows in (1, 2, 30):
        gold = rng.random((rows, 4)) < 0.3
        gold[0, 0] = True
        # Few values, so that many are equal.
        probabilities = np.round(np.clip(gold * 0.3 + rng.random((rows, 4)) * 0.7, 0, 1), 1)
        threshold, f1 = best_threshold(gold, probabilities)
        assert several_labels_scores(gold, probabilities >= threshold)["micro_f1"] == f1
        for other in np.linspace(0, 1.05, 43):
            assert several_labels_scores(gold, probabilities >= other)["micro_f1"] <= f1
        # The more are missed anyhow, the lower it is: a wrong label costs less then.
        threshold, f1 = best_threshold(gold, probabilities, misses=7)
        of_all = np.pad(gold, [(0, 0), (0, 7)])
        of_all[0, 4:] = True
        for other in np.linspace(0, 1.05, 43):
            given = np.pad(probabilities, [(0, 0), (0, 7)], constant_values=-1) >= other
            assert several_labels_scores(of_all, given)["micro_f1"] <= f1
    assert best_threshold(np.zeros((2, 2)), np.ones((2, 2))) == (0.5, 0.0)


def test_scores_of_a_small_table():
    scores = classification_scores(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2]), 4)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 4 / 5) / 3)  # Class 3 does not occur.
    assert classification_scores(np.array([1, 1]), np.array([1, 1]), 2)["matthews"] == 0.0


def test_decoding_is_stable_and_plain():
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 1.0]], "float32")
    answers = decode_labels(softmax(logits), ["a", "b", "c"])
    assert [answer["label"] for answer in answers] == ["a", "c"]
    assert answers[0]["score"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert answers[1]["probabilities"]["b"] == pytest.approx(1 / (2 + np.e))
    assert json.loads(json.dumps([*map(plain_answer, answers)])) == answers


def test_label_sets_are_plain_and_may_be_empty():
    probabilities = sigmoid(np.array([[1000.0, 0.0, -1000.0], [-1.0, -2.0, -3.0]], "float32"))
    np.testing.assert_allclose(probabilities[1], 1 / (1 + np.exp([1.0, 2.0, 3.0])), rtol=1e-12)
    answers = decode_label_sets(probabilities, ["a", "b", "c"], 0.5)
    assert [answer["labels"] for answer in answers] == [["a", "b"], []]
    assert [answer["label_ids"] for answer in answers] == [[0, 1], []]
    assert answers[0]["probabilities"] == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert [*answers[0]["probabilities"].values()] == [1.0, 0.5, 0.0]
    assert json.loads(json.dumps([*map(plain_answer, answers)])) == answers


@pytest.mark.parametrize("decode", [decode_labels, functools.partial(decode_label_sets, threshold=0.5)])
def test_answers_of_thousands_of_labels_have_room(decode):
    """A dict of each row took 60 MB for these."""
    probabilities, labels = np.full((1000, 1000), 0.001), [f"label {number}" for number in range(1000)]
    tracemalloc.start()
    answers = decode(probabilities, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6 and len(answers[999]["probabilities"]) == 1000
