"""Which layers and weights of a model do not train, as plain numbers for a file, and back."""

import keras


def frozen_parts(model: keras.Model) -> dict[str, list[int]]:
    """What does not train, for `freeze_parts`.

    Both are told, as Keras does: a weight may be frozen in a layer that trains, and of a layer that is frozen
    Keras must know so that it can be told to train again. By number and not by name: a layer that was given
    none has another one in the next process.

    Args:
        model: Built.

    Returns:
        `layers` and `weights`: places among all layers of the model, itself the first, and all its weights.
    """
    return {
        "layers": [number for number, layer in enumerate(model._flatten_layers()) if not layer.trainable],
        "weights": [number for number, weight in enumerate(model.weights) if not weight.trainable],
    }


def freeze_parts(model: keras.Model, frozen: dict[str, list[int]]) -> None:
    """Freezes what `frozen_parts` of a model like this one told, and has all else train.

    Args:
        model: Built.
        frozen: As `frozen_parts` returns it.
    """
    layers, weights = set(frozen["layers"]), set(frozen["weights"])
    for number, layer in enumerate(model._flatten_layers()):  # Those within another come after it.
        layer.trainable = number not in layers
    for number, weight in enumerate(model.weights):
        weight.trainable = number not in weights
