"""Reads labelled texts: classes, several labels at once, and scores."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from absl import logging

from kbert.data.examples import Example
from kbert.data.labelled_rows import Column, read_columns, warn_of_unsaid
from kbert.errors import InputError

#: Customary names of columns.
TEXT_COLUMNS = (
    *("text", ("question", "sentence"), "sentence", "text_a", "sentence1"),
    *("#1 String", "premise", "question1"),
)
PAIR_COLUMNS = (
    *(("sentence", "question"), "text_pair", "text_b", "sentence2"),
    *("#2 String", "hypothesis", "hypo", "question2"),
)
_LABEL_COLUMNS = ("label", "Quality", "labels", "class")
SCORE_COLUMNS = ("score", "label", "similarity", "similarity_score")

#: How a list of texts begins, in JSON or in Python.
_LIST_OF_TEXTS = re.compile(r"""\[\s*['"]""")


@dataclass(frozen=True)
class LabelSetExample:
    """A text or pair with the labels that apply to it, none, one or several.

    Args:
        text: The first or only text.
        pair: The second text, or None.
        labels: Each once, in the order of the file.
        source: File and line.
    """

    text: str
    pair: str | None
    labels: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class ScoredExample:
    """A text or pair with a number, such as how similar the two are.

    Args:
        text: The first or only text.
        pair: The second text, or None.
        score: In the units of the file; None where it has none.
        source: File and line.
    """

    text: str
    pair: str | None
    score: float | None
    source: str


def read_examples(
    source: str,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    columns: Sequence[str] | None = None,
    no_label: str = "-",
    split: str = "train",
    data_dir: str | None = None,
    labelled: bool = True,
) -> list[Example]:
    """All rows of a file or dataset that have one label each.

    The extension tells the form: `.tsv` (unquoted, as GLUE's files are: a quotation mark is an ordinary
    character), `.csv` (quoted), `.jsonl` or `.json` (one object a line), all UTF-8, with or without byte
    order mark; or `tfds:NAME`, read with `tensorflow_datasets`, such as `tfds:glue/sst2`.

    Args:
        source: Path or `tfds:` name.
        text_column: Name of the column with the text; None looks for a customary one, such as `text` or
            `sentence`.
        pair_column: The second text; None looks for a customary name, `""` reads single texts.
        label_column: The label; None looks for a customary name.
        columns: Names of all columns of a TSV or CSV file without a header line, such as CoLA's:
            `["source", "label", "star", "sentence"]`.
        no_label: A label that says that people did not agree on one, as in SNLI and OCNLI. Such rows are
            left out where labels are read, and their number is logged; `""` keeps them.
        split: Of a `tfds:` dataset.
        data_dir: Where `tensorflow_datasets` keeps its data; None is its default.
        labelled: Whether every row must have a label.

    Raises:
        InputError: The file is missing, empty or malformed, or has no such column.
    """
    wanted = [
        *_texts(text_column, pair_column),
        Column("label", label_column, _LABEL_COLUMNS, required=labelled, may_vary=not labelled),
    ]
    examples = []
    rows = _answered(source, wanted, no_label if labelled else "", columns, split, data_dir)
    for place, (text, pair, label) in rows:
        if labelled and not (_text(label) or "").strip():
            raise InputError(f"{place}: the label is empty; every row needs one")
        if labelled and isinstance(label, list | dict):
            raise InputError(f"{place}: the label is {label!r}; expected one, or --task=multi_label")
        examples.append(Example(str(text), _text(pair), _text(label), place))
    return examples


def _answered(
    source: str,
    wanted: Sequence[Column],
    no_label: str,
    names: Sequence[str] | None,
    split: str,
    data_dir: str | None,
) -> Iterator[tuple[str, list]]:
    """The rows of `read_columns` without those whose answer, in the last column, says that there is none.

    Raises:
        InputError: All are such.
    """
    kept, left_out = 0, []
    for place, values in read_columns(source, wanted, names=names, split=split, data_dir=data_dir):
        if no_label and _text(values[-1]) == no_label:
            left_out.append(place)
        else:
            kept += 1
            yield place, values
    if left_out:
        logging.warning(
            "%s: %d of %d rows have the label %r, which means none, and are left out; the first is %s; "
            "--no_label= keeps them",
            *(source, len(left_out), len(left_out) + kept, no_label, left_out[0]),
        )
    if not kept:
        raise InputError(f"{source}: no row has a label; all are {no_label!r}; --no_label= keeps them")


def read_label_sets(
    source: str,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    columns: Sequence[str] | None = None,
    no_label: str = "-",
    separator: str = ",",
    split: str = "train",
    data_dir: str | None = None,
    labelled: bool = True,
) -> list[LabelSetExample]:
    """All rows of a file in which several labels may apply to a text.

    Args:
        source: As for `read_examples`.
        text_column: As for `read_examples`.
        pair_column: As for `read_examples`.
        label_column: The labels: a list in JSON, in a cell of a table too, or a string with `separator`
            between them. Empty: none.
        columns: As for `read_examples`.
        no_label: As for `read_examples`; it is all that such a row has in the place of labels.
        separator: Between labels; white space around it does not count.
        split: As for `read_examples`.
        data_dir: As for `read_examples`.
        labelled: Whether the file must have a column of labels; without one, no label applies, nor where
            something else stands in it.

    Raises:
        InputError: As for `read_examples`.
    """
    customary = ("labels", *_LABEL_COLUMNS)
    wanted = [
        *_texts(text_column, pair_column),
        Column("label", label_column, customary, required=labelled, may_vary=not labelled),
    ]
    if not separator:
        raise InputError("--separator= is empty; expected what stands between labels, such as a comma")
    examples, unsaid = [], []
    rows = _answered(source, wanted, no_label if labelled else "", columns, split, data_dir)
    for place, (text, pair, labels) in rows:
        unsaid += [place] if labels is None else []
        try:
            parts = _label_parts(labels, separator, place)
        except InputError:
            if labelled:
                raise
            parts = []
        labels = dict.fromkeys(part for part in parts if part)
        examples.append(LabelSetExample(str(text), _text(pair), tuple(labels), place))
    if labelled:
        warn_of_unsaid(source, unsaid, "labels")
    return examples


def _label_parts(labels: Any, separator: str, place: str) -> list[str]:
    """The labels of a cell: of a list, in JSON or as its text, or of a string with separators."""
    if isinstance(labels, dict):
        raise InputError(f"{place}: the labels are {labels!r}; expected a list of those that apply")
    if not isinstance(labels, list):
        parts = [part.strip() for part in (_text(labels) or "").split(separator)]
        if not parts[0].startswith("["):
            return parts
        try:
            labels = json.loads(labels)
        except (ValueError, RecursionError):
            # A label may be "[sic]"; what has its brackets in two parts, or quoted texts in them, is a list.
            is_list = any(part.count("[") != part.count("]") for part in parts)
            if is_list or _LIST_OF_TEXTS.match(parts[0]):
                raise InputError(
                    f"{place}: the labels are {labels!r}; expected a JSON list, with double quotation marks, "
                    f"or labels with {separator!r} between them"
                ) from None
            return parts
    for label in labels:
        if not isinstance(label, str | int | float):
            raise InputError(f"{place}: one of the labels is {json.dumps(label)}; expected texts")
    return [str(label).strip() for label in labels]


def read_scored_examples(
    source: str,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    score_column: str | None = None,
    columns: Sequence[str] | None = None,
    no_label: str = "-",
    split: str = "train",
    data_dir: str | None = None,
    labelled: bool = True,
) -> list[ScoredExample]:
    """All rows of a file with a number to predict, such as STS-B's.

    Args:
        source: As for `read_examples`.
        text_column: As for `read_examples`.
        pair_column: As for `read_examples`.
        score_column: The number; None looks for a customary name, such as `score`.
        columns: As for `read_examples`.
        no_label: As for `read_examples`, in the place of a score.
        split: As for `read_examples`.
        data_dir: As for `read_examples`.
        labelled: Whether every row must have a score; if not, what is no number is none.

    Raises:
        InputError: As for `read_examples`; or a score is no finite number.
    """
    wanted = [
        *_texts(text_column, pair_column),
        Column("score", score_column, SCORE_COLUMNS, required=labelled, may_vary=not labelled),
    ]
    rows = _answered(source, wanted, no_label if labelled else "", columns, split, data_dir)
    return [
        ScoredExample(str(text), _text(pair), _number(score, place, labelled), place)
        for place, (text, pair, score) in rows
    ]


def _number(score: Any, place: str, labelled: bool) -> float | None:
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if math.isfinite(number):
        return number
    if labelled:
        raise InputError(f"{place}: the score is {score!r}; expected a number, such as 3.5")
    return None


def row_ids(source: str, columns: Sequence[str] | None = None) -> list | None:
    """What each row of a file has as its `id`, as the test files of CLUE do; None where no row has one.

    Args:
        source: Path of the file.
        columns: As for `read_examples`.

    Raises:
        InputError: As for `read_examples`; or some rows have one, and others have none.
    """
    column = Column("id", None, ("id",), required=False, may_vary=True)
    rows = [(place, value) for place, (value,) in read_columns(source, [column], names=columns, told=False)]
    without = [place for place, value in rows if value in (None, "")]
    if len(without) == len(rows):
        return None
    if without:
        raise InputError(f"{without[0]}: has no 'id', which other rows have; expected one in each row")
    # In a table all is text; in JSON an id stays what it is.
    of_table = not source.lower().endswith((".json", ".jsonl"))
    return [int(value) if of_table and value.isdecimal() else value for _, value in rows]


def _texts(text_column: str | None, pair_column: str | None) -> list[Column]:
    return [
        Column("text", text_column, TEXT_COLUMNS),
        Column("pair", pair_column, PAIR_COLUMNS, required=False),
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
