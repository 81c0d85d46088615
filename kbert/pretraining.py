"""A pretraining run: its phases, and its held-out measure."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kbert import data, features, training
from kbert.errors import InputError
from kbert.models import BertPretrainer, PretrainingObjective
from kbert.pretraining_records import Records

#: By which the best weights are chosen, and how often it is measured unless one says otherwise.
_MEASURE = "val_mlm_loss"
_ROUNDS = 10


def pretrain(
    model: BertPretrainer,
    optimizer: training.AdamW,
    phases: Sequence[tuple[Records, int]],
    *,
    model_dir: str | os.PathLike,
    seed: int,
    held_out: Records | None = None,
    eval_every: int | None = None,
    patience: int | None = None,
    accumulate: int = 1,
    parts: int = 1,
    checkpoints: training.Checkpoints | None = None,
) -> list[dict[str, float]]:
    """Trains through all phases; call it in the scope of the strategy.

    In the end the model has the weights of the best measurement; without `held_out` the last ones; and
    where the optimizer keeps averages, those.

    Args:
        model: Of `kbert.pretraining_start`.
        optimizer: One of `kbert.training`.
        phases: Records and optimizer steps, such as those of 128 pieces and then those of 512.
        model_dir: Gets `metrics.jsonl`, `curves.png` and TensorBoard's logs.
        seed: Of order and masks.
        held_out: Records to measure on; None: the run is not measured.
        eval_every: Steps between two measurements, by which the steps can be divided; None: ten in all, or
            the number next to it by which they can.
        patience: Measurements without a better one after which the run ends.
        accumulate: Batches of a step.
        parts: Of `kbert.training.share_cores`.
        checkpoints: Where the run is saved and goes on from, if its records are these.

    Returns:
        The logs of each round, that is of the steps from one measurement to the next.

    Raises:
        InputError: The records have different `next_sentence` tasks, or text of different case, or are
            others than those of the checkpoint; `eval_every` does not divide the steps; `patience` has
            nothing to look at; a record is damaged.
    """
    for records, count in phases:
        logging.info("%s: %d records, %d steps", records.folder, records.description.num_records, count)
    used = [*(found for found, _ in phases), *([held_out] if held_out else [])]
    _check_same_form(used)
    steps = sum(count for _, count in phases)
    round_steps = _round_steps(steps, eval_every, held_out is not None)
    if patience is not None and (held_out is None or optimizer.average_decay is not None):
        raise InputError("patience needs held-out records, and weights that are not averaged")
    if patience is not None and steps // round_steps <= patience:
        raise InputError(
            f"patience={patience}, but {steps} steps are measured {steps // round_steps} times in all: it "
            f"would never end the run; choose a smaller eval_every"
        )
    pairs = phases[0][0].description.next_sentence != "none"
    # Without pairs nothing is asked of the first token's output, and these weights get no gradient.
    of_pairs: tuple[Any, Any] = (model.bert.pooler, model.nsp)
    for layer in of_pairs:
        layer.trainable = pairs
    objective = PretrainingObjective(pairs)
    metrics = Path(model_dir) / "metrics.jsonl"
    callbacks: list[keras.callbacks.Callback] = [
        training.ProgressLog(),
        training.SummaryLog(f"{model_dir}/logs", optimizer),
        training.MetricsFile(metrics),
        training.CurvesImage(metrics, Path(model_dir) / "curves.png"),
    ]
    best = None
    if held_out is not None and optimizer.average_decay is None:
        best = training.BestWeights(Path(model_dir) / "best.npz", _MEASURE, patience=patience)
        callbacks.append(best)
    if checkpoints is not None:
        # Folders may have moved when a run goes on, but what they hold must be the same.
        held = {"held-out records": held_out.description.identity if held_out else None}
        of_phases = {f"records of phase {n}": p[0].description.identity for n, p in enumerate(phases, 1)}
        checkpoints.settings |= held | of_phases
    with data.damage_named([file for found in used for file in found.description.files(found.folder)]):
        history = training.fit(
            model,
            optimizer,
            objective,
            training.in_phases(*((found.training_batches(seed), accumulate * n) for found, n in phases)),
            steps_per_epoch=round_steps,
            epochs=steps // round_steps,
            callbacks=callbacks,
            evaluate=held_out and _measure(model, optimizer, objective, held_out),
            accumulate=accumulate,
            parts=parts,
            counts={"tokens": lambda inputs: tf.reduce_sum(inputs[features.PADDING_MASK])},
            checkpoints=checkpoints,
        )
    if best is not None:
        best.restore(model)
    elif optimizer.average_decay is not None:
        for variable, average in optimizer.averages():
            variable.assign(average.value)
    return history


def _check_same_form(used: Sequence[Records]) -> None:
    """All records are made as those of the first phase: one meaning of the labels, one case of the text."""
    first, *others = used
    for other in others:
        for name in ("next_sentence", "lowercase"):
            came, expected = getattr(other.description, name), getattr(first.description, name)
            if came != expected:
                raise InputError(
                    f"{other.folder}: records with --{name}={came}, but those of {first.folder} have "
                    f"{expected}; build them again with --{name}={expected}"
                )


def _round_steps(steps: int, eval_every: int | None, measured: bool) -> int:
    if eval_every is None:
        if not measured:
            return steps
        rounds = min((n for n in range(1, 21) if steps % n == 0), key=lambda n: abs(n - _ROUNDS))
        if rounds < _ROUNDS // 2:
            logging.warning(
                "%d steps are measured %d time(s): they cannot be divided by about %d; choose other steps, "
                "or how many of them are between two measurements", steps, rounds, _ROUNDS,
            )  # fmt: skip
        return steps // rounds
    if steps % eval_every:
        raise InputError(
            f"{steps} steps cannot be measured every {eval_every}; choose a divisor, or "
            f"{-(-steps // eval_every) * eval_every} steps"
        )
    return eval_every


def steps_of_phases(steps: int, second: int | None) -> tuple[int, int]:
    """How many steps of a run are its first phase's, and how many its second's.

    Args:
        steps: Of both.
        second: Of the second; None: a tenth of all.

    Raises:
        InputError: Nothing is left for one of them.
    """
    second = max(1, steps // 10) if second is None else second
    if second >= steps:
        raise InputError(
            f"--phase2_steps={second} are all of --steps={steps}, which counts both phases; leave some to "
            f"the first"
        )
    return steps - second, second


def figures_of_kept(history: Sequence[dict[str, float]], averaged: bool) -> dict[str, float]:
    """The logs of the round of which `pretrain` leaves the weights in the model.

    Args:
        history: That it returned.
        averaged: Whether the optimizer keeps averages, which are those of the last round.
    """
    if averaged or _MEASURE not in history[-1]:
        return history[-1]
    return min(history, key=lambda logs: logs[_MEASURE])


def _measure(model, optimizer, objective, held_out: Records) -> Callable[[], dict[str, float]]:
    """A function that gives the means of all terms over the held-out records."""
    batches = held_out.held_out_batches()

    @tf.function(reduce_retracing=True)
    def step(inputs, targets):
        return objective(model(inputs, training=False, **objective.call_options), targets)

    def measure() -> dict[str, float]:
        averaged = optimizer.average_decay is not None
        with training.averaged_weights(model, optimizer) if averaged else contextlib.nullcontext():
            sums: dict[str, np.ndarray] = {}
            for inputs, targets in batches:
                for name, term in step(inputs, targets).items():
                    sums[name] = sums.get(name, 0) + np.array([float(value) for value in term])
        return {name: float(total / weight) for name, (total, weight) in sums.items() if weight}

    return measure
