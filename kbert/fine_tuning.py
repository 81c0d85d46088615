"""What a fine-tuning run is made of: a task, a model to start from, the training, and its measure on dev."""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kbert import checkpoints, data, features, recipe_parts, training
from kbert.inference import Predictor
from kbert.models import HeadModel
from kbert.recipe import Recipe
from kbert.run_settings import RunSettings
from kbert.start import StartingPoint
from kbert.tasks import Task

#: Settings of a run of which a checkpoint has a short mark, and what it means that the marks differ.
_MARKS = {
    "rows": "other training rows (--train, the vocabulary, --max_length or an option of the task)",
    "dev_rows": "other dev rows (--dev)",
    "task": "another task (its labels, --best_score, --max_length or an option of the task)",
    "start": "another start (--init)",
}


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """What comes out of a run.

    Args:
        task: With what was chosen on the dev rows.
        model: In float32, as it will be loaded and served.
        history: The logs of each epoch.
        scores: On dev, of the weights that are kept; empty without dev rows.
        answers: To the dev rows.
    """

    task: Task
    model: HeadModel
    history: list[dict[str, float]]
    scores: dict[str, Any]
    answers: list[dict]

    @property
    def score(self) -> float | None:
        """The one by which runs are compared; None without dev rows."""
        return self.scores.get(self.task.best_score)


def check_fits(
    task: Task, start: StartingPoint, dev_rows: Sequence, *, init: str | None, settings: RunSettings,
    recipe: Recipe,
) -> None:  # fmt: skip
    """Refuses what does not go together, before all rows are encoded; arguments as of `fine_tune`.

    Raises:
        InputError: The encoder or the recipe does not fit the task, or its score not the dev rows.
    """
    task.check_config(start.config)
    model = task.blank_model(start.config)
    recipe_parts.check_fits(
        recipe, model, task.objective(model), epochs=settings.epochs, pretrained=bool(init)
    )
    if dev_rows:
        task.check_best_score(dev_rows)


@training.gradients_forgotten()
def fine_tune(
    task: Task,
    start: StartingPoint,
    train: data.EncodedRows,
    dev_rows: Sequence,
    *,
    init: str | None,
    settings: RunSettings,
    recipe: Recipe | None = None,
    model_dir: str | os.PathLike,
    parts: int = 1,
) -> FineTuned:
    """Trains a model for a task; call it in the scope of the strategy.

    Args:
        task: Made of the training rows; the result has a copy of it.
        start: Sizes of the encoder.
        train: The training rows, encoded by the task.
        dev_rows: Rows to measure on after each epoch, or none.
        init: Checkpoint whose encoder the model starts from; None for random weights.
        settings: Of the training.
        recipe: What is done besides.
        model_dir: Gets `metrics.jsonl`, `best.npz`, checkpoints and TensorBoard's logs; the same call goes on
            from there if it was stopped.
        parts: Of `kbert.training.share_cores`.

    Raises:
        InputError: What is in `model_dir` is another run's, or the model has too few segments for pairs.
    """
    task.check_config(start.config)
    recipe = recipe or Recipe()
    keras.utils.set_random_seed(settings.seed)
    task = type(task)(task.spec, task.tokenizer)
    policy = training.dtype_policy(settings.precision)
    # Rows come in random order, and more than half of a batch may be padding. (Where it cannot be left out,
    # they come by length.)
    model = task.blank_model(start.config, dtype=policy, unpad=not training.is_tpu())
    model.build()
    exact = task.blank_model(start.config, dtype="float32")
    exact.build()
    if init:
        checkpoints.load_encoder_into(model, init, num_hidden_layers_used=start.config.num_layers)
    recipe_parts.prepare_model(recipe, model, epochs=settings.epochs, pretrained=bool(init))
    if recipe.lora_rank is not None:
        exact.enable_lora(recipe.lora_rank)  # So that both have the same weights.
    measure = _Measure(task, model, exact, dev_rows, parts) if dev_rows else None
    run = _Training(task, model, train, settings, recipe, Path(model_dir), parts)
    history = run(measure)
    weights = model.get_weights()
    # As where the last epoch is the best.
    was_measured = all(map(np.array_equal, exact.get_weights(), weights))
    exact.set_weights(weights)
    scores, answers = measure.final(was_measured) if measure else ({}, [])
    if recipe.lora_rank is not None:
        exact.merge_lora()  # After measuring: what answered is a graph that adds the factors.
    return FineTuned(task, exact, history, scores, answers)


