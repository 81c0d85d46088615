"""Several runs of one task, with other seeds and learning rates: which is best, and how much they differ."""

import dataclasses
import itertools
import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging

from kbert.errors import InputError
from kbert.fine_tuning import FineTuned, check_goes_on
from kbert.recipe import Recipe
from kbert.run_settings import RunSettings
from kbert.training import Checkpoints


@dataclasses.dataclass(frozen=True)
class GridPoint:
    """One run of several.

    Args:
        settings: Its own.
        folder: Where its files are; of a single run the model's own folder.
        score: On dev, by which runs are compared; None where it failed, for its loss was no number.
    """

    settings: RunSettings
    folder: Path
    score: float | None


def run_grid(
    run: Callable[[RunSettings, Path], FineTuned],
    settings: RunSettings,
    recipe: Recipe | None = None,
    *,
    seeds: Sequence[int],
    learning_rates: Sequence[float],
    model_dir: Path,
) -> tuple[FineTuned, list[GridPoint]]:
    """Runs every seed with every learning rate, each in a folder of its own, and keeps the best.

    Runs that are done are not repeated when the same command is given again: they go on from their last
    checkpoint, after which nothing is left to do.

    Args:
        run: Trains a model in a folder, and measures it where there are several.
        settings: Of all runs, but for seed and learning rate.
        recipe: Of all runs.
        seeds: At least one.
        learning_rates: At least one.
        model_dir: Of the model.

    Returns:
        The best run, and all of them.

    Raises:
        FloatingPointError: All runs failed.
        InputError: Two runs would be the same, one cannot go on from what is in its folder, or there are
            several and no dev rows to compare them by.
    """
    # All of them first: what is out of range shall not be told after hours of other runs.
    each = [
        dataclasses.replace(settings, learning_rate=rate, seed=seed)
        for rate, seed in itertools.product(learning_rates, seeds)
    ]
    folders = [model_dir] if len(each) == 1 else [model_dir / "runs" / _name(own) for own in each]
    if len(set(folders)) < len(folders):
        twice = next(folder.name for folder in folders if folders.count(folder) > 1)
        raise InputError(f"{twice} would be run twice; expected seeds and learning rates that differ")
    for own, folder in zip(each, folders, strict=True):
        check_goes_on(own, recipe, folder)
    best, points = None, []
    for number, (own, folder) in enumerate(zip(each, folders, strict=True), start=1):
        if len(each) > 1:
            rate, seed = own.learning_rate, own.seed
            logging.info("run %d of %d: learning rate %g, seed %d", number, len(each), rate, seed)
        try:
            done = run(own, folder)
        except FloatingPointError as error:
            if len(each) == 1:
                raise
            logging.warning("this run failed: %s", error)
            points.append(GridPoint(own, folder, None))
            continue
        if len(each) > 1 and done.score is None:
            raise InputError("several runs are compared on dev rows; name a file with --dev")
        points.append(GridPoint(own, folder, done.score))
        # The last one says that the run is done. Those of many runs would fill the disk.
        Checkpoints(folder / "checkpoints", keep=1).remove_old()
        if best is None or (done.score or 0.0) > (best.score or 0.0):
            best = done
    if best is None:
        raise FloatingPointError("all runs failed; lower the learning rate, or train in float32")
    return best, points


def _name(settings: RunSettings) -> str:
    """Of a run's folder."""
    return f"learning_rate-{settings.learning_rate:g}-seed-{settings.seed}"


def folder_of_best(points: Sequence[GridPoint]) -> Path:
    """Where the files of the best run are; of equal ones the first is kept."""
    measured = [point for point in points if point.score is not None]
    return max(measured, key=lambda point: point.score or 0.0, default=points[0]).folder


def each_run(points: Sequence[GridPoint], score: str) -> list[dict]:
    """A row for each run: its learning rate, its seed, and its score under that name, None where it failed.

    Example:
        >>> point = GridPoint(RunSettings(learning_rate=2e-5, seed=3), Path("."), 0.7)
        >>> each_run([point], "accuracy")
        [{'learning_rate': 2e-05, 'seed': 3, 'accuracy': 0.7}]
    """
    return [
        {"learning_rate": point.settings.learning_rate, "seed": point.settings.seed, score: point.score}
        for point in points
    ]


def spread(points: Sequence[GridPoint]) -> list[dict]:
    """For each learning rate the mean, the standard deviation, the extremes and the number of failed runs.

    Example:
        >>> point = lambda rate, score: GridPoint(RunSettings(learning_rate=rate), Path("."), score)
        >>> spread([point(2e-5, 0.5), point(2e-5, 0.7), point(5e-5, None)])[0]["mean"]
        0.6
    """
    rows = []
    for rate in dict.fromkeys(point.settings.learning_rate for point in points):
        scores = [point.score for point in points if point.settings.learning_rate == rate]
        good = [score for score in scores if score is not None]
        row = {"learning_rate": rate, "runs": len(scores), "failed": len(scores) - len(good)}
        if good:
            deviation = statistics.stdev(good) if len(good) > 1 else 0.0
            row |= {
                "mean": statistics.mean(good),
                "standard_deviation": deviation,
                "lowest": min(good),
                "highest": max(good),
            }
        rows.append(row)
    return rows


def clear(points: Sequence[GridPoint], model_dir: Path) -> None:
    """Removes what stopped runs would have gone on from; models stay, and the batch that one failed on.

    What an earlier command for the same folder left, which may still go on, is told.

    Args:
        points: All runs.
        model_dir: Of the model.
    """
    for point in points:
        checkpoints = point.folder / "checkpoints"
        if len(points) == 1 or point.score is not None:
            shutil.rmtree(checkpoints, ignore_errors=True)
        for path in checkpoints.glob("step-*.npz"):
            path.unlink()
        (point.folder / "best.npz").unlink(missing_ok=True)
    own = {point.folder for point in points}
    others = [folder for folder in (model_dir, *sorted(model_dir.glob("runs/*"))) if folder not in own]
    left = [str(folder) for folder in others if any(folder.glob("checkpoints/step-*.npz"))]
    if left:
        logging.warning(
            "not of this model: the checkpoints, logs and metrics.jsonl that earlier commands left in %s; "
            "remove them if none of those runs is to go on", ", ".join(left),
        )  # fmt: skip
