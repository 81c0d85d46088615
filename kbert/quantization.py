"""A fine-tuned model in 8 bits, and what its answers lose by it."""

from collections.abc import Sequence
from typing import Any

import keras
from absl import logging

from kbert.data import evaluation_batches
from kbert.errors import InputError
from kbert.inference import Predictor
from kbert.models import AdaptableModel, in_int8
from kbert.tasks import Task

#: Rows that the ranges are measured on, and rows that the models are compared on.
CALIBRATED, SCORED = 256, 2000
_BATCH = 32


def quantized(task: Task, model: AdaptableModel, rows: Sequence[Any]) -> tuple[keras.Model, dict[str, dict]]:
    """The model in 8 bits, with its scores beside those of the model in float32.

    The first rows, 256 or half of them, are what ranges are measured on; up to 2,000 others are scored.

    Args:
        task: What the model was fine-tuned for.
        model: In any precision; stays as it is.
        rows: Labelled, of the task's `read`; at least 2. Rows of the training data will do.

    Returns:
        The model, and `float32` and `int8` -> scores by name, as of the task.

    Raises:
        InputError: There are too few rows, or LoRA's factors are not merged.
    """
    if len(rows) < 2:
        raise InputError(f"{len(rows)} rows to measure 8-bit ranges on; give at least 2, better some hundred")
    exact = model.copy_under("float32")
    count = min(CALIBRATED, len(rows) // 2)
    logging.info("measuring ranges for 8 bits on %d rows", count)
    batches = evaluation_batches(task.encode(rows[:count]), _BATCH)
    small = in_int8(exact, (inputs for _, inputs, _ in batches))
    others = rows[count : count + SCORED]
    encoded = task.encode(others)
    scores = {
        precision: task.scores(others, task.answers(others, encoded, Predictor(task, candidate)(encoded)))
        for precision, candidate in (("float32", exact), ("int8", small))
    }
    told = ", ".join(
        f"{name} {scores['int8'][name]:.4f} ({value:.4f})"
        for name, value in scores["float32"].items()
        if isinstance(value, float)
    )
    logging.info("in 8 bits (in float32), on %d other rows: %s", len(others), told)
    return small, scores
