"""`MultiLabel`: all the labels that apply to a text, or to a pair of texts."""

from collections.abc import Sequence

import numpy as np

from kbert import data, features
from kbert.data import LabelSetExample
from kbert.evaluation import (
    WrongAnswer,
    best_threshold,
    calibration,
    decode_label_sets,
    label_scores,
    pool_numbers,
    several_labels_scores,
    sigmoid,
)
from kbert.models import BertClassifier, MultiLabelObjective
from kbert.tasks.texts import TextTask, marked_texts, prediction_of, read_arguments, text_rows


class MultiLabel(TextTask):
    """Each label applies or does not, whatever the others do: topics, emotions, faults of a product.

    A label is given if its probability is at least `threshold`: 0.5, or what gives the best micro F1 on dev.
    """

    name = "multi_label"
    best_score = "micro_f1"

    @classmethod
    def read(cls, source, columns, labelled=True):
        return data.read_label_sets(
            source,
            label_column=columns.label,
            separator=columns.separator,
            labelled=labelled,
            **read_arguments(columns),
        )

    @classmethod
    def learned(cls, rows):
        return {"labels": data.label_set_list(rows), "pair": rows[0].pair is not None, "threshold": 0.5}

    @classmethod
    def faults(cls, train, dev):
        return data.classification_faults(train, dev)

    @property
    def labels(self) -> list[str]:
        """The labels; the place in the list is the id."""
        return self.spec["labels"]

    @property
    def comparable_scores(self):
        return ("micro_f1", "macro_f1", "exact_match")

    def rows_of(self, texts, pairs=None):
        return [LabelSetExample(*row, (), "texts") for row in text_rows(texts, pairs, self.spec["pair"])]

    def targets(self, rows):
        return {features.LABELS: data.label_matrix(rows, self.labels)}

    def blank_model(self, config, dtype=None, **kwargs):
        return BertClassifier(config, len(self.labels), "multi", dtype=dtype, **kwargs)

    def objective(self, model):
        return MultiLabelObjective()

    def answers(self, rows, encoded, outputs):
        return decode_label_sets(self._probabilities(encoded, outputs), self.labels, self.spec["threshold"])

    def chosen_on_dev(self, rows, encoded, outputs):
        gold = data.label_matrix(rows, self.labels)
        return {"threshold": best_threshold(gold, self._probabilities(encoded, outputs))[0]}

    def scores(self, rows: Sequence[LabelSetExample], answers):
        return several_labels_scores(data.label_matrix(rows, self.labels), self._given(answers))

    def report_parts(self, rows: Sequence[LabelSetExample], answers):
        gold, given = data.label_matrix(rows, self.labels).astype(bool), self._given(answers)
        likely = np.array([list(answer["probabilities"].values()) for answer in answers])
        # How sure the model was of the worst decision: of a label too many, or against one that applies.
        surest = np.where(gold != given, np.where(given, likely, 1 - likely), 0).max(1)
        return {
            "measures": lambda chosen: several_labels_scores(gold[chosen], given[chosen]),
            "per_label": label_scores(gold, given, self.labels),
            "calibration": calibration(likely.ravel(), gold.ravel()),
            "notes": [
                f"A label is given from a probability of {self.spec['threshold']:.3g} on.",
                "Calibration counts each label of each row: confidence is its probability, accuracy the "
                "share of rows to which it applies.",
            ],
            "errors": [
                WrongAnswer(
                    row.source, marked_texts(row), _in_words(row.labels), _in_words(answer["labels"]), weight
                )
                for row, answer, weight, wrong in zip(
                    rows, answers, surest.tolist(), (gold != given).any(1), strict=True
                )
                if wrong
            ],
        }

    def prediction_row(self, row, answer):
        return prediction_of(row, {"gold": list(row.labels)}, answer)

    def _given(self, answers) -> np.ndarray:
        """Which labels were given, bool (rows, C)."""
        given = np.zeros((len(answers), len(self.labels)), bool)
        for row, answer in enumerate(answers):
            given[row, answer["label_ids"]] = True
        return given

    def _probabilities(self, encoded, outputs) -> np.ndarray:
        """Of each label for each row of the file, float64 (rows, C)."""
        of_windows = sigmoid(np.stack(outputs[features.LOGITS]))
        return pool_numbers(of_windows, encoded.owner, self.spec["window_pooling"])


def _in_words(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "none"
