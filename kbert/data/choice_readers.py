"""Reads multiple choice: a question, and answers of which one is right."""

from dataclasses import dataclass
from typing import Any

from kbert.data.labelled_rows import Column, read_columns, warn_of_unsaid
from kbert.errors import InputError


@dataclass(frozen=True)
class ChoiceExample:
    """One question with its choices.

    Args:
        text: What the choices are about: a passage, the beginning of a story, or the question itself.
        question: On the passage, where there are both, else `""`.
        choices: At least two.
        label: Number of the right one, from 0; None where the file does not say.
        source: File and line.
    """

    text: str
    question: str
    choices: tuple[str, ...]
    label: int | None
    source: str


def read_choices(
    source: str,
    *,
    context_column: str | None = None,
    label_column: str | None = None,
    labelled: bool = True,
    split: str = "train",
    data_dir: str | None = None,
) -> list[ChoiceExample]:
    """All rows of a JSON lines file, or of a dataset, of multiple choice.

    Each object has `context` (or `text`, `passage`, `article`), `question`, or both; `choices` (or
    `options`, `endings`), a list of texts; and `label` (or `answer`): the number of the right choice, from
    0, its letter, A being the first, or the choice itself.

    Args:
        source: Path of the file, or `tfds:` name.
        context_column: What the contexts are called, if none of the above.
        label_column: What the labels are called, if none of the above.
        labelled: Whether every row must have a label; if not, none is read: test files have -1 or the like.
        split: Of a `tfds:` dataset.
        data_dir: Where `tensorflow_datasets` keeps its data; None is its default.

    Raises:
        InputError: The file is missing or malformed; a row has fewer than two choices, or a label that is
            none of them.
    """
    wanted = [
        Column(
            "context",
            context_column,
            ("context", "text", "passage", "article"),
            required=False,
            may_vary=True,
        ),
        Column("question", None, ("question",), required=False, may_vary=True),
        Column("choices", None, ("choices", "options", "endings")),
        Column("label", label_column if labelled else "", ("label", "answer"), required=labelled),
    ]
    examples, unsaid = [], []
    for place, (context, question, choices, label) in read_columns(
        source, wanted, split=split, data_dir=data_dir
    ):
        if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) for c in choices):
            raise InputError(f"{place}: the choices are {choices!r}; expected a list of 2 texts or more")
        unsaid += [place] if context is None else []
        texts = [text for text in (context, question) if text]
        if not texts:
            raise InputError(f"{place}: the row has neither 'context' nor 'question'; expected one or both")
        for text in texts:
            if not isinstance(text, str):
                raise InputError(f"{place}: context or question is {text!r}; expected a text")
        if label is None and labelled:
            raise InputError(f"{place}: the row has no label; expected the number of the right choice")
        number = None if label is None else _number(label, choices, place)
        examples.append(ChoiceExample(texts[0], (texts + [""])[1], tuple(choices), number, place))
    if len(unsaid) < len(examples):
        warn_of_unsaid(source, unsaid, "passage", none="''")
    return examples


def _number(label: Any, choices: list[str], place: str) -> int:
    """A choice itself goes before its letter, and its letter before its number."""
    if label in choices:
        return choices.index(label)
    text = str(label).strip()
    if len(text) == 1 and "A" <= text.upper() <= "Z":
        number = ord(text.upper()) - ord("A")
    else:
        number = int(text) if text.isdecimal() else -1
    if not 0 <= number < len(choices):
        last = len(choices) - 1
        raise InputError(
            f"{place}: the label is {label!r}; expected 0 to {last}, A to {chr(ord('A') + last)}, or one of "
            f"the choices"
        )
    return number
