"""`QuestionAnswering`: the part of a passage that answers a question."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kbert import data, features
from kbert.data import EncodedRows, Question
from kbert.errors import InputError
from kbert.evaluation import (
    Mark,
    MarkedText,
    WindowScores,
    WrongAnswer,
    answers_json,
    best_null_threshold,
    cmrc_question_scores,
    cmrc_scores,
    decode_answer,
    mean_measures,
    null_odds_json,
    squad_question_scores,
    squad_scores,
    squad_v2_question_scores,
    squad_v2_scores,
)
from kbert.models import BertSpanFinder, SpanObjective
from kbert.tasks.task import Task, refuse_data_set
from kbert.tasks.texts import check_texts
from kbert.text import WordPieceTokenizer

_ANSWER_LENGTH = 30
#: The language of a file is told by so many of its passages.
_PASSAGES_TOLD_BY = 1000
#: Between a threshold for no answer and the differences of all dev questions, if they lie on one side of it.
_MARGIN = 0.5
#: Name -> official measure, and those of its scores by which runs may be compared.
_MEASURES = {
    "squad": (squad_scores, ("f1", "exact_match")),
    "squad_v2": (squad_v2_scores, ("f1", "exact")),
    "cmrc": (cmrc_scores, ("f1", "em", "average")),
}
#: The same of each question: exact match and F1, and what the measure calls the former.
_OF_QUESTIONS = {
    "squad": (squad_question_scores, "exact_match"),
    "squad_v2": (squad_v2_question_scores, "exact"),
    "cmrc": (cmrc_question_scores, "em"),
}


class QuestionAnswering(Task):
    """The answer to a question is a part of a passage, in any language; or, in SQuAD 2.0, there is none.

    Passages of any length are read in windows. The settings in `options`: `stride`, pieces from the beginning
    of one window to that of the next, None being 128, or half of what a window holds if that is less;
    `max_question_length` in pieces, None being 64, or half of what fits; `max_answer_length` in pieces, None
    being 30, or more if more than one training answer in a hundred is longer; `n_best`, how many answers are
    listed; `measure`, the official one to score by: `squad`, `squad_v2`,
    `cmrc` (also for DRCD), `auto` being what the training rows ask for.
    """

    name = "question_answering"
    best_score = "f1"
    options = {
        "stride": None,
        "max_question_length": None,
        "max_answer_length": None,
        "n_best": 20,
        "measure": "auto",
    }

    def __init__(self, spec, tokenizer):
        super().__init__({"null_threshold": None, **spec}, tokenizer)
        _check(self.spec)

    @classmethod
    def learn(cls, rows, tokenizer, max_length, best_score=None, **options):
        if options.get("measure", "auto") == "auto":
            options["measure"] = _customary_measure(rows)
        if options.get("max_answer_length") is None:
            options["max_answer_length"] = _customary_answer_length(rows, tokenizer)
        return super().learn(rows, tokenizer, max_length, best_score, **options)

    @classmethod
    def read(cls, source, columns, labelled=True):
        refuse_data_set(source, cls.name)
        columns.refuse_others(cls.name, ())
        return data.read_questions(source, labelled=labelled)

    @classmethod
    def learned(cls, rows):
        if not any(row.answer or not row.has_answer for row in rows):
            raise InputError(
                f"{rows[0].source}: none of {len(rows)} questions has an answer that stands in its passage; "
                f"there is nothing to learn"
            )
        # Until one is chosen on dev: no answer where it scores higher than the best answer.
        return {"null_threshold": None if all(row.has_answer for row in rows) else 0.0}

    @classmethod
    def faults(cls, train, dev):
        return data.answer_faults(train, dev)

    @property
    def num_segments(self):
        return 2

    @property
    def comparable_scores(self):
        return _MEASURES[self.spec["measure"]][1]

    def rows_of(self, questions, contexts):
        if len(questions) != len(contexts):
            raise InputError(
                f"{len(questions)} questions and {len(contexts)} passages came; expected as many of both"
            )
        check_texts(questions)
        check_texts(contexts)
        pairs = zip(questions, contexts, strict=True)
        return [
            Question(str(number), question, context, (), True, "texts")
            for number, (question, context) in enumerate(pairs)
        ]

    def encode(self, rows, labelled=True):
        if labelled:
            self._check_measure(rows)
        return data.encode_questions(
            rows,
            self.tokenizer,
            labelled=labelled,
            max_length=self.spec["max_length"],
            **window_settings(self.spec),
        )

    def blank_model(self, config, dtype=None, **kwargs):
        return BertSpanFinder(config, dtype=dtype, **kwargs)

    def objective(self, model):
        return SpanObjective()

    def answers(self, rows, encoded, outputs):
        return self._answers(rows, encoded, outputs, self.spec["null_threshold"])

    def scores(self, rows: Sequence[Question], answers):
        self._check_measure(rows)
        return _MEASURES[self.spec["measure"]][0](_references(rows), _predictions(rows, answers))

    def chosen_on_dev(self, rows, encoded, outputs):
        if self.spec["null_threshold"] is None or all(row.has_answer for row in rows):
            return {}
        answers = self._answers(rows, encoded, outputs, None)
        differences = {row.id: a["null_difference"] for row, a in zip(rows, answers, strict=True)}
        threshold, _ = best_null_threshold(
            _references(rows), _predictions(rows, answers), differences, self.best_score
        )
        return {"null_threshold": float(_apart(threshold, list(differences.values())))}

    def report_parts(self, rows: Sequence[Question], answers):
        function, exact_name = _OF_QUESTIONS[self.spec["measure"]]
        of_rows = list(function(_references(rows), _predictions(rows, answers)).values())
        exact, f1 = (np.array(column) * 100 for column in zip(*of_rows, strict=True))
        return {
            "measures": mean_measures({exact_name: exact, "f1": f1}),
            "errors": [
                _wrong_answer(row, answer)
                for row, answer, right in zip(rows, answers, exact, strict=True)
                if not right
            ],
        }

    def submission(self, rows: Sequence[Question], answers):
        """SQuAD's `predictions.json`, which CMRC and DRCD take too; of SQuAD 2.0 also `null_odds.json`."""
        files = {"predictions.json": answers_json(_predictions(rows, answers))}
        if self.spec["measure"] == "squad_v2":
            odds = {row.id: answer["null_difference"] for row, answer in zip(rows, answers, strict=True)}
            files["null_odds.json"] = null_odds_json(odds)
        return files

    def prediction_row(self, row, answer):
        gold = [gold.text for gold in row.answers]
        return {"source": row.source, "id": row.id, "question": row.question, "gold": gold, **answer}

    def _answers(self, rows, encoded: EncodedRows, outputs, null_threshold: float | None) -> list[dict]:
        return [
            decode_answer(
                row.context,
                windows,
                n_best=self.spec["n_best"],
                max_pieces=self.spec["max_answer_length"],
                null_threshold=null_threshold,
            )
            for row, windows in zip(rows, _windows_of_rows(len(rows), encoded, outputs), strict=True)
        ]

    def _check_measure(self, rows: Sequence[Question]) -> None:
        """Refuses questions without an answer where the measure has no rule for them."""
        for row in rows:
            if not row.answers and self.spec["measure"] != "squad_v2":
                raise InputError(
                    f"{row.source}: has no answer; the measure {self.spec['measure']} is for files in which "
                    f"every question has one; fine-tune with --measure=squad_v2, or on such questions"
                )


