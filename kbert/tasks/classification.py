"""`Classification`: one label for a text, or for a pair of texts."""

from collections.abc import Sequence

import numpy as np

from kbert import data, features
from kbert.data import Example
from kbert.evaluation import (
    WrongAnswer,
    calibration,
    classification_scores,
    confusion,
    decode_labels,
    label_scores,
    pool_classes,
    softmax,
)
from kbert.models import BertClassifier, ClassificationObjective
from kbert.tasks.texts import TextTask, marked_texts, prediction_of, read_arguments, text_rows


class Classification(TextTask):
    """One of several labels is right: sentiment, topic, entailment, paraphrase."""

    name = "classification"
    best_score = "accuracy"

    @classmethod
    def read(cls, source, columns, labelled=True):
        return data.read_examples(
            source, label_column=columns.label, labelled=labelled, **read_arguments(cls, columns)
        )

    @classmethod
    def learned(cls, rows):
        return {"labels": data.label_list(rows), "pair": rows[0].pair is not None}

    @classmethod
    def faults(cls, train, dev):
        return data.classification_faults(train, dev)

    @property
    def labels(self) -> list[str]:
        """The labels; the place in the list is the id."""
        return self.spec["labels"]

    @property
    def comparable_scores(self):
        of_two = ("f1",) if len(self.labels) == 2 else ()
        return ("accuracy", "macro_f1", "matthews", *of_two)

    def rows_of(self, texts, pairs=None):
        return [Example(*row, None, "texts") for row in text_rows(texts, pairs, self.spec["pair"])]

    def targets(self, rows):
        data.check_labels(rows, self.labels)
        return {features.LABEL: self._gold(rows)}

    def blank_model(self, config, dtype=None, **kwargs):
        return BertClassifier(config, len(self.labels), dtype=dtype, **kwargs)

    def objective(self, model):
        return ClassificationObjective()

    def answers(self, rows, encoded, outputs):
        of_windows = softmax(np.stack(outputs[features.LOGITS]))
        return decode_labels(
            pool_classes(of_windows, encoded.owner, self.spec["window_pooling"]), self.labels
        )

    def scores(self, rows: Sequence[Example], answers):
        predicted = np.array([answer["label_id"] for answer in answers])
        return classification_scores(self._gold(rows), predicted, len(self.labels))

    def report_parts(self, rows: Sequence[Example], answers):
        gold, labels = self._gold(rows), data.labels_with_unseen(self.labels, rows)
        predicted = np.array([answer["label_id"] for answer in answers])
        confidence = np.array([answer["score"] for answer in answers])
        return {
            "measures": lambda chosen: classification_scores(
                gold[chosen], predicted[chosen], len(self.labels)
            ),
            "confusion": confusion(gold, predicted, labels),
            "per_label": label_scores(gold, predicted, labels),
            "calibration": calibration(confidence, gold == predicted),
            "errors": [
                WrongAnswer(row.source, marked_texts(row), row.label or "", answer["label"], answer["score"])
                for row, answer in zip(rows, answers, strict=True)
                if row.label != answer["label"]
            ],
        }

    def prediction_row(self, row, answer):
        return prediction_of(row, {"gold": row.label}, answer)

    def _gold(self, rows: Sequence[Example]) -> np.ndarray:
        """The right ids, int32 (rows); those of labels that the model does not know come after its own."""
        return data.label_ids(rows, data.labels_with_unseen(self.labels, rows))
