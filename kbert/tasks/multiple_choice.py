"""`MultipleChoice`: which of several answers fits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kbert import data, features
from kbert.data import ChoiceExample, EncodedRows
from kbert.errors import InputError
from kbert.evaluation import MarkedText, WrongAnswer, calibration, mean_measures, softmax
from kbert.models import BertMultipleChoice, MultipleChoiceObjective
from kbert.tasks.task import Task, owners
from kbert.tasks.texts import check_texts


class MultipleChoice(Task):
    """A question, or the beginning of a story, and choices of which one is right; their number may differ.

    Each choice is read as `[CLS] text [SEP] question choice [SEP]`, or `[CLS] question [SEP] choice [SEP]`
    without a text. If a long passage must be cut, question and choice stay whole, unless they are the longer
    part. An empty choice is none, and never the answer.
    """

    name = "multiple_choice"
    best_score = "accuracy"
    #: Files without passages can be read as well: nothing else tells that later ones are read without theirs.
    kept_of_columns = ("context_column",)

    @property
    def num_segments(self):
        return 2

    @classmethod
    def read(cls, source, columns, labelled=True):
        columns.refuse_others(cls.name, ("text", "label"))
        return data.read_choices(
            source,
            context_column=columns.context_column if columns.text is None else columns.text,
            label_column=columns.label if labelled else None,
            labelled=labelled,
            split=columns.split,
        )

    @classmethod
    def columns_to_keep(cls, source, columns, rows):
        return {} if columns.text is None else {"context_column": columns.text}

    @classmethod
    def learned(cls, rows):
        for row in rows:
            if row.choices[row.label] == "":
                raise InputError(
                    f"{row.source}: the right choice is an empty one, which is none; name another, or leave "
                    f"the row out"
                )
        return super().learned(rows)

    @classmethod
    def faults(cls, train, dev):
        return data.choice_faults(train, dev)

    def rows_of(self, texts, choices, questions=None):
        questions = [""] * len(texts) if questions is None else questions
        if not len(texts) == len(choices) == len(questions):
            raise InputError(
                f"{len(texts)} texts, {len(choices)} lists of choices and {len(questions)} questions came; "
                f"expected as many of each"
            )
        check_texts(texts)
        check_texts(questions)
        for options in choices:
            listed = [] if isinstance(options, str) or not hasattr(options, "__len__") else list(options)
            if len(listed) < 2 or not all(isinstance(choice, str) for choice in listed):
                raise InputError(f"the choices are {options!r}; expected a list of 2 texts or more")
        # As the reader of files has it: without a text the question is what the choices are about.
        pairs = [pair if pair[0] else pair[::-1] for pair in zip(texts, questions, strict=True)]
        return [
            ChoiceExample(text, question, tuple(options), None, "texts")
            for (text, question), options in zip(pairs, choices, strict=True)
        ]

    def encode(self, rows, labelled=True):
        pairs = [(row.text, f"{row.question} {choice}".strip()) for row in rows for choice in row.choices]
        firsts, seconds = zip(*pairs, strict=True)
        inputs, truncated = data.encode_texts(firsts, seconds, self.tokenizer, self.spec["max_length"])
        counts = [len(row.choices) for row in rows]
        # A question without any choice stays as it is: a batch of such rows alone would have no width.
        exists = np.array([choice != "" or not any(row.choices) for row in rows for choice in row.choices])
        inputs = {name: data.group_rows(_emptied(ids, exists), counts) for name, ids in inputs.items()}
        of_rows = np.logical_or.reduceat(truncated & exists, np.cumsum([0, *counts[:-1]]))
        targets = {features.LABEL: np.array([row.label for row in rows], np.int32)} if labelled else {}
        return EncodedRows(inputs, targets, owners(len(rows)), int(of_rows.sum()), {})

    def blank_model(self, config, dtype=None, **kwargs):
        return BertMultipleChoice(config, dtype=dtype, **kwargs)

    def objective(self, model):
        return MultipleChoiceObjective()

    def answers(self, rows, encoded, outputs):
        return [_answer(row, logits) for row, logits in zip(rows, outputs[features.LOGITS], strict=True)]

    def scores(self, rows: Sequence[ChoiceExample], answers):
        return {"accuracy": float(_hits(rows, answers).mean())}

    def report_parts(self, rows: Sequence[ChoiceExample], answers):
        hits = _hits(rows, answers)
        return {
            "measures": mean_measures({"accuracy": hits}),
            "calibration": calibration(np.array([answer["score"] for answer in answers]), hits),
            "errors": [
                WrongAnswer(
                    row.source, _marked_texts(row), row.choices[row.label], answer["choice"], answer["score"]
                )
                for row, answer, hit in zip(rows, answers, hits, strict=True)
                if row.label is not None and not hit
            ],
        }

    def prediction_row(self, row, answer):
        return {"source": row.source, "gold": row.label, **answer}


def _emptied(ids: Any, exists: np.ndarray) -> tf.RaggedTensor:
    """Ragged [choices, pieces] without the pieces of choices that are none; the model knows them by that."""
    lengths = ids.row_lengths().numpy()
    return data.group_rows(ids.values.numpy()[np.repeat(exists, lengths)], lengths * exists)


def _hits(rows: Sequence[ChoiceExample], answers) -> np.ndarray:
    return np.array([row.label == answer["choice_id"] for row, answer in zip(rows, answers, strict=True)])


def _marked_texts(row: ChoiceExample) -> list[MarkedText]:
    named = [(row.text, "text"), (row.question, "question"), *((choice, "choice") for choice in row.choices)]
    return [MarkedText(text, name) for text, name in named if text]


def _answer(row: ChoiceExample, logits: np.ndarray) -> dict:
    # What stands behind the row's own choices fills up the batch; an empty one fills up its list.
    real = [place for place, choice in enumerate(row.choices) if choice != ""]
    probabilities = np.zeros(len(row.choices))
    if real:
        probabilities[real] = softmax(logits[real])
    best = int(probabilities.argmax())
    return {
        "choice": row.choices[best],
        "choice_id": best,
        "score": float(probabilities[best]),
        "probabilities": probabilities.tolist(),
    }
