"""What a `Recipe` means for a model, its objective, its optimizer and its steps."""

import math
from typing import Any

import numpy as np
from absl import logging

from kbert import training
from kbert.errors import InputError
from kbert.models import ClassificationObjective, HeadModel, reinitialize_top_layers
from kbert.recipe import Recipe

#: So much of an average of the weights may at last be the ones that it began with.
_MOST_OF_START = 0.1


def check_fits(recipe: Recipe, model: HeadModel, objective, *, epochs: int, pretrained: bool) -> None:
    """Looks whether all of it can be done, before any rows are encoded or weights loaded.

    Args:
        recipe: What is to be done.
        model: Need not be built.
        objective: Of the task.
        epochs: Of the training.
        pretrained: Whether the encoder will come from a checkpoint.

    Raises:
        InputError: As of `prepare_model` and `apply_to_objective`.
    """
    _check_layers(recipe, model, epochs, pretrained)
    apply_to_objective(recipe, objective, label_ids=np.zeros(1, np.int32))  # Which they are changes nothing.


def prepare_model(recipe: Recipe, model: HeadModel, *, epochs: int, pretrained: bool) -> None:
    """Scales the head, starts layers anew, adds adapters, freezes; after loading, before training.

    Args:
        recipe: What to do.
        model: Built; its encoder is the one to start from.
        epochs: Of the training.
        pretrained: Whether the encoder comes from a checkpoint.

    Raises:
        InputError: The encoder has fewer layers than are named, there is no head to scale, or the recipe
            freezes what must learn.
    """
    _check_layers(recipe, model, epochs, pretrained)
    _warn_of_frozen(recipe, model.config.num_layers, epochs)
    if recipe.head_scale is not None:
        _scale_head(model, recipe.head_scale)
    if recipe.reinit_layers is not None:
        reinitialize_top_layers(model, recipe.reinit_layers)
    if recipe.lora_rank is not None:
        model.enable_lora(recipe.lora_rank)
        if model.bert.pooler is not None:
            # Not every checkpoint has one: what may have started at random must be able to learn.
            for weight in model.bert.pooler.weights:
                weight.trainable = True
    if recipe.freeze_layers is not None and recipe.unfreeze_every is None:
        training.freeze_layers(model, recipe.freeze_layers)


def _scale_head(model: HeadModel, factor: float) -> None:
    """Multiplies what the head starts with; its biases start at 0."""
    for weight in model.head_weights:
        if weight.path.endswith("/kernel"):
            weight.assign(factor * weight.value)


def _check_layers(recipe: Recipe, model: HeadModel, epochs: int, pretrained: bool) -> None:
    for name in ("reinit_layers", "freeze_layers"):
        layers = getattr(recipe, name)
        if layers is not None and layers > model.config.num_layers:
            raise InputError(f"--{name}={layers}, but the encoder has {model.config.num_layers} layers")
    if recipe.head_scale is not None and not model.has_heads:
        raise InputError(
            f"--head_scale={recipe.head_scale}, but {model.name} has no weights above its encoder"
        )
    _check_freezing(recipe, model, epochs, pretrained)


def _check_freezing(recipe: Recipe, model: HeadModel, epochs: int, pretrained: bool) -> None:
    """Refuses to freeze all there is, for good what starts at random, and to grade rates of frozen layers."""
    layers = model.config.num_layers
    at_first, at_last = _frozen_layers(recipe, layers, epochs)
    given = f"--freeze_layers={at_first}"
    if recipe.lora_rank is not None:
        given = f"--lora_rank={recipe.lora_rank}"
    elif recipe.unfreeze_every is not None:
        given = f"--unfreeze_every={recipe.unfreeze_every} with --epochs={epochs}"
    if at_first == layers and not model.has_heads and model.bert.pooler is None:
        raise InputError(
            f"{given} would leave nothing to train at first, as {model.name} has no weights above its "
            f"encoder; freeze fewer layers, with --freeze_layers={layers - 1} or less"
        )
    if not pretrained and (recipe.lora_rank is not None or at_last is not None):
        raise InputError(f"{given} would freeze random weights for good; start from --init")
    if at_last is None:
        return
    if recipe.reinit_layers and at_last + recipe.reinit_layers > layers:
        raise InputError(
            f"{given} would freeze some of the top {recipe.reinit_layers} layers as --reinit_layers leaves "
            f"them, random; expected at most {layers - recipe.reinit_layers} that stay frozen, not {at_last}"
        )
    if recipe.layer_decay is not None and at_last == layers:
        raise InputError(f"--layer_decay has no layer to slow down, as {given} freezes all; choose one")