def check_goes_on(settings: RunSettings, recipe: Recipe | None, model_dir: str | os.PathLike) -> None:
    """Looks, before hours of other runs, whether a run can go on from what is in its folder, if anything is.

    Args:
        settings: Of the training.
        recipe: What is done besides.
        model_dir: Of `fine_tune`, which looks at the rows and the start as well.

    Raises:
        InputError: What is there is of a run with other settings, or damaged.
    """
    precision = training.dtype_policy(settings.precision).removeprefix("mixed_")
    known = {**dataclasses.asdict(settings), **dataclasses.asdict(recipe or Recipe()), "precision": precision}
    training.Checkpoints(Path(model_dir) / "checkpoints", settings=known, may_differ=_may_differ).check()


class _Measure:
    """The scores on dev rows, in float32, as the model will be loaded and served."""

    def __init__(self, task: Task, model: HeadModel, exact: HeadModel, rows: Sequence, parts: int):
        self.task, self.model, self.exact, self.rows = task, model, exact, rows
        task.check_best_score(rows)
        self.encoded = task.encode(rows)
        self.predictor = Predictor(task, exact, workers=parts)
        self._outputs: dict[str, list] = {}

    def __call__(self, averages_of: training.AdamW | None) -> dict[str, float]:
        """The scores of the model's weights of now, or of their averages: those that are one number."""
        averaged = averages_of is not None
        with training.averaged_weights(self.model, averages_of) if averaged else contextlib.nullcontext():
            self.exact.set_weights(self.model.get_weights())
        self._outputs = self.predictor(self.encoded)
        self._check_numbers()
        self._choose(self._outputs)  # Or epochs would be compared by a threshold that none of them ends with.
        scores = self.task.scores(self.rows, self._answers(self._outputs))
        return {name: score for name, score in scores.items() if isinstance(score, float)}

    def final(self, was_measured: bool) -> tuple[dict[str, Any], list[dict]]:
        """Scores and answers of the weights of `exact`, after what is chosen on dev was chosen."""
        outputs = self._outputs if was_measured else self.predictor(self.encoded)
        self._choose(outputs)
        answers = self._answers(outputs)
        return self.task.scores(self.rows, answers), answers

    def _check_numbers(self) -> None:
        """Before this epoch is taken for the best one: the loss is that before its last step.

        Raises:
            FloatingPointError: The model answers with what is no number.
        """
        for name, values in self._outputs.items():
            if not all(np.isfinite(value).all() for value in values):
                raise FloatingPointError(
                    f"{name} on dev is not a finite number, as the last steps made the weights; lower the "
                    f"learning rate, or train in float32"
                )

    def _choose(self, outputs) -> None:
        self.task.spec.update(self.task.chosen_on_dev(self.rows, self.encoded, outputs))

    def _answers(self, outputs):
        return self.task.answers(self.rows, self.encoded, outputs)