def _apart(threshold: float, differences: Sequence[float]) -> float:
    """A threshold that parts the differences as this one does, and lies on none of them.

    Where batches or numbers are others, as in an export, a difference moves.
    """
    answered = [difference for difference in differences if difference <= threshold]
    larger = [difference for difference in differences if difference > threshold]
    if not answered:
        return min(threshold, min(larger) - _MARGIN)
    if not larger:
        return max(answered) + _MARGIN
    # Amid the two questions that it parts.
    return max(answered) + (min(larger) - max(answered)) / 2


def window_settings(spec: Mapping[str, Any]) -> dict[str, int]:
    """`stride` and `max_question_length` of a task's `spec`; None leaves them to the size of a window.

    They are settled where they are used, so that a model may be exported with other windows than its own.
    """
    room = spec["max_length"] - 3  # Beside [CLS] and two [SEP].
    question, stride = spec["max_question_length"], spec["stride"]
    question = min(64, max(1, room // 2)) if question is None else question
    stride = min(128, max(1, (room - question) // 2)) if stride is None else stride
    return {"stride": stride, "max_question_length": question}


def _check(spec: Mapping[str, Any]) -> None:
    """Refuses settings that are out of their range.

    Raises:
        InputError: One is.
    """
    if spec["measure"] not in _MEASURES:
        raise InputError(f"measure={spec['measure']!r}; expected one of auto, {', '.join(_MEASURES)}")
    for name in ("stride", "max_question_length", "max_answer_length", "n_best"):
        if spec[name] is not None and spec[name] < 1:
            raise InputError(f"{name}={spec[name]}; expected at least 1")


def _customary_measure(rows: Sequence[Question]) -> str:
    """`squad_v2` if some questions have no answer, else `cmrc` if the passages are Chinese, else `squad`."""
    if not all(row.has_answer for row in rows):
        return "squad_v2"
    passages = list(dict.fromkeys(row.context for row in rows))[:_PASSAGES_TOLD_BY]
    chinese, english = (
        sum(len(match[0]) for passage in passages for match in re.finditer(f"[{letters}]+", passage))
        for letters in ("\u4e00-\u9fff", "a-zA-Z")
    )
    return "cmrc" if chinese > english else "squad"


def _customary_answer_length(rows: Sequence[Question], tokenizer: WordPieceTokenizer) -> int:
    """30 pieces as in google-research/bert; more where answers are, as in CMRC 2018."""
    texts = [row.answer.text for row in rows if row.answer]
    if not texts:
        return _ANSWER_LENGTH
    return max(_ANSWER_LENGTH, int(np.quantile(tokenizer.tokenize(texts).row_lengths().numpy(), 0.99)))


def _windows_of_rows(count: int, encoded: EncodedRows, outputs) -> Iterator[list[WindowScores]]:
    """The windows of each row of the file, without the padding of their batches."""
    splits = encoded.places["begins"].row_splits.numpy()
    columns = [encoded.places[name].values.numpy() for name in ("begins", "ends", "has_most_context")]
    starts, ends = outputs[features.START_LOGITS], outputs[features.END_LOGITS]
    first_windows = np.searchsorted(encoded.owner, np.arange(count + 1))
    for row in range(count):
        yield [
            WindowScores(
                starts[window][: splits[window + 1] - splits[window]],
                ends[window][: splits[window + 1] - splits[window]],
                *(column[splits[window] : splits[window + 1]] for column in columns),
            )
            for window in range(first_windows[row], first_windows[row + 1])
        ]


def _references(rows: Sequence[Question]) -> dict[str, list[str]]:
    return {row.id: [answer.text for answer in row.answers] for row in rows}


def _predictions(rows: Sequence[Question], answers: Sequence[dict]) -> dict[str, str]:
    return {row.id: answer["answer"] for row, answer in zip(rows, answers, strict=True)}


def _wrong_answer(row: Question, answer: dict) -> WrongAnswer:
    marks = [
        Mark(gold.start, gold.start + len(gold.text), "", "gold")
        for gold in row.answers
        if gold.start is not None
    ]
    if answer["start"] >= 0:
        marks.append(Mark(answer["start"], answer["end"], "", "predicted"))
    gold = " / ".join(dict.fromkeys(right.text for right in row.answers))
    texts = [MarkedText(row.question, "question"), MarkedText(row.context, "context", marks)]
    return WrongAnswer(row.source, texts, gold, answer["answer"], answer["probability"])
