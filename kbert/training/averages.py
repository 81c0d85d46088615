"""Training on the weights, measuring and saving with their moving averages."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from kbert.training.optimizers import AdamW


@contextlib.contextmanager
def averaged_weights(model: keras.Model, optimizer: AdamW) -> Iterator[None]:
    """As long as the context lasts, the model's weights are their averages; then they are what they were.

    To evaluate, save or export the averaged model: `with averaged_weights(model, optimizer): ...`. Weights
    that are not trained stay as they are. Under a strategy it is to be entered in the strategy's scope.

    Args:
        model: The one that is trained.
        optimizer: With `average_decay`, and at least one update done.

    Raises:
        ValueError: The optimizer keeps no averages, or has not made an update yet.
    """
    pairs = optimizer.averages()
    of_model = {id(weight) for weight in model.weights}
    if not all(id(variable) in of_model for variable, _ in pairs):
        raise ValueError("the optimizer has weights that the model has not; it was built for another model")
    # Copies: on the CPU `numpy()` and `read_value` may share the memory that is written to.
    kept = [tf.identity(variable.value) + 0 for variable, _ in pairs]
    try:
        for variable, average in pairs:
            variable.assign(average.value)
        yield
    finally:
        for (variable, _), value in zip(pairs, kept, strict=True):
            variable.assign(value)