class _Training:
    """The training itself: optimizer, objective, what it leaves in its folder; at last the kept weights."""

    def __init__(self, task, model, train, settings: RunSettings, recipe: Recipe, folder: Path, parts: int):
        self.task, self.model, self.train = task, model, train
        self.settings, self.recipe, self.folder, self.parts = settings, recipe, folder, parts
        self.steps = -(-len(train) // settings.batch_size)
        total = self.steps * settings.epochs
        warmup = round(settings.warmup_ratio * total)
        recipe_parts.warn_of_slow_average(recipe, total)
        self.optimizer = training.AdamW(
            training.schedule_for(settings.schedule, settings.learning_rate, total, warmup),
            weight_decay_rate=settings.weight_decay,
            **recipe_parts.optimizer_options(recipe),
        )
        logging.info("%d steps of %d rows, %s", total, settings.batch_size, model.dtype_policy.name)

    def __call__(self, measure) -> list[dict[str, float]]:
        """Trains, and gives the logs of all epochs."""
        settings, averaged = self.settings, self.recipe.average_decay is not None
        callbacks: list[keras.callbacks.Callback] = [
            training.ProgressLog(),
            training.SummaryLog(f"{self.folder}/logs", self.optimizer),
            training.MetricsFile(self.folder / "metrics.jsonl"),
        ]
        best = None
        if measure is not None and settings.keep == "best":
            best = training.BestWeights(
                self.folder / "best.npz",
                f"val_{self.task.best_score}",
                larger_is_better=True,
                patience=settings.patience,
                patience_from=recipe_parts.last_unfreezing(
                    self.recipe, self.model.config.num_layers, settings.epochs
                ),
                averages_of=self.optimizer if averaged else None,
            )
            callbacks.append(best)
        history = training.fit(
            self.model,
            self.optimizer,
            self._objective(),
            data.training_batches(
                self.train,
                settings.batch_size,
                settings.epochs,
                settings.seed,
                by_length=not self.model.bert.unpad,
            ),
            steps_per_epoch=self.steps,
            epochs=settings.epochs,
            callbacks=callbacks,
            evaluate=measure and functools.partial(measure, self.optimizer if averaged else None),
            parts=self.parts,
            checkpoints=self._checkpoints(measure),
            **recipe_parts.fit_options(self.recipe, self.steps),
        )
        if best is not None:
            best.restore(self.model)
        elif averaged:
            for variable, average in self.optimizer.averages():
                variable.assign(average.value)
        return history

    def _objective(self):
        labels = self.train.targets.get(features.LABEL)
        return recipe_parts.apply_to_objective(self.recipe, self.task.objective(self.model), labels)

    def _checkpoints(self, measure):
        # Not all specs have the score: the customary one, written out, is no other task.
        task = {**self.task.spec, "best_score": self.task.best_score}
        recipe = {name: value for name, value in dataclasses.asdict(self.recipe).items() if value is not None}
        return training.Checkpoints(
            self.folder / "checkpoints",
            self.settings.checkpoint_every,
            settings={
                **dataclasses.asdict(self.settings),
                **recipe,
                "precision": self.model.dtype_policy.name.removeprefix("mixed_"),  # What `auto` means here.
                "devices": tf.distribute.get_strategy().num_replicas_in_sync,
                "parts": self.parts,
                "rows": _digest(self.train),
                "dev_rows": measure and _mark_of(measure.rows),
                "task": training.fingerprint([json.dumps(task, sort_keys=True, default=str).encode()]),
                "start": training.fingerprint(weight.tobytes() for weight in self.model.get_weights()),
            },
            may_differ=_may_differ,
            marks=_MARKS,
        )


def _may_differ(name: str, then: Any) -> bool:
    """Whether a run goes on where a setting was another one.

    Parts, which depend on the machine, change no more than the order of sums and what dropout drops. What
    `auto` meant, and how many devices there were, checkpoints did not always say.
    """
    return name == "parts" or (name, then) in (("precision", "auto"), ("devices", None))


def _digest(encoded: data.EncodedRows) -> str:
    """A short mark of rows and what is to be learned of them: a run must not go on with others."""
    parts = []
    for _, values in sorted({**encoded.inputs, **encoded.targets}.items()):
        is_ragged = isinstance(values, tf.RaggedTensor)
        arrays = [values.flat_values, *values.nested_row_splits] if is_ragged else [values]
        parts += [np.ascontiguousarray(array).tobytes() for array in arrays]
    return training.fingerprint(parts)


def _mark_of(rows: Sequence) -> str:
    """A short mark of dev rows with all that they are measured by: targets may lack some of it."""
    return training.fingerprint(repr(dataclasses.replace(row, source="")).encode() for row in rows)
