"""`TextTask`: what the tasks on texts and pairs have in common, among it what becomes of long texts."""

import abc
import heapq
from collections.abc import Mapping, Sequence

import numpy as np

from kbert import data
from kbert.data import EncodedRows
from kbert.errors import InputError
from kbert.evaluation import POOLINGS, MarkedText, plain_answer
from kbert.tasks.task import Columns, Task, owners

_MANY_LABELS, _MOST_PROBABLE = 100, 20


class TextTask(Task):
    """One answer for a text or a pair of texts; the base class of such tasks.

    A text that is longer than `max_length` loses its end, or, with `long_text="windows"`, is read in parts:
    each window is a training row with the answer of the whole text, and what the model says of the windows
    is pooled into one answer. `stride` is the pieces from the beginning of one window to that of the next,
    None being half of what a window holds; `window_pooling` is one of `kbert.evaluation.POOLINGS`.
    """

    options = {"long_text": "truncate", "stride": None, "window_pooling": "mean"}
    kept_of_columns = ("no_label",)

    def __init__(self, spec, tokenizer):
        super().__init__(spec, tokenizer)
        _check_option(self.spec, "long_text", ("truncate", "windows"))
        _check_option(self.spec, "window_pooling", POOLINGS)
        if self.in_windows and self.spec["pair"]:
            raise InputError(
                "long_text='windows' is for single texts, but here are pairs; with 'truncate' the longer "
                "text of a pair that is too long loses its end"
            )

    @classmethod
    def learn(cls, rows, tokenizer, max_length, best_score=None, **options):
        task = super().learn(rows, tokenizer, max_length, best_score, **options)
        check_windows_wanted(task.spec["long_text"], options)
        return task

    @property
    def num_segments(self):
        return 2 if self.spec["pair"] else 1

    @property
    def in_windows(self) -> bool:
        """Whether long texts are read in parts."""
        return self.spec["long_text"] == "windows"

    @abc.abstractmethod
    def targets(self, rows: Sequence) -> dict[str, np.ndarray]:
        """What the model is to learn of each row of the file.

        Raises:
            InputError: A label was not seen in training.
        """

    def encode(self, rows, labelled=True):
        check_paired(rows, self.spec["pair"])
        texts, max_length = [row.text for row in rows], self.spec["max_length"]
        if self.in_windows:
            stride = self.spec["stride"]
            stride = max(1, (max_length - 2) // 2) if stride is None else stride
            inputs, owner = data.encode_windows(texts, self.tokenizer, max_length, stride)
            num_truncated = 0
        else:
            pairs = [row.pair for row in rows] if self.spec["pair"] else None
            inputs, truncated = data.encode_texts(texts, pairs, self.tokenizer, max_length)
            owner, num_truncated = owners(len(rows)), int(truncated.sum())
        targets = self.targets(rows) if labelled else {}
        if self.in_windows:
            targets = {name: values[owner] for name, values in targets.items()}
        return EncodedRows(inputs, targets, owner, num_truncated, {})


def read_arguments(kind: type[TextTask], columns: Columns) -> dict:
    """What the readers of texts and pairs take of `Columns`, but for the column of the answer.

    Raises:
        InputError: The task does not look at one of them.
    """
    columns.refuse_others(kind.name, ("text", "pair", "label", "names", *kind.kept_of_columns))
    return {
        "text_column": columns.text,
        "pair_column": columns.pair,
        "columns": columns.names,
        "no_label": columns.no_label,
        "split": columns.split,
    }


def prediction_of(row, gold: Mapping, answer: Mapping) -> dict:
    """A line of `predictions.jsonl`: the row's place and texts, what is right, and the answer.

    Of more than 100 labels it has the 20 most probable.
    """
    pair, said = {} if row.pair is None else {"text_pair": row.pair}, plain_answer(answer)
    likely = said.get("probabilities", {})
    if len(likely) > _MANY_LABELS:
        best = heapq.nlargest(_MOST_PROBABLE, likely, key=likely.__getitem__)
        said["probabilities"] = {label: likely[label] for label in best}
    return {"source": row.source, "text": row.text, **pair, **gold, **said}


def check_paired(rows: Sequence, paired: bool) -> None:
    """Refuses pairs for a model of single texts, and the other way round.

    Raises:
        InputError: With the remedy.
    """
    if not rows or (rows[0].pair is not None) == paired:
        return
    if paired:
        raise InputError(
            f"{rows[0].source}: the model reads pairs of texts, but here is no second text; set --pair_column"
        )
    raise InputError(
        f"{rows[0].source}: the model reads single texts, but here are pairs; --pair_column= reads the first "
        f"texts alone (if it came from Hugging Face and is for pairs, convert it with --pair)"
    )


def check_windows_wanted(long_text: str, options: Mapping) -> None:
    """Refuses settings of windows where there are none: whoever gave them expects that they do something.

    Args:
        long_text: What becomes of long texts.
        options: That were given; None is not.

    Raises:
        InputError: Texts are cut, but one of the settings is given.
    """
    for name in ("stride", "window_pooling"):
        if long_text == "truncate" and options.get(name) is not None:
            raise InputError(f"--{name} says nothing to --long_text=truncate; add --long_text=windows")


def text_rows(
    texts: Sequence[str], pairs: Sequence[str] | None, paired: bool
) -> list[tuple[str, str | None]]:
    """(text, second text or None) of what a user gives from Python.

    Raises:
        InputError: Pairs are missing or too many, or there are not as many as texts.
    """
    if (pairs is not None) != paired:
        kind = "pairs of texts" if paired else "single texts"
        raise InputError(f"this model was fine-tuned on {kind}; {'no ' if pairs is None else ''}pairs came")
    if pairs is not None and len(pairs) != len(texts):
        raise InputError(f"{len(texts)} texts and {len(pairs)} pairs came; expected as many of both")
    for side in (texts,) if pairs is None else (texts, pairs):
        check_texts(side)
    return [(text, None) for text in texts] if pairs is None else list(zip(texts, pairs, strict=True))


def check_texts(texts: Sequence) -> None:
    """Refuses what is no text, such as a missing value of a table.

    Raises:
        InputError: It names the first that is none, from 0.
    """
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {number} is {text!r}; expected a string")


def _check_option(spec: dict, name: str, choices: Sequence[str]) -> None:
    if spec[name] not in choices:
        raise InputError(f"{name}={spec[name]!r}; expected {' or '.join(map(repr, choices))}")


def marked_texts(row) -> list[MarkedText]:
    """The texts of a row as a report shows them."""
    if row.pair is None:
        return [MarkedText(row.text)]
    return [MarkedText(row.text, "first"), MarkedText(row.pair, "second")]
