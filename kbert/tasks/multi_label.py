"""`MultiLabel`: all the labels that apply to a text, or to a pair of texts."""

from collections.abc import Mapping, Sequence
from typing import Any

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
    several_labels_measures,
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
    kept_of_columns = ("no_label", "separator")

    def __init__(self, spec: Mapping[str, Any], tokenizer):
        # A model from Hugging Face comes without a threshold.
        super().__init__({"threshold": 0.5, **spec}, tokenizer)

    @classmethod
    def read(cls, source, columns, labelled=True):
        return data.read_label_sets(
            source,
            label_column=columns.label,
            separator=columns.separator,
            labelled=labelled,
            **read_arguments(cls, columns),
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
        data.check_labels(rows, self.labels)
        return {features.LABELS: self._applying(rows)[:, : len(self.labels)]}

    def blank_model(self, config, dtype=None, **kwargs):
        return BertClassifier(config, len(self.labels), "multi", dtype=dtype, **kwargs)

    def objective(self, model):
        return MultiLabelObjective()

    def answers(self, rows, encoded, outputs):
        return decode_label_sets(self._probabilities(encoded, outputs), self.labels, self.spec["threshold"])

    def chosen_on_dev(self, rows, encoded, outputs):
        gold, known = self._applying(rows), len(self.labels)
        probabilities = self._probabilities(encoded, outputs)
        return {"threshold": best_threshold(gold[:, :known], probabilities, int(gold[:, known:].sum()))[0]}

    def scores(self, rows: Sequence[LabelSetExample], answers):
        gold = self._applying(rows)
        return several_labels_scores(gold, self._given(answers, gold.shape[1]))

    def report_parts(self, rows: Sequence[LabelSetExample], answers):
        gold = self._applying(rows).astype(bool)
        given = self._given(answers, gold.shape[1])
        likely = np.stack([np.fromiter(answer["probabilities"].values(), float) for answer in answers])
        # How sure the model was of the worst decision: of a label too many, or against one that applies.
        padded = np.pad(likely, [(0, 0), (0, gold.shape[1] - likely.shape[1])])
        surest = np.where(gold != given, np.where(given, padded, 1 - padded), 0).max(1)
        return {
            "measures": several_labels_measures(gold, given),
            "per_label": label_scores(gold, given, data.labels_with_unseen(self.labels, rows)),
            "calibration": calibration(likely.ravel(), gold[:, : len(self.labels)].ravel()),
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

    def _applying(self, rows: Sequence[LabelSetExample]) -> np.ndarray:
        """Which labels apply, float32 (rows, C or more): those that the model does not know come last."""
        return data.label_matrix(rows, data.labels_with_unseen(self.labels, rows))

    def _given(self, answers, num_labels: int) -> np.ndarray:
        """Which labels were given, bool (rows, num_labels)."""
        given = np.zeros((len(answers), num_labels), bool)
        for row, answer in enumerate(answers):
            given[row, answer["label_ids"]] = True
        return given

    def _probabilities(self, encoded, outputs) -> np.ndarray:
        """Of each label for each row of the file, float64 (rows, C)."""
        of_windows = sigmoid(np.stack(outputs[features.LOGITS]))
        return pool_numbers(of_windows, encoded.owner, self.spec["window_pooling"])


def _in_words(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "none"
