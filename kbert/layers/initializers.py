"""Where every weight matrix of BERT starts, and how a model that a checkpoint will fill skips that."""

import contextlib
import contextvars
from collections.abc import Iterator

import keras

_awaiting = contextvars.ContextVar("awaiting_weights", default=False)


def truncated_normal(stddev: float) -> keras.initializers.Initializer:
    """A fresh truncated normal around 0: values beyond two standard deviations are drawn again.

    An initializer instance of Keras 3 gives the same values at every call, so each weight needs its own.

    Args:
        stddev: Standard deviation before truncation; 0.02 in BERT.

    Reference:
        google-research/bert, modeling.py, `create_initializer`.
    """
    if _awaiting.get():
        return keras.initializers.Zeros()
    return keras.initializers.TruncatedNormal(stddev=stddev)


@contextlib.contextmanager
def awaiting_weights() -> Iterator[None]:
    """Within it, weights are made as zeros, since a checkpoint is about to fill them.

    Drawing a hundred million random numbers only to overwrite them takes longer than reading the
    checkpoint. Whoever uses it must fill, or start afresh, every matrix that was made within.

    Example:
        >>> with awaiting_weights():
        ...     initializer = truncated_normal(0.02)
        >>> float(keras.ops.max(initializer((1000,))))
        0.0
    """
    token = _awaiting.set(True)
    try:
        yield
    finally:
        _awaiting.reset(token)
