"""From scores of beginnings and ends to answers, which are parts of the original text."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kbert.evaluation.decoding import softmax


class WindowScores(NamedTuple):
    """What a model says about one window of a text; the windows of `kbert.text.cut_windows` fit.

    Args:
        start_logits: float (S), of each token as the first of the answer; at 0, [CLS], of no answer.
        end_logits: float (S), of each token as the last one.
        piece: int (S), which piece of the text the token is; -1 for special tokens, question and padding.
        has_most_context: bool (S), whether no other window shows the piece with more around it.
    """

    start_logits: np.ndarray
    end_logits: np.ndarray
    piece: np.ndarray
    has_most_context: np.ndarray


class _Span(NamedTuple):
    score: float
    first: int
    last: int


def decode_answer(
    text: str,
    begins: Sequence[int],
    ends: Sequence[int],
    windows: Sequence[WindowScores],
    *,
    n_best: int = 20,
    max_pieces: int = 30,
    null_threshold: float | None = None,
) -> dict:
    """The best answers to one question.

    An answer's score is the sum of the score of its first piece as a beginning and of its last piece as an
    end, both in the same window; the beginning must be where this window has the most context.

    Args:
        text: The passage, as it came.
        begins: Where each piece of it begins, in characters.
        ends: Where each piece ends.
        windows: Of the passage with this question, at least one.
        n_best: How many beginnings and ends of a window are tried, and how many answers are returned.
        max_pieces: The longest answer.
        null_threshold: A question whose `null_difference` is larger has no answer; see
            `kbert.evaluation.best_null_threshold`. None: every question has one.

    Returns:
        Plain Python: `text`, `start`, `end` of the answer, `text` being `text[start:end]` of the passage,
        and `"", -1, -1` for none; `null_difference`, the score of no answer, the lowest of all windows,
        less that of the best answer, to be compared with thresholds; `n_best`, a list of dicts of `text`,
        `start`, `end`, `score` and `probability` (softmax over the list, no answer included where there is
        a threshold), the best first. Of the same text at several places the best is kept.

    Reference:
        google-research/bert, run_squad.py, `write_predictions`. Departures: what cannot begin or end an
        answer does not take one of the `n_best` places; answers are cut out of the text by the offsets of
        their pieces, not by aligning characters; where no answer is possible, as in an empty text, there
        is none, and `null_difference` is 0.
    """
    null_score = min(float(window.start_logits[0] + window.end_logits[0]) for window in windows)
    spans = [span for window in windows for span in _spans(window, n_best, max_pieces)]
    spans.sort(key=lambda span: -span.score)
    answers, seen = [], set()
    for span in spans:
        start, end = int(begins[span.first]), int(ends[span.last])
        if text[start:end] not in seen and len(answers) < n_best:
            seen.add(text[start:end])
            answers.append({"text": text[start:end], "start": start, "end": end, "score": span.score})
    difference = null_score - answers[0]["score"] if answers else 0.0
    none = {"text": "", "start": -1, "end": -1, "score": null_score}
    if null_threshold is None:
        best = answers[0] if answers else none
    else:
        best = answers[0] if answers and difference <= null_threshold else none
        answers = sorted([*answers, none], key=lambda answer: -answer["score"])
    probabilities = softmax(np.array([answer["score"] for answer in answers or [none]]))
    return {
        "text": best["text"],
        "start": best["start"],
        "end": best["end"],
        "null_difference": difference,
        "n_best": [
            answer | {"probability": float(probability)}
            for answer, probability in zip(answers, probabilities, strict=False)
        ],
    }


def _spans(window: WindowScores, n_best: int, max_pieces: int) -> list[_Span]:
    """The spans of one window that are possible, of its most likely beginnings and ends."""
    in_text = np.asarray(window.piece) >= 0
    firsts = _largest(window.start_logits, in_text & np.asarray(window.has_most_context, bool), n_best)
    lasts = _largest(window.end_logits, in_text, n_best)
    return [
        _Span(
            float(window.start_logits[first] + window.end_logits[last]),
            int(window.piece[first]),
            int(window.piece[last]),
        )
        for first in firsts
        for last in lasts
        if first <= last < first + max_pieces
    ]


def _largest(logits: np.ndarray, allowed: np.ndarray, count: int) -> np.ndarray:
    """The places of the largest of those allowed, the largest first."""
    places = np.flatnonzero(allowed)
    return places[np.argsort(-np.asarray(logits)[places], kind="stable")][:count]
