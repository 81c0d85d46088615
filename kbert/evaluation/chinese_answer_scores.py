"""Exact match and F1 of answers in Chinese: CMRC 2018 and DRCD."""

import re
from collections.abc import Mapping, Sequence

from kbert.evaluation.answer_scores import References
from kbert.evaluation.treebank_words import treebank_words

#: What the measure leaves out of answers. The official list also has `……`, two characters, which no single
#: one ever equals: an ellipsis stays.
_LEFT_OUT = re.compile(r"[-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』]")
_CHINESE = re.compile("[\u4e00-\u9fa5]")
_CHINESE_OR_RUN = re.compile("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")


def cmrc_scores(references: References, predictions: Mapping[str, str]) -> dict[str, float]:
    """The measure of CMRC 2018: of what answers have in common, the longest run in one piece counts.

    DRCD, for which no script was published, is scored by the same rules, as are the figures of Cui et al.
    for BERT and BERT-wwm on it.

    Args:
        references: The gold answers of each question by its id.
        predictions: The answer to each question; a missing one counts 0.

    Returns:
        `em` and `f1`, 0 to 100; `average` of the two; `total`, the questions; `skip`, those without a
        prediction.

    Example:
        >>> cmrc_scores({"q": ["《红楼梦》"]}, {"q": "红楼梦"})["em"]
        100.0

    Reference:
        Cui et al., 2019, "A Span-Extraction Dataset for Chinese Machine Reading Comprehension"; the official
        cmrc2018_evaluate.py. Departure: Latin text within an answer is not cut into sentences before it is
        cut into words, so a full stop followed by white space stays with its word.
    """
    em, f1 = zip(*cmrc_question_scores(references, predictions).values(), strict=True)
    em, f1 = 100.0 * sum(em) / len(em), 100.0 * sum(f1) / len(f1)
    return {
        "em": em,
        "f1": f1,
        "average": (em + f1) * 0.5,
        "total": len(references),
        "skip": sum(key not in predictions for key in references),
    }


def cmrc_question_scores(
    references: References, predictions: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """Exact match and F1 of each question, 0 to 1, by the rules of `cmrc_scores`."""
    scores = {}
    for key, answers in references.items():
        prediction = _stripped(predictions.get(key, ""))
        golds = [_stripped(answer) for answer in answers]
        f1 = max(_f1(segments(gold), segments(prediction)) for gold in golds)
        scores[key] = (float(prediction in golds), f1) if key in predictions else (0.0, 0.0)
    return scores


def segments(text: str) -> list[str]:
    """The units that are compared: Chinese characters, and words of what stands between them.

    Example:
        >>> segments("iphone 6s手机")
        ['iphone', '6s', '手', '机']
    """
    units = []
    for part in _CHINESE_OR_RUN.findall(text):
        units += [part] if _CHINESE.match(part) else treebank_words(part)
    return units


def _stripped(text: str) -> str:
    return _LEFT_OUT.sub("", text.lower().strip())


def _f1(gold: Sequence[str], prediction: Sequence[str]) -> float:
    common = _longest_common_run(gold, prediction)
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def _longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    longest = 0
    # runs[j]: how long the common run is that ends with this unit and unit j - 1 of `second`.
    runs = [0] * (len(second) + 1)
    for unit in first:
        runs = [0, *(runs[j] + 1 if unit == other else 0 for j, other in enumerate(second))]
        longest = max(longest, *runs)
    return longest
