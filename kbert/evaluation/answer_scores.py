"""Exact match and F1 of answers in English: SQuAD 1.1 and SQuAD 2.0."""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")

#: The gold answers of each question by its id, in the order of the file; none = the question has no answer.
References = Mapping[str, Sequence[str]]


def squad_scores(references: References, predictions: Mapping[str, str]) -> dict[str, float]:
    """The measure of SQuAD 1.1: every question has an answer, and the best of its gold answers counts.

    Args:
        references: Gold answers.
        predictions: The answer to each question; a missing one counts 0.

    Returns:
        `exact_match` and `f1`, 0 to 100, and `total`, the questions.

    Example:
        >>> squad_scores({"q": ["Denver Broncos"]}, {"q": "The Denver Broncos."})
        {'exact_match': 100.0, 'f1': 100.0, 'total': 1}

    Reference:
        Rajpurkar et al., 2016; the official evaluate-v1.1.py. An answer of nothing but articles and
        punctuation can match exactly and yet have an F1 of 0, as there.
    """
    exact, f1 = zip(*squad_question_scores(references, predictions).values(), strict=True)
    return {
        "exact_match": 100.0 * sum(exact) / len(exact),
        "f1": 100.0 * sum(f1) / len(f1),
        "total": len(exact),
    }


def squad_question_scores(
    references: References, predictions: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """Exact match and F1 of each question, 0 to 1, by the rules of `squad_scores`."""
    return {
        key: _best(answers, predictions[key], empty_f1=0.0) if key in predictions else (0.0, 0.0)
        for key, answers in references.items()
    }


def squad_v2_scores(
    references: References,
    predictions: Mapping[str, str],
    null_scores: Mapping[str, float] | None = None,
    null_threshold: float = 0.0,
) -> dict[str, float]:
    """The measure of SQuAD 2.0, where a question may have no answer and "" is the right one then.

    Args:
        references: Gold answers.
        predictions: The answer to each question, or "".
        null_scores: Of each question with a prediction, how sure the model is that there is no answer, on
            any scale; None leaves the predictions as they are.
        null_threshold: A question with a larger null score counts as answered by "".

    Returns:
        `exact`, `f1` (0 to 100) and `total`; with the prefixes `HasAns_` and `NoAns_` the same for the
        questions with and without an answer, where there are any.

    Reference:
        Rajpurkar, Jia and Liang, 2018; the official evaluate-v2.0.py. Departure: a question without a
        prediction counts 0; there it is left out of the total.
    """
    scores = squad_v2_question_scores(references, predictions)
    if null_scores is not None:
        for key, answers in references.items():
            if key in predictions and null_scores[key] > null_threshold:
                right = float(not answers)
                scores[key] = (right, right)
    table = _means(list(scores.values()), "")
    for prefix, has_answer in (("HasAns_", True), ("NoAns_", False)):
        part = [scores[key] for key, answers in references.items() if bool(answers) == has_answer]
        table |= _means(part, prefix) if part else {}
    return table


def squad_v2_question_scores(
    references: References, predictions: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """Exact match and F1 of each question, 0 to 1, by the rules of `squad_v2_scores`."""
    scores = {}
    for key, answers in references.items():
        golds = [answer for answer in answers if normalize_answer(answer)] or [""]
        scores[key] = _best(golds, predictions[key], empty_f1=1.0) if key in predictions else (0.0, 0.0)
    return scores


def best_null_threshold(
    references: References,
    predictions: Mapping[str, str],
    null_scores: Mapping[str, float],
    measure: str = "f1",
) -> tuple[float, float]:
    """The threshold for null scores with the best result; choose it on dev data and keep it for others.

    Args:
        references: Gold answers.
        predictions: The best answer to each question, whatever its null score.
        null_scores: As for `squad_v2_scores`.
        measure: `f1` or `exact`.

    Returns:
        The threshold, and what the measure is with it, 0 to 100. If it is best to answer nothing at all:
        0, or less where null scores are less.

    Reference:
        The official evaluate-v2.0.py, `find_best_thresh`. Questions of equal null score are told apart by
        their order, so the best value may then be one that no threshold gives.
    """
    scores = squad_v2_question_scores(references, predictions)
    column = {"exact": 0, "f1": 1}[measure]
    answered = [key for key in null_scores if key in predictions and key in references]
    total = best = float(sum(not references[key] for key in answered))
    threshold = min(0.0, float(np.nextafter(min(null_scores.values()), -np.inf)))
    for key in sorted(answered, key=null_scores.__getitem__):
        # With a threshold of this question's null score, its prediction begins to count.
        if references[key]:
            total += scores[key][column]
        elif predictions[key]:
            total -= 1
        if total > best:
            best, threshold = total, null_scores[key]
    return threshold, 100.0 * best / len(scores)


def normalize_answer(text: str) -> str:
    """In lower case, without ASCII punctuation and articles, words apart by single spaces."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _best(golds: Sequence[str], prediction: str, empty_f1: float) -> tuple[float, float]:
    """The best exact match and the best F1, which may be with different gold answers."""
    prediction = normalize_answer(prediction)
    golds = [normalize_answer(gold) for gold in golds]
    f1 = max(_f1(gold.split(), prediction.split(), empty_f1) for gold in golds)
    return float(prediction in golds), f1


def _f1(gold: list[str], prediction: list[str], empty_f1: float) -> float:
    if not gold and not prediction:
        return empty_f1
    shared = sum((Counter(gold) & Counter(prediction)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(prediction), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def _means(scores: list[tuple[float, float]], prefix: str) -> dict[str, float]:
    exact, f1 = zip(*scores, strict=True)
    return {
        f"{prefix}exact": 100.0 * sum(exact) / len(scores),
        f"{prefix}f1": 100.0 * sum(f1) / len(scores),
        f"{prefix}total": len(scores),
    }