def _warn_of_frozen(recipe: Recipe, layers: int, epochs: int) -> None:
    """Tells of layers whose turn comes after the last epoch."""
    _, at_last = _frozen_layers(recipe, layers, epochs)
    if recipe.unfreeze_every is not None and at_last is not None:
        logging.warning(
            "--unfreeze_every=%d with --epochs=%d: the embeddings and the lowest %d of %d layers are never "
            "trained; it takes more epochs", recipe.unfreeze_every, epochs, at_last, layers,
        )  # fmt: skip


def _frozen_layers(recipe: Recipe, layers: int, epochs: int) -> tuple[int | None, int | None]:
    """How many of the lowest layers are frozen in the first epoch, and how many still in the last one.

    The embeddings go with them: 0 means these alone, None that nothing is frozen.
    """
    at_first = recipe.freeze_layers
    if recipe.unfreeze_every is None:
        return at_first, at_first
    if at_first is None:
        at_first = layers
    at_last = at_first + 1 - math.ceil(epochs / recipe.unfreeze_every)
    return at_first, at_last if at_last >= 0 else None


def last_unfreezing(recipe: Recipe, layers: int, epochs: int) -> int:
    """The epoch, counted from 0, from which on all that this run ever trains is trained.

    Args:
        recipe: What is frozen.
        layers: Of the encoder.
        epochs: Of the training.
    """
    if recipe.unfreeze_every is None:
        return 0
    at_first = layers if recipe.freeze_layers is None else recipe.freeze_layers
    # One time for each layer that is frozen at first, and one for the embeddings, if the epochs suffice.
    return recipe.unfreeze_every * min(at_first + 1, (epochs - 1) // recipe.unfreeze_every)


def apply_to_objective(recipe: Recipe, objective, label_ids: np.ndarray | None = None):
    """The objective, with what the recipe says of labels and passes.

    Args:
        recipe: What to apply.
        objective: Of a task.
        label_ids: int (rows), of the training rows of a classification; for balanced weights.

    Raises:
        InputError: It cannot be done for this objective.
    """
    balanced = recipe.class_weights == "balanced"
    if recipe.label_smoothing or balanced:
        if type(objective) is not ClassificationObjective:
            raise InputError(
                "--label_smoothing and --class_weights need a classification with one label a row"
            )
        weights = None
        if balanced:
            if label_ids is None:
                raise InputError("--class_weights=balanced needs the labels of the training rows")
            weights = balanced_class_weights(label_ids)
        objective = ClassificationObjective(recipe.label_smoothing, weights)
    if recipe.rdrop_alpha is None:
        return objective
    try:
        return training.RDrop(objective, recipe.rdrop_alpha)
    except ValueError as error:
        raise InputError(f"--rdrop_alpha={recipe.rdrop_alpha}: {error}") from error


def balanced_class_weights(label_ids: np.ndarray) -> list[float]:
    """Rows / (classes · rows of the class), for each class; the mean over the rows is 1.

    Example:
        >>> balanced_class_weights(np.array([0, 0, 0, 1]))
        [0.6666666666666666, 2.0]

    Reference:
        King and Zeng, 2001, "Logistic Regression in Rare Events Data".
    """
    counts = np.bincount(label_ids)
    if not counts.all():
        raise ValueError(f"class {int(np.argmin(counts))} has no row; give only classes that have some")
    return (len(label_ids) / (len(counts) * counts)).tolist()


def optimizer_options(recipe: Recipe) -> dict[str, Any]:
    """Arguments for `kbert.training.AdamW`."""
    return {"layer_decay": recipe.layer_decay, "average_decay": recipe.average_decay}


def warn_of_slow_average(recipe: Recipe, steps: int) -> None:
    """Tells of an average that will still be near to the weights it began with, a new head's too."""
    decay = recipe.average_decay
    if decay is None or decay**steps <= _MOST_OF_START:
        return
    largest = math.floor(1e4 * _MOST_OF_START ** (1 / steps)) / 1e4
    logging.warning(
        "--average_decay=%g: after %d steps %.0f %% of the average are still the weights that training began "
        "with (a new head's are random); choose at most %g", decay, steps, 100 * decay**steps, largest,
    )  # fmt: skip


def fit_options(recipe: Recipe, steps_per_epoch: int) -> dict[str, Any]:
    """Arguments for `kbert.training.fit`."""
    adversary = unfreezing = None
    if recipe.fgm_epsilon is not None:
        adversary = training.FastGradient(recipe.fgm_epsilon)
    if recipe.unfreeze_every is not None:
        every_steps = recipe.unfreeze_every * steps_per_epoch
        unfreezing = training.GradualUnfreezing(every_steps, recipe.freeze_layers)
    return {"adversary": adversary, "unfreezing": unfreezing}
