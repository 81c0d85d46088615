"""What a `Recipe` means for a model, its objective, its optimizer and its steps."""

from typing import Any

import numpy as np

from kbert import training
from kbert.errors import InputError
from kbert.models import ClassificationObjective, HeadModel, reinitialize_top_layers
from kbert.recipe import Recipe


def prepare_model(recipe: Recipe, model: HeadModel) -> None:
    """Scales the head, starts layers anew, adds adapters, freezes; after loading, before training.

    Raises:
        InputError: The encoder has fewer layers than are named, there is no head to scale, or the recipe
            freezes what must learn.
    """
    for name in ("reinit_layers", "freeze_layers"):
        layers = getattr(recipe, name)
        if layers is not None and layers > model.config.num_layers:
            raise InputError(f"--{name}={layers}, but the encoder has {model.config.num_layers} layers")
    _check_freezing(recipe, model)
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
    kernels = [weight for weight in model.head_weights if weight.path.endswith("/kernel")]
    if not kernels:
        raise InputError(f"--head_scale={factor}, but {model.name} has no weights above its encoder")
    for kernel in kernels:
        kernel.assign(factor * kernel.value)


def _check_freezing(recipe: Recipe, model: HeadModel) -> None:
    """Refuses to freeze all there is, for good what starts at random, and to grade rates of frozen layers."""
    layers, frozen = model.config.num_layers, recipe.freeze_layers
    at_first = layers if frozen is None and recipe.unfreeze_every is not None else frozen
    if at_first == layers and not model.head_weights and model.bert.pooler is None:
        name = "unfreeze_every" if recipe.unfreeze_every is not None else "freeze_layers"
        raise InputError(
            f"--{name}={getattr(recipe, name)} would leave nothing to train at first, as {model.name} has no "
            f"weights above its encoder; freeze fewer layers, with --freeze_layers={layers - 1} or less"
        )
    if frozen is None or recipe.unfreeze_every is not None:
        return
    if recipe.reinit_layers and frozen + recipe.reinit_layers > layers:
        raise InputError(
            f"--freeze_layers={frozen} would freeze some of the top {recipe.reinit_layers} layers "
            f"as --reinit_layers leaves them, random; expected a sum of at most {layers}"
        )
    if recipe.layer_decay is not None and frozen == layers:
        raise InputError(
            f"--layer_decay has no layer to slow down, as --freeze_layers={frozen} freezes all; choose one"
        )


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


def fit_options(recipe: Recipe, steps_per_epoch: int) -> dict[str, Any]:
    """Arguments for `kbert.training.fit`."""
    adversary = unfreezing = None
    if recipe.fgm_epsilon is not None:
        adversary = training.FastGradient(recipe.fgm_epsilon)
    if recipe.unfreeze_every is not None:
        every_steps = recipe.unfreeze_every * steps_per_epoch
        unfreezing = training.GradualUnfreezing(every_steps, recipe.freeze_layers)
    return {"adversary": adversary, "unfreezing": unfreezing}
