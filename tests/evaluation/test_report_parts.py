"""Parts of a report against counting by hand."""

import random
from collections import Counter

import numpy as np
import pytest

from kbert.evaluation import (
    classification_scores,
    confusion,
    entity_measures,
    entity_scores,
    label_scores,
    learning_curves,
    length_figures,
    mean_measures,
    measured,
    number_pairs,
    report_parts,
)


@pytest.fixture
def answers():
    rng = np.random.default_rng(5)
    return rng.integers(4, size=200), rng.integers(4, size=200)


def test_scores_have_the_official_value_and_an_interval_around_it(answers):
    gold, predicted = answers
    scores = classification_scores(gold, predicted, 4) | {"total": 200, "per_type": {}}
    found = measured(
        scores, lambda rows: {"accuracy": (gold == predicted)[rows].mean()}, 200, 1, best_score="macro_f1"
    )
    assert [score.name for score in found] == ["macro_f1", "accuracy", "matthews"]
    accuracy = found[1]
    assert accuracy.value == (gold == predicted).mean()
    half = 1.96 * np.sqrt(accuracy.value * (1 - accuracy.value) / 200)
    assert (accuracy.low, accuracy.high) == pytest.approx(
        (accuracy.value - half, accuracy.value + half), abs=0.02
    )
    assert found[0].low is None and found[0].high is None


@pytest.mark.parametrize("rows, draws", [(1, 1000), (100_000, 1000), (400_000, 250), (10**9, 200)])
def test_of_many_rows_fewer_draws_are_steady(rows, draws, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        report_parts,
        "confidence_intervals",
        lambda *_, draws: drawn.append(draws) or {"accuracy": (0.4, 0.6)},
    )
    (score,) = measured({"accuracy": 0.5}, lambda rows: {}, rows, 1, best_score="accuracy")
    assert drawn == [draws] and (score.low, score.high) == (0.4, 0.6)


def test_measures_of_some_rows_are_those_of_the_rows():
    rng = random.Random(3)
    tags = ["O", "B-PER", "I-PER", "B-LOC"]
    gold, predicted = ([rng.choices(tags, k=n) for n in range(1, 20)] for _ in range(2))
    rows = np.array([3, 3, 0, 18, 7])
    theirs = entity_scores([gold[row] for row in rows], [predicted[row] for row in rows])
    ours = entity_measures(gold, predicted)(rows)
    assert ours == pytest.approx({name: theirs[name] for name in ("precision", "recall", "f1")})
    assert entity_measures([["O"]], [["O"]])(np.array([0])) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    columns = {"em": [0, 100, 50], "f1": [10, 20, 30]}
    assert mean_measures(columns)(np.array([0, 0, 2])) == pytest.approx({"em": 50 / 3, "f1": 50 / 3})


def test_confusion_counts_pairs(answers):
    gold, predicted = answers
    labels = ["a", "b", "c", "d"]
    found = confusion(gold, predicted, labels)
    pairs = Counter(zip(gold.tolist(), predicted.tolist(), strict=True))
    assert found["matrix"] == [[pairs[row, column] for column in range(4)] for row in range(4)]
    wrong = sorted((count for (row, column), count in pairs.items() if row != column), reverse=True)
    assert [pair["count"] for pair in found["pairs"]] == wrong
    for pair in found["pairs"]:
        assert pairs[labels.index(pair["gold"]), labels.index(pair["predicted"])] == pair["count"]


def test_many_classes_are_told_by_their_most_confused_pairs():
    gold = np.arange(60).repeat(3)
    predicted = gold.copy()
    predicted[:2] = 59
    predicted[-1] = 7
    found = confusion(gold, predicted, [f"c{n}" for n in range(60)])
    assert found["matrix"] is None
    assert found["pairs"] == [
        {"gold": "c0", "predicted": "c59", "count": 2}, {"gold": "c59", "predicted": "c7", "count": 1}
    ]  # fmt: skip


