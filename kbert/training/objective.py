"""What a step minimises: terms of (sum, weight), which parts of a batch add up to without rounding a mean."""

import itertools
from typing import Protocol

import tensorflow as tf


class Objective(Protocol):
    """What to minimise and what to watch, in terms of (sum, weight) pairs.

    Attributes:
        losses: Names of the terms whose means are added up and minimised.
        metrics: Names of the other terms.
    """

    @property
    def losses(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def metrics(self) -> tuple[str, ...]: ...  # noqa: D102

    def __call__(self, outputs, targets) -> dict:
        """Name -> (sum, weight), two float32 scalars, for every name in `losses` and `metrics`.

        The weights follow from the targets alone, whatever the outputs are.
        """
        ...


def cut(batch, parts: int, costs=None) -> list:
    """The rows of a batch in so many parts, as even as they come; where they are too few, some have none.

    Args:
        batch: Nested tensors, each of B rows.
        parts: At least 1.
        costs: int32 (B,), what each row costs; the parts then cost the same, each of rows that cost alike.
            None: the parts have as many rows each, in their order.
    """
    first = tf.nest.flatten(batch)[0]
    rows = first.shape[0]
    if rows is None:
        rows = tf.shape(first)[0]
    else:
        parts = min(parts, rows)  # Keras cannot add what is known to have no rows.
    if parts == 1:
        return [batch]
    bounds = [rows * number // parts for number in range(parts + 1)]
    if costs is not None:
        order = tf.argsort(costs)
        batch = tf.nest.map_structure(lambda values: tf.gather(values, order), batch)
        bounds[1:-1] = _even_bounds(tf.gather(costs, order), parts)
    return [
        tf.nest.map_structure(lambda values, begin=begin, end=end: values[begin:end], batch)
        for begin, end in itertools.pairwise(bounds)
    ]


def _even_bounds(costs, parts: int) -> list:
    """Where to cut rows so that what is before each cut costs as near to its share as may be."""
    costs = tf.cast(costs, tf.float32)
    total = tf.reduce_sum(costs)
    shares = tf.stack([total * number / parts for number in range(1, parts)])
    # Half of a row's cost taken off: the row at the cut goes to where the larger half of it would be.
    return tf.unstack(tf.searchsorted(tf.cumsum(costs) - costs / 2, shares))


def added(parts: list[dict]) -> dict:
    """The terms of all parts, as those of one batch."""
    if len(parts) == 1:
        return parts[0]
    return {
        name: tuple(tf.add_n([part[name][place] for part in parts]) for place in range(2))
        for name in parts[0]
    }
