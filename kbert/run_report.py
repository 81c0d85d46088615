"""The report of a run on the rows that it was measured on; see `kbert.evaluation.Report`."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from kbert import run_grid
from kbert.checkpoints.folder import SPEC_FILE
from kbert.data import DataFault, EncodedRows
from kbert.errors import InputError
from kbert.evaluation import (
    Report,
    Score,
    json_lines,
    learning_curves,
    length_figures,
    measured,
    write_report,
    write_whole,
)
from kbert.evaluation.submissions import GLUE_FILES
from kbert.fine_tuning import FineTuned
from kbert.manifest import write_manifest
from kbert.tasks import Task
from kbert.training import read_metrics, seconds_trained
from kbert.whole_files import check_writable

#: Of the draws for confidence intervals: the same predictions get the same intervals.
_SEED = 20181011
#: What runs of any task leave beside the files of GLUE.
_LEFT_BY_RUNS = (
    *("report.html", "report.json", "metrics.json", "predictions.jsonl", "predictions.json"),
    *("predictions.conll", "null_odds.json", "clue_predict.json"),
)


def write_run_report(
    folder: str | os.PathLike,
    task: Task,
    rows: Sequence,
    answers: Sequence[dict],
    scores: Mapping[str, Any],
    *,
    model: str,
    data: Mapping[str, str],
    lengths: np.ndarray,
    num_truncated: int,
    history: Sequence[Mapping[str, float]] = (),
    run_dir: str | os.PathLike | None = None,
    **more,
) -> None:
    """Writes `report.html` and `report.json`.

    Args:
        folder: Of the report.
        task: Of the model.
        rows: That were answered.
        answers: Of the task.
        scores: Of all rows.
        model: Its folder.
        data: What for -> name of the file; the last one is that of the rows.
        lengths: Pieces of the rows that the model read.
        num_truncated: How many were cut.
        history: The logs of the epochs.
        run_dir: Where the run left `metrics.jsonl`, which gives the curves within epochs; None: `folder`. It
            is not read without `history`: it would be that of another run.
        **more: Further fields of `Report`, such as `seconds`.
    """
    parts = task.report_parts(rows, answers)
    measures = parts.pop("measures", None)
    if measures is None:
        shown = [Score(name, value) for name, value in scores.items() if isinstance(value, float)]
        shown.sort(key=lambda score: score.name != task.best_score)
    else:
        shown = measured(scores, measures, len(rows), _SEED, task.best_score)
    steps = read_metrics(Path(run_dir or folder) / "metrics.jsonl") if history else []
    report = Report(
        title=": ".join([task.name, *list(data.values())[-1:]]),
        task=task.name,
        model=model,
        data=data,
        num_rows=len(rows),
        scores=shown,
        command=shlex.join(["python", *sys.argv]),
        history=history,
        curves=learning_curves(history, steps),
        lengths=length_figures(lengths.tolist(), task.spec["max_length"], num_truncated),
        **parts,
        **more,
    )
    write_report(folder, report)


def write_predictions(
    folder: str | os.PathLike, task: Task, rows: Sequence, answers: Sequence[dict], labelled: bool = True
) -> None:
    """Writes `predictions.jsonl`, and the benchmark's own form where the task knows one.

    Args:
        folder: It must exist.
        task: Of the model.
        rows: That were answered.
        answers: Of the task.
        labelled: Whether the rows say what is right.
    """
    predictions = (task.prediction_row(row, answer) for row, answer in zip(rows, answers, strict=True))
    if not labelled:
        predictions = ({key: row[key] for key in row if key != "gold"} for row in predictions)
    files = {"predictions.jsonl": json_lines(predictions), **task.submission(rows, answers)}
    for name, text in files.items():
        write_whole(Path(folder) / name, text)


def check_folder(folder: Path) -> None:
    """Refuses a folder that cannot take a report, before hours of work for it.

    Raises:
        InputError: It holds a model, whose own report is to stay, or cannot be written to.
    """
    if (folder / SPEC_FILE).exists():
        raise InputError(
            f"--output_dir={folder} is the folder of a model, which has the report of its training; choose "
            f"another, such as {folder / 'dev'}"
        )
    check_writable(folder)


def remove_old(folder: Path, *to_come: str) -> None:
    """Removes reports and predictions of earlier runs, which would be taken for those of this one.

    Files of GLUE stay, and are told: a folder may gather those of several test files.

    Args:
        folder: Of the run.
        *to_come: Further files that it will write.
    """
    for name in (*_LEFT_BY_RUNS, *to_come):
        (folder / name).unlink(missing_ok=True)
    others = [name for name in (f"{name}.tsv" for name in GLUE_FILES) if (folder / name).exists()]
    if others:
        logging.warning("%s: has %s of another run; this one leaves it as it is", folder, ", ".join(others))


def write_results(
    model_dir: Path,
    best: FineTuned,
    points: Sequence[run_grid.GridPoint],
    dev_rows: Sequence,
    train: EncodedRows,
    *,
    flags: dict[str, Any],
    data: Mapping[str, str],
    seconds: float,
    faults: Sequence[DataFault] = (),
) -> None:
    """Writes the manifest of fine-tuning and, where it was measured, report and predictions of the best run.

    Args:
        model_dir: Of the model.
        best: The run that was kept.
        points: All runs.
        dev_rows: That it was measured on, or none.
        train: The training rows.
        flags: Of the command.
        data: What for -> name of the file.
        seconds: That this process took. If the runs took longer, part of them in earlier processes, that is
            what is written.
        faults: Of the data.
    """
    seconds = max(seconds, sum(seconds_trained(point.folder / "metrics.jsonl") for point in points))
    runs, spread = [], []
    if len(points) > 1:
        runs, spread = run_grid.each_run(points, best.task.best_score), run_grid.spread(points)
    metrics = {"epochs": best.history, "dev": best.scores}
    metrics |= {"runs": runs, "spread": spread} if runs else {}
    write_manifest(model_dir, command="finetune", flags=flags, metrics=metrics, seconds=seconds)
    remove_old(model_dir)
    if dev_rows:
        write_run_report(
            model_dir, best.task, dev_rows, best.answers, best.scores,
            model=str(model_dir), data=data, lengths=train.lengths, num_truncated=train.num_truncated,
            history=best.history, run_dir=run_grid.folder_of_best(points),
            runs=runs, spread=spread, seconds=seconds, flags=flags,
            faults=[dataclasses.asdict(fault) for fault in faults],
        )  # fmt: skip
        write_predictions(model_dir, best.task, dev_rows, best.answers)
