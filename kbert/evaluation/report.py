"""`Report`: what a run leaves for people to read and for programs to compare."""

import dataclasses
import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kbert.evaluation.report_page import report_page
from kbert.version import __version__
from kbert.whole_files import write_whole

#: How many wrong answers a report shows.
MOST_ERRORS = 50
#: How much of each of their texts, and how much of that before the first mistake.
_MOST_CHARACTERS, _BEFORE = 20_000, 1000


@dataclasses.dataclass(frozen=True)
class Score:
    """A measure and how far to trust it.

    Args:
        name: Such as `accuracy`.
        value: Of all rows.
        low: The lower end of its confidence interval; None where there is none.
        high: The upper end.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Mark:
    """A part of a text that means something.

    Args:
        begin: Its first character.
        end: The character behind it.
        label: Such as `PER`; may be empty.
        role: `gold`, what is right, or `predicted`. The same part with the same label in both roles is
            shown as found.
    """

    begin: int
    end: int
    label: str
    role: str


@dataclasses.dataclass(frozen=True)
class MarkedText:
    """One text of a row.

    Args:
        text: As it stands in the file.
        name: What it is, such as `question`; may be empty where a row has one text only.
        marks: In any order, also one over another.
    """

    text: str
    name: str = ""
    marks: Sequence[Mark] = ()


@dataclasses.dataclass(frozen=True)
class WrongAnswer:
    """A row that was answered wrongly.

    Args:
        source: Where it stands, as `dev.tsv:17`.
        texts: What was to be answered.
        gold: The right answer in words; empty where the marks say it all.
        predicted: What was answered instead.
        weight: How bad it is, the larger the worse; `Report.errors_by` says what of.
    """

    source: str
    texts: Sequence[MarkedText]
    gold: str
    predicted: str
    weight: float


@dataclasses.dataclass(frozen=True)
class Report:
    """All that is told of a run. What a task does not have stays empty, and its section is left out.

    The fields are the keys of `report.json`; there are also `version`, that of kbert, `finished`, in UTC,
    and `num_errors`. What is no number (NaN, infinity) is null there.

    Args:
        title: Heading of the page.
        task: Such as `classification`.
        model: Its folder.
        data: What for (`train`, `dev`; `data` of an evaluation) -> name of the file.
        num_rows: Rows that the scores are of.
        scores: The most important one first.
        seconds: Wall-clock time of the run.
        command: What to type to have the same again.
        flags: All settings by name.
        notes: Sentences that a reader must know, as which threshold was chosen on dev.
        runs: Of several seeds or learning rates, a row for each run; all rows have the same columns.
        spread: Mean and spread of these runs, as `kbert.run_grid.spread` gives them.
        confusion: Of `report_parts.confusion`.
        per_label: Label or type -> `precision`, `recall`, `f1`, `support`; of `report_parts.label_scores`, or
            `per_type` of `entity_scores`.
        calibration: Of `kbert.evaluation.calibration`.
        number_pairs: Of `report_parts.number_pairs`, for regression and scored pairs.
        numbers_are: What the second of such a pair is: `predicted`, in the unit of the first, or a measure
            of its own, such as `cosine`, of which only the order is right or wrong.
        history: The logs of the epochs.
        curves: Of `report_parts.learning_curves`.
        lengths: Of `report_parts.length_figures`.
        errors: All wrong answers, in any order; those of the largest weight are kept, of texts over 20,000
            characters a part.
        errors_by: What `weight` is, such as `confidence`; where it begins with `distance`, the errors are all
            numbers that are not exact, and are not called wrong.
        faults: What is wrong with the data: `kind`, `count` and `places`, as the fields of
            `kbert.data.DataFault`.
    """

    title: str
    task: str
    model: str
    data: Mapping[str, str]
    num_rows: int
    scores: Sequence[Score]
    seconds: float | None = None
    command: str = ""
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    runs: Sequence[Mapping[str, Any]] = ()
    spread: Sequence[Mapping[str, Any]] = ()
    confusion: Mapping[str, Any] | None = None
    per_label: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    number_pairs: Sequence[Sequence[float]] = ()
    numbers_are: str = "predicted"
    history: Sequence[Mapping[str, float]] = ()
    curves: Sequence[Mapping[str, Any]] = ()
    lengths: Mapping[str, Any] | None = None
    errors: Sequence[WrongAnswer] = ()
    errors_by: str = "confidence"
    faults: Sequence[Mapping[str, Any]] = ()

    def values(self) -> dict[str, Any]:
        """The content of `report.json`: plain JSON values only."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["errors"] = [
            dataclasses.replace(error, texts=[*map(_cut, error.texts)])
            for error in sorted(self.errors, key=_by_weight)[:MOST_ERRORS]
        ]
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        added = {"num_errors": len(self.errors), "version": __version__, "finished": finished}
        return _plain({**fields, **added})


def write_report(folder: str | os.PathLike, report: Report) -> None:
    """Writes `report.json`, and `report.html` with the same numbers: one file that needs no other.

    Args:
        folder: Made if missing.
        report: What to tell.
    """
    values = report.values()
    # Both before the first is written: one without the other would tell of two runs.
    data = json.dumps(values, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    page = report_page(values)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "report.json", data)
    write_whole(folder / "report.html", page)


def _by_weight(error: WrongAnswer) -> float:
    return math.inf if math.isnan(error.weight) else -error.weight


def _cut(text: MarkedText) -> MarkedText:
    """Of a very long text a part, around its first mistake or from its beginning."""
    length = len(text.text)
    if length <= _MOST_CHARACTERS:
        return text
    # A mark that is there in both roles is no mistake.
    times = Counter((mark.begin, mark.end, mark.label) for mark in text.marks)
    first = max(0, min((begin for (begin, *_), count in times.items() if count == 1), default=0) - _BEFORE)
    last = min(first + _MOST_CHARACTERS, length)
    before = "… " if first else ""
    move = len(before) - first
    marks = [
        dataclasses.replace(mark, begin=max(mark.begin, first) + move, end=min(mark.end, last) + move)
        for mark in text.marks
        if mark.begin < last and mark.end > first
    ]
    told = f" … (characters {first + 1:,} to {last:,} of {length:,})"
    return MarkedText(f"{before}{text.text[first:last]}{told}", text.name, marks)


def _plain(value: Any) -> Any:
    """The same in what JSON knows."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int) else str(value)
