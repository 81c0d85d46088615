"""Parts of a report, from what a task knows: gold and predicted answers, logs, lengths."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kbert.evaluation.certainty import confidence_intervals
from kbert.evaluation.entity_scores import entity_counts
from kbert.evaluation.report import Score
from kbert.evaluation.scores import class_counts, confusion_matrix

#: With more classes than this a table of all is no longer read.
_MOST_CLASSES = 50
_MOST_PAIRS = 20
_MOST_POINTS = 400
_MOST_BINS = 30

Measures = Callable[[np.ndarray], Mapping[str, float]]


def measured(
    scores: Mapping[str, Any], measures: Measures, num_rows: int, seed: int, best_score: str
) -> list[Score]:
    """The official scores, with a confidence interval each.

    Args:
        scores: Of all rows; what is not a single float, as a count of rows, is left out.
        measures: Gives the scores of some rows, as for `confidence_intervals`; those that it does not give
            have no interval. It is called 1000 times, down to 200 of more than 100,000 rows, whose ends are
            steady: `mean_measures` and `entity_measures` are quick.
        num_rows: That there are.
        seed: Of the draws.
        best_score: The most important one, which comes first.
    """
    draws = min(1000, max(200, 10**8 // num_rows))
    intervals = confidence_intervals(measures, num_rows, seed, draws=draws)
    return [
        Score(name, float(scores[name]), *intervals.get(name, (None, None)))
        for name in sorted(scores, key=lambda name: name != best_score)
        if isinstance(scores[name], float)
    ]


def mean_measures(columns: Mapping[str, Sequence[float] | np.ndarray]) -> Measures:
    """For `measured`, where a score is the mean of what each row has, as exact match and F1 of answers.

    Args:
        columns: Name -> value of each row, in the units of the score.

    Example:
        >>> mean_measures({"f1": [100.0, 50.0]})(np.array([1, 1]))
        {'f1': 50.0}
    """
    arrays = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    return lambda rows: {name: float(values[rows].mean()) for name, values in arrays.items()}


def entity_measures(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Measures:
    """For `measured`: `precision`, `recall` and `f1` of all entities, as `entity_scores` has them.

    Args:
        gold: The tags of each sentence.
        predicted: As many of each.
    """
    counts = np.array(
        [
            [count.total() for count in entity_counts([right], [tags])]
            for right, tags in zip(gold, predicted, strict=True)
        ]
    )

    def measures(rows):
        hits, claimed, there = counts[rows].sum(0).tolist()
        return {
            "precision": hits / claimed if claimed else 0.0,
            "recall": hits / there if there else 0.0,
            "f1": 2 * hits / (claimed + there) if hits else 0.0,
        }

    return measures


def confusion(
    gold: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray, labels: Sequence[str]
) -> dict[str, Any]:
    """What was taken for what.

    Args:
        gold: The right ids.
        predicted: As many.
        labels: Names by id.

    Returns:
        `labels`; `matrix`, row = right class, column = predicted one, None of more than 50 classes;
        `pairs`, the classes that are most often confused: dicts of `gold`, `predicted`, `count`.
    """
    gold, predicted = np.asarray(gold, np.int64), np.asarray(predicted, np.int64)
    wrong, size = gold != predicted, len(labels)
    places, counts = np.unique(gold[wrong] * size + predicted[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_PAIRS]
    pairs = [
        {"gold": labels[place // size], "predicted": labels[place % size], "count": count}
        for place, count in zip(places[order].tolist(), counts[order].tolist(), strict=True)
    ]
    matrix = confusion_matrix(gold, predicted, size).tolist() if size <= _MOST_CLASSES else None
    return {"labels": list(labels), "matrix": matrix, "pairs": pairs}


def label_scores(gold: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> dict[str, dict]:
    """Precision, recall, F1 and support of each label, for `Report.per_label`; what is not defined is 0.

    Args:
        gold: The right ids, int (rows); or of several labels whether each applies, bool (rows, C).
        predicted: Of the same form.
        labels: Names by id.
    """
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    if gold.ndim == 1:
        hits, there, claimed = class_counts(gold, predicted, len(labels))
    else:
        hits, there, claimed = (gold & predicted).sum(0), gold.sum(0), predicted.sum(0)
    table = np.stack([hits / np.maximum(claimed, 1), hits / np.maximum(there, 1)], 1)
    f1 = 2 * hits / np.maximum(claimed + there, 1)
    return {
        label: {
            "precision": float(table[place, 0]),
            "recall": float(table[place, 1]),
            "f1": float(f1[place]),
            "support": int(there[place]),
        }
        for place, label in enumerate(labels)
    }


def number_pairs(
    gold: Sequence[float] | np.ndarray, predicted: Sequence[float] | np.ndarray
) -> list[list[float]]:
    """(right, predicted) of regression, evenly thinned where there are more than a picture can show."""
    pairs = np.stack([np.asarray(gold, np.float64), np.asarray(predicted, np.float64)], 1)
    places = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), _MOST_POINTS)).round().astype(int))
    return pairs[places].tolist()


def length_figures(lengths: Sequence[int], limit: int, num_truncated: int = 0) -> dict[str, Any]:
    """How long the rows are.

    Args:
        lengths: In pieces, as the model reads them or before they are cut.
        limit: Most pieces that it reads at once.
        num_truncated: Rows that lost some.

    Returns:
        `rows`, `limit`, `truncated`; the percentiles `p50`, `p95`, `p99`, and `longest`; `bins`, dicts of
        `from`, `to` and `number`, all as wide as the first but the last, which takes the longest 1 %.
    """
    values = np.asarray(lengths, np.int64)
    p50, p95, p99, longest = np.percentile(values, [50, 95, 99, 100], method="inverted_cdf").tolist()
    width = next(w for w in _widths() if p99 < w * _MOST_BINS)
    count = p99 // width + 1
    numbers = np.bincount(np.minimum(values // width, count - 1), minlength=count)
    bins = [
        {"from": place * width, "to": (place + 1) * width - 1, "number": number}
        for place, number in enumerate(numbers.tolist())
    ]
    bins[-1]["to"] = max(longest, bins[-1]["to"])
    return {
        "rows": len(values),
        "limit": limit,
        "truncated": num_truncated,
        **{"p50": p50, "p95": p95, "p99": p99, "longest": longest},
        "bins": bins,
    }


def learning_curves(
    history: Sequence[Mapping[str, float]], steps: Sequence[Mapping[str, float]] = ()
) -> list[dict[str, Any]]:
    """How the loss fell and the dev scores rose.

    Args:
        history: The logs of each epoch: `loss`, and what begins with `val_`.
        steps: The lines of `metrics.jsonl`, of which those without `epoch` give the loss within epochs.

    Returns:
        Dicts of `title` and `lines`; a line has `name` and `points`, lists of (epoch, value), the beginning
        of training being 0. Of a long run each point is the mean of several steps.
    """
    names = dict.fromkeys(name for logs in history for name in logs if name.startswith("val_"))
    panels = [{"title": "loss", "lines": _losses(history, steps)}]
    panels += [
        {"title": name.removeprefix("val_"), "lines": [_line("dev", name, history)]}
        for name in names
        if name != "val_loss"
    ]
    for panel in panels:
        panel["lines"] = [line for line in panel["lines"] if line["points"]]
    return [panel for panel in panels if panel["lines"]]


def _losses(history, steps) -> list[dict]:
    calls = [row for row in steps if "epoch" not in row and "loss" in row]
    a_epoch = max((row["step"] for row in steps), default=0) / max(len(history), 1)
    points = [[row["step"] / a_epoch, row["loss"]] for row in calls]
    parts = np.array_split(np.array(points), min(len(points), _MOST_POINTS)) if points else []
    return [
        {"name": "training, steps", "points": [part.mean(0).tolist() for part in parts]},
        _line("training, mean of the epoch", "loss", history),
        _line("dev", "val_loss", history),
    ]


def _line(name: str, key: str, history) -> dict:
    points = [[epoch, float(logs[key])] for epoch, logs in enumerate(history, 1) if key in logs]
    return {"name": name, "points": points}


def _widths():
    """1, 2, 5, 10, 20, 50 and so on."""
    width = 1
    while True:
        yield from (width, 2 * width, 5 * width)
        width *= 10
