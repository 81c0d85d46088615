"""Layers that are not trained: from beginning to end, or for a while."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from kbert.training.layer_rates import depth_of


def freeze_layers(model: keras.Model, layers: int) -> None:
    """Has the embeddings and the lowest layers keep their weights: no gradient, no moments, no decay.

    For good, so to be called before the optimizer sees the weights; what is computed for them is saved. See
    `GradualUnfreezing` for a while.

    Args:
        model: Built; its layers are known by `embeddings` and `layer_N` in the paths of their weights.
        layers: Number of layers; 0: the embeddings alone.

    Raises:
        ValueError: The model has not so many layers.

    Reference:
        Lee et al., 2019, "What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning".
    """
    depths = _known_depths([weight.path for weight in model.weights], layers)
    for weight, depth in zip(model.weights, depths, strict=True):
        if depth is not None and depth <= layers:
            weight.trainable = False


@dataclass(frozen=True)
class GradualUnfreezing:
    """First the head alone is trained, then one layer more at a time, from the top to the embeddings.

    A head that begins at random sends large gradients down; layers that are frozen meanwhile are not spoilt
    by them. A weight that is frozen has no gradient: it stays as it is, its moments and decay too, and the
    bias correction of `AdamW` counts from its own first step.

    Args:
        every_steps: Optimizer steps after which the highest of the frozen layers is trained too.
        layers: So many of the lowest layers are frozen at first, and the embeddings; None: all layers.

    Raises:
        ValueError: A number is out of its range.

    Reference:
        Howard and Ruder, 2018, "Universal Language Model Fine-tuning for Text Classification", section 3.3.
    """

    every_steps: int
    layers: int | None = None

    def __post_init__(self):
        if self.every_steps < 1 or (self.layers is not None and self.layers < 0):
            raise ValueError(
                f"every_steps={self.every_steps}, layers={self.layers}; expected at least 1, and 0 or more"
            )

    def first_steps(self, paths: Sequence[str]) -> list[int]:
        """The number of steps done before each weight is trained.

        Raises:
            ValueError: No path tells its layer, there are fewer layers, or nothing would be trained at first.
        """
        depths = _known_depths(paths, self.layers)
        top = max(depth for depth in depths if depth is not None) if self.layers is None else self.layers
        steps = [0 if depth is None else max(0, top + 1 - depth) * self.every_steps for depth in depths]
        if min(steps) > 0:
            raise ValueError(
                f"{'all' if self.layers is None else self.layers} layers to freeze at first, but there are "
                f"no weights above them to train meanwhile; give layers={max(top - 1, 0)} or less"
            )
        return steps


def _known_depths(paths: Sequence[str], layers: int | None) -> list[int | None]:
    depths = [depth_of(path) for path in paths]
    highest = max((depth for depth in depths if depth is not None), default=None)
    if highest is None or (layers is not None and not 0 <= layers <= highest):
        raise ValueError(
            f"{'all' if layers is None else layers} layers to freeze, but the paths of {len(paths)} weights "
            f"name {highest or 0} layers (`layer_N`); freeze no more than there are"
        )
    return depths