def test_scores_of_each_label(answers):
    gold, predicted = answers
    for given in (answers, [np.eye(5, dtype=bool)[values] for values in answers]):
        found = label_scores(*given, ["a", "b", "c", "d", "never"])
        for number, label in enumerate("abcd"):
            hits = ((gold == number) & (predicted == number)).sum()
            precision, recall = hits / (predicted == number).sum(), hits / (gold == number).sum()
            assert found[label] == pytest.approx(
                {
                    "precision": precision,
                    "recall": recall,
                    "f1": 2 * precision * recall / (precision + recall),
                    "support": (gold == number).sum(),
                }
            )
        assert found["never"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


@pytest.mark.parametrize("longest", [1, 29, 30, 700, 5000])
def test_every_length_is_in_its_bin(longest):
    lengths = np.append(np.random.default_rng(2).integers(1, longest + 1, size=500), [longest, 9 * longest])
    figures = length_figures(lengths, 128, 17)
    bins = figures["bins"]
    assert len(bins) <= 30 and bins[0]["from"] == 0 and bins[-1]["to"] >= 9 * longest
    for left, right in zip(bins, bins[1:], strict=False):
        assert right["from"] == left["to"] + 1 and left["to"] - left["from"] == bins[0]["to"]
    counts = [int(((lengths >= row["from"]) & (lengths <= row["to"])).sum()) for row in bins]
    assert [row["number"] for row in bins] == counts
    ordered = sorted(lengths.tolist())
    assert figures["p50"] == ordered[250] and figures["longest"] == 9 * longest
    assert (figures["rows"], figures["truncated"], figures["limit"]) == (502, 17, 128)


def test_curves_have_an_epoch_of_steps_for_each_epoch():
    history = [
        {"loss": 0.8, "learning_rate": 0.1, "val_f1": 0.5},
        {"loss": 0.4, "val_f1": 0.7, "val_loss": 0.9},
    ]
    steps = [
        {"step": 5, "seconds": 1, "loss": 1.0},
        {"step": 10, "seconds": 2, "loss": 0.6},
        {"step": 10, "seconds": 2, "epoch": 1, "loss": 0.8},
        {"step": 20, "seconds": 3, "loss": 0.4},
        {"step": 20, "seconds": 4, "epoch": 2, "loss": 0.4},
    ]
    loss, f1 = learning_curves(history, steps)
    assert f1 == {"title": "f1", "lines": [{"name": "dev", "points": [[1, 0.5], [2, 0.7]]}]}
    assert [line["name"] for line in loss["lines"]] == [
        "training, steps",
        "training, mean of the epoch",
        "dev",
    ]
    assert [line["points"] for line in loss["lines"]] == [
        [[0.5, 1.0], [1.0, 0.6], [2.0, 0.4]], [[1, 0.8], [2, 0.4]], [[2, 0.9]]
    ]  # fmt: skip
    assert [panel["title"] for panel in learning_curves(history)] == ["loss", "f1"]
    assert learning_curves([]) == []


def test_long_runs_are_thinned_by_means():
    steps = [{"step": n, "seconds": n, "loss": 2.0 * n} for n in range(1, 4001)]
    (panel,) = learning_curves([{"loss": 1.0}], steps)
    points = panel["lines"][0]["points"]
    assert len(points) == 400 and points[0] == pytest.approx([5.5 / 4000, 11.0])
    assert points[-1] == pytest.approx([3995.5 / 4000, 7991.0])


def test_pairs_of_numbers_are_thinned_evenly():
    assert number_pairs([1, 2], [3, 4]) == [[1.0, 3.0], [2.0, 4.0]]
    pairs = number_pairs(np.arange(10_000), -np.arange(10_000))
    firsts, seconds = zip(*pairs, strict=True)
    assert len(pairs) == 400 and firsts[0] == 0 and firsts[-1] == 9999
    assert set(np.diff(firsts)) <= {24, 25, 26} and np.array_equal(seconds, np.negative(firsts))
