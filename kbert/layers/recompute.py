"""`recompute`: memory for time, with the same random numbers."""

from collections.abc import Callable, Iterable

import keras
from keras import ops

from kbert.layers.dropout import Dropout


def recompute(function: Callable, dropouts: Iterable[tuple[Dropout, int]]) -> Callable:
    """The function, keeping nothing but its inputs for the backward pass, which computes the rest again.

    A dropout layer draws another mask at each call, so a function that is simply run twice has gradients of
    other outputs than it gave. Here the seeds are drawn beforehand, outside of what is run twice, and both
    runs drop by them. They are the seeds that the layers would have drawn anyway: with or without
    recomputation a model is trained to the same weights.

    Args:
        function: Takes float tensors by position, of rank 1 at least, and returns one tensor or several.
        dropouts: Each dropout layer that the function calls in training, and how often.

    Returns:
        A function with the values and gradients of `function`, for one call.

    Reference:
        Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost", section 4.
    """
    drawn = [(layer, layer.draw_seeds(count)) for layer, count in dropouts]

    def with_drawn_seeds(*tensors):
        # 0, but only an equal input gives an equal 0: a compiler that sees one seed in both runs draws
        # once for both, and keeps all masks in between.
        zero = ops.any(ops.isnan(ops.reshape(tensors[0], (-1,))[:1]))  # There may be no rows at all.
        for layer, seeds in drawn:
            layer.use_seeds(tuple(seed + ops.cast(zero, seed.dtype) for seed in seeds))
        return function(*tensors)

    return keras.remat(with_drawn_seeds)
