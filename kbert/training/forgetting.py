"""What TensorFlow keeps of a training for good, and how it is let go."""

import contextlib
from collections.abc import Iterator

from tensorflow.python.framework import ops


@contextlib.contextmanager
def gradients_forgotten() -> Iterator[None]:
    """Forgets the gradients of one's own that graphs were given meanwhile; also a decorator.

    `tf.custom_gradient` registers a function for each place in each graph, and never takes it back. The
    function holds the graph, and the graph all variables, moments of the optimizer too: a process that trains
    one model after the other would keep five times the weights of each. What is traced inside must have its
    gradients taken inside as well, and no other thread may trace meanwhile.

    TensorFlow has no public way to do this; where its registry is not found, nothing is forgotten.
    """
    before = set(_registered())
    try:
        yield
    finally:
        registered = _registered()
        for name in set(registered) - before:
            if name.startswith("CustomGradient-"):
                del registered[name]


def _registered() -> dict:
    """Name -> gradient, TensorFlow's own dict."""
    registry = getattr(ops, "gradient_registry", None) or getattr(ops, "_gradient_registry", None)
    return getattr(registry, "_registry", {})
