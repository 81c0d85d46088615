"""Where a run is in its data: batches from any number on, and one data set after another."""

import functools
from collections.abc import Callable

import tensorflow as tf

#: A data set of (inputs, targets); or a function from the number of batches to leave out to such a data
#: set, for data that can be entered in the middle faster than by reading what comes before.
Batches = tf.data.Dataset | Callable[[int], tf.data.Dataset]


def batches_from(batches: Batches, first: int) -> tf.data.Dataset:
    """The batches from number `first` on."""
    if isinstance(batches, tf.data.Dataset):
        return batches.skip(first) if first else batches
    return batches(first)


def in_phases(*phases: tuple[Batches, int]) -> Callable[[int], tf.data.Dataset]:
    """One data set after another, such as rows of 128 pieces and then rows of 512.

    Args:
        phases: Data set, and how many of its batches are taken. Their names and types must be equal, and
            their ranks; lengths may differ.

    Returns:
        Function for `fit`; it enters at any batch of any phase.

    Example:
        >>> short, long = tf.data.Dataset.range(10), tf.data.Dataset.range(100, 110)
        >>> batches = in_phases((short, 3), (long, 2))
        >>> [int(number) for number in batches(1)]
        [1, 2, 100, 101]
    """

    def batches(first: int) -> tf.data.Dataset:
        parts = []
        for data, count in phases:
            skipped = min(first, count)
            first -= skipped
            # A phase that is over stays as an empty part: with it the shapes are declared as before, and
            # the same kernels are chosen. What it would skip is not read.
            entry = skipped if skipped < count else 0
            parts.append(batches_from(data, entry).take(count - skipped))
        return functools.reduce(tf.data.Dataset.concatenate, parts)

    return batches
