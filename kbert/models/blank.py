"""`blank`: a model for a checkpoint to fill."""

import contextlib
import gc
from collections.abc import Iterator

import keras

from kbert.config import BertConfig
from kbert.layers.initializers import awaiting_weights, truncated_normal


def blank(model_class: type, config: BertConfig, *, has_pooler: bool, **arguments):
    """A built model whose encoder waits for its weights, while all else starts at random as ever.

    Args:
        model_class: `Bert`, or a class that holds one as its `bert`.
        config: Sizes and arithmetic of the encoder.
        has_pooler: Whether the checkpoint will fill the pooler too; if not, and the model has one, it
            starts at random.
        **arguments: The constructor's other arguments.

    Returns:
        The model; the matrices of its encoder are zeros.

    Raises:
        ValueError, TypeError: The constructor's.
    """
    with _garbage_left():
        model = model_class(config, **arguments)
        encoder = getattr(model, "bert", model)
        # The paths of weights begin with the names of the layers that are being built around them.
        around = contextlib.nullcontext() if encoder is model else keras.name_scope(model.name)
        with awaiting_weights(), around:
            encoder.build()
        # Heads are small, and one that the checkpoint lacks keeps the numbers it is given here.
        model.build()
    if encoder.pooler is not None and not has_pooler:
        kernel = encoder.pooler.dense.kernel
        kernel.assign(truncated_normal(config.initializer_range)(kernel.shape))
    return model


@contextlib.contextmanager
def _garbage_left() -> Iterator[None]:
    """Python's search for garbage put off: layers are made of many objects, and each search looks at all."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
