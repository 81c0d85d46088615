"""Predictions as the benchmarks want them handed in. Each function gives the text of a file, or its lines."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kbert.errors import InputError
from kbert.evaluation.decoding import sigmoid

_NLI = ("entailment", "neutral", "contradiction")

#: Name of the file in GLUE's archive, and the labels that it may hold; none of STS-B, which has scores.
GLUE_FILES = {
    "CoLA": ("0", "1"),
    "SST-2": ("0", "1"),
    "MRPC": ("0", "1"),
    "QQP": ("0", "1"),
    "STS-B": (),
    "MNLI-m": _NLI,
    "MNLI-mm": _NLI,
    "QNLI": ("entailment", "not_entailment"),
    "RTE": ("entailment", "not_entailment"),
    "WNLI": ("0", "1"),
    "AX": _NLI,
}


def glue_labels(name: str, labels: Sequence[str]) -> str:
    r"""A file of GLUE for a task with labels: a header, then number of the row from 0 and label.

    Args:
        name: Of the file without `.tsv`, one of `GLUE_FILES`.
        labels: Predicted, in the order of the test file.

    Raises:
        InputError: There is no such file, or GLUE does not know a label.

    Example:
        >>> glue_labels("RTE", ["entailment", "not_entailment"])
        'index\tprediction\n0\tentailment\n1\tnot_entailment\n'

    Reference:
        gluebenchmark.com, FAQ.
    """
    allowed = _labels_of(name)
    for row, label in enumerate(labels):
        if label not in allowed:
            raise InputError(
                f"{name}.tsv: the label of row {row} is {label!r}; GLUE expects {' or '.join(allowed)}; "
                f"fine-tune with GLUE's own labels"
            )
    return _numbered(labels)


def glue_scores(scores: Sequence[float]) -> str:
    r"""GLUE's `STS-B.tsv`: as `glue_labels`, with scores of 3 decimals, those out of 0 to 5 put to its ends.

    Example:
        >>> glue_scores([2.71828, 5.2])
        'index\tprediction\n0\t2.718\n1\t5.000\n'
    """
    return _numbered([f"{min(max(score, 0.0), 5.0):.3f}" for score in scores])


def clue_labels(labels: Sequence[str], ids: Iterable[Any] | None = None) -> str:
    r"""A file of CLUE, such as `ocnli_50k_predict.json`: a JSON object with id and label in each line.

    Args:
        labels: Predicted, in the order of the test file.
        ids: Of the rows; None counts from 0.

    Example:
        >>> clue_labels(["neutral"])
        '{"id": 0, "label": "neutral"}\n'

    Reference:
        github.com/CLUEbenchmark/CLUE, README of the submissions.
    """
    numbers = range(len(labels)) if ids is None else ids
    rows = zip(numbers, labels, strict=True)
    return "".join(json_lines({"id": number, "label": label} for number, label in rows))


def check_submission(name: str, task: str, labels: Sequence[str] = ()) -> None:
    """Makes sure that a model can fill a file of GLUE or CLUE, before it answers.

    Args:
        name: As for `benchmark_file`.
        task: Name of the model's task.
        labels: That it knows.

    Raises:
        InputError: There is no such file, it holds nothing that this task says, or GLUE has not these labels.
    """
    if name != "CLUE":
        _check_known(name)
    of_scores = name != "CLUE" and not GLUE_FILES[name]
    needed = "regression" if of_scores else "classification"
    if task != needed:
        raise InputError(f"--submission={name}: is for --task={needed}; the model is of {task}")
    # A regression from Hugging Face has a name for its number, which no file holds.
    allowed = labels if name == "CLUE" or of_scores else GLUE_FILES[name]
    foreign = [label for label in labels if label not in allowed]
    if foreign:
        raise InputError(
            f"--submission={name}: GLUE expects {' or '.join(allowed)}, but a label of the model is "
            f"{foreign[0]!r}; fine-tune with GLUE's own labels"
        )


def benchmark_file(
    name: str, task: str, answers: Sequence[Mapping[str, Any]], ids: Sequence[Any] | None = None
) -> tuple[str, str]:
    r"""The file of GLUE or CLUE for the answers of a task.

    Args:
        name: A file of GLUE without `.tsv`, or `CLUE`.
        task: Name of the task that answered.
        answers: Of all rows of the test file, in their order.
        ids: Of these rows in a file of CLUE; None counts from 0, as in all files of GLUE.

    Returns:
        Name of the file, and its text.

    Raises:
        InputError: There is no such file, or it holds nothing that this task says.

    Example:
        >>> benchmark_file("RTE", "classification", [{"label": "entailment"}])
        ('RTE.tsv', 'index\tprediction\n0\tentailment\n')
    """
    check_submission(name, task)
    values = [answer["score" if task == "regression" else "label"] for answer in answers]
    if name == "CLUE":
        return "clue_predict.json", clue_labels(values, ids)
    return f"{name}.tsv", glue_scores(values) if task == "regression" else glue_labels(name, values)


def answers_json(answers: Mapping[str, str]) -> str:
    """`predictions.json` of SQuAD 1.1 and 2.0, CMRC 2018 and DRCD: id of the question -> answer.

    Args:
        answers: `""` says that there is no answer.

    Example:
        >>> print(answers_json({"Q1": "北京"}))
        {
         "Q1": "北京"
        }

    Reference:
        The evaluation scripts of the four read exactly this.
    """
    return json.dumps(dict(answers), ensure_ascii=False, indent=1)


def null_odds_json(null_differences: Mapping[str, float]) -> str:
    """`null_odds.json` of SQuAD 2.0, what its script calls na-probs: id -> how surely there is no answer.

    They are written as probabilities, the sigmoid of the differences, in the same order. The script takes
    each question with more than its `--na-prob-thresh`, 1.0 by default, for one without an answer:
    differences of scores would take answers away that `predictions.json` has.

    Args:
        null_differences: Of `decode_answer`.

    Raises:
        ValueError: A value is no number.
    """
    odds = sigmoid(np.array(list(null_differences.values()))).tolist()
    return json.dumps(dict(zip(null_differences, odds, strict=True)), indent=1, allow_nan=False)


def conll_columns(sentences: Iterable[Sequence[Sequence[str]]]) -> str:
    """What `conlleval.pl` reads: columns parted by a space, a word a line, an empty line after a sentence.

    Args:
        sentences: Each a list of columns that are equally long: words, right tags, predicted tags; without
            the right ones where they are not known.

    Raises:
        ValueError: The columns of a sentence are not equally long.

    Example:
        >>> print(conll_columns([[["In", "Bonn"], ["O", "B-LOC"], ["O", "B-LOC"]]]), end="")
        In O O
        Bonn B-LOC B-LOC
        <BLANKLINE>

    Reference:
        Tjong Kim Sang, 2000, conlleval.pl. What is white within a word becomes `_`, as it would part columns.
    """
    lines = []
    for columns in sentences:
        lines += [" ".join(map(_one_cell, cells)) for cells in zip(*columns, strict=True)]
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """`predictions.jsonl`, line by line: a JSON object each, whatever the task.

    Raises:
        ValueError: A value is no number, or none of JSON's.
    """
    return (json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _check_known(name: str) -> None:
    if name not in GLUE_FILES:
        raise InputError(f"GLUE has no {name!r}; expected one of {', '.join(GLUE_FILES)}, or CLUE")


def _labels_of(name: str) -> tuple[str, ...]:
    _check_known(name)
    if not GLUE_FILES[name]:
        raise InputError(f"{name} of GLUE has scores, no labels; fine-tune with --task=regression")
    return GLUE_FILES[name]


def _numbered(predictions: Sequence[str]) -> str:
    lines = [f"{row}\t{prediction}\n" for row, prediction in enumerate(predictions)]
    return "".join(["index\tprediction\n", *lines])


def _one_cell(text: str) -> str:
    return re.sub(r"\s+", "_", text) or "_"
