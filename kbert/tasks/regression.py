"""`Regression`: a number for a text, or for a pair of texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert import data, features
from kbert.data import ScoredExample
from kbert.evaluation import WrongAnswer, number_pairs, pool_numbers, regression_scores
from kbert.models import BertClassifier, RegressionObjective
from kbert.tasks.texts import TextTask, marked_texts, prediction_of, read_arguments, text_rows


class Regression(TextTask):
    """How similar, how difficult, how many stars: what has an order and a distance.

    The model learns the scores with the mean and the standard deviation of the training rows taken out, so
    that learning goes the same way for 0 to 5 and for 0 to 100; answers are in the units of the file.
    """

    name = "regression"
    best_score = "mean_correlation"

    def __init__(self, spec: Mapping[str, Any], tokenizer):
        # A model from Hugging Face says its numbers as they are.
        super().__init__({"mean": 0.0, "deviation": 1.0, **spec}, tokenizer)

    @classmethod
    def read(cls, source, columns, labelled=True):
        return data.read_scored_examples(
            source, score_column=columns.label, labelled=labelled, **read_arguments(cls, columns)
        )

    @classmethod
    def learned(cls, rows):
        scores = data.varied_scores(rows)
        return {
            "pair": rows[0].pair is not None,
            "mean": float(scores.mean()),
            "deviation": float(scores.std()),
        }

    @classmethod
    def faults(cls, train, dev):
        return data.score_faults(train, dev)

    @property
    def comparable_scores(self):
        return ("mean_correlation", "pearson", "spearman")

    def rows_of(self, texts, pairs=None):
        return [ScoredExample(*row, None, "texts") for row in text_rows(texts, pairs, self.spec["pair"])]

    def targets(self, rows):
        scores = np.array([row.score for row in rows], np.float64)
        return {features.SCORE: ((scores - self.spec["mean"]) / self.spec["deviation"]).astype(np.float32)}

    def blank_model(self, config, dtype=None, **kwargs):
        return BertClassifier(config, 1, "regression", dtype=dtype, **kwargs)

    def objective(self, model):
        return RegressionObjective()

    def answers(self, rows, encoded, outputs):
        of_windows = np.stack(outputs[features.LOGITS])
        pooled = pool_numbers(of_windows, encoded.owner, self.spec["window_pooling"])[:, 0]
        return [{"score": float(score)} for score in pooled * self.spec["deviation"] + self.spec["mean"]]

    def scores(self, rows: Sequence[ScoredExample], answers):
        """`pearson`, `spearman`, their mean, which is the score of STS-B in GLUE, and `mse`."""
        return _scores(*_numbers(rows, answers))

    def report_parts(self, rows: Sequence[ScoredExample], answers):
        gold, predicted = _numbers(rows, answers)
        return {
            "measures": lambda chosen: _scores(gold[chosen], predicted[chosen]),
            "number_pairs": number_pairs(gold, predicted),
            "errors_by": "distance",
            "errors": [
                WrongAnswer(
                    row.source, marked_texts(row), f"{right:.12g}", _in_words(said), abs(right - said)
                )
                for row, right, said in zip(rows, gold.tolist(), predicted.tolist(), strict=True)
                if right != said
            ],
        }

    def prediction_row(self, row, answer):
        return prediction_of(row, {"gold": row.score}, answer)


def _in_words(number: float) -> str:
    """As a report shows it: a year or a price must not be rounded to hundreds."""
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.2f}"


def _numbers(rows: Sequence[ScoredExample], answers) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row.score for row in rows]), np.array([answer["score"] for answer in answers])


def _scores(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    scores = regression_scores(gold, predicted)
    return {"mean_correlation": (scores["pearson"] + scores["spearman"]) / 2, **scores}
