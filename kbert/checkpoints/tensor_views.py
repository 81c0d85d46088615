"""Arrays of a checkpoint under other names, or without an axis for the heads: `Tensors` made of `Tensors`."""

import numpy as np

from kbert.checkpoints.tensors import Tensors


class Renamed:
    """Arrays under other names.

    Args:
        tensors: The arrays as they are stored.
        names: Other name -> stored name; what is not in it is left out.
    """

    def __init__(self, tensors: Tensors, names: dict[str, str]):
        self.file = tensors.file
        self._tensors, self._names = tensors, names
        self.shapes = {name: tensors.shapes[there] for name, there in names.items()}
        self.types = {name: tensors.types[there] for name, there in names.items()}

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32."""
        return self._tensors.read(self._names[name])


class WithoutHeadAxis:
    """Arrays of Keras's `MultiHeadAttention`, whose axes N and D become the one of H = N·D that kbert has.

    An array with another number of heads keeps its shape, and so is found not to fit.

    Args:
        tensors: The arrays as they are stored.
        axes: End of a name -> the axis N, which D follows; all other arrays stay as they are.
        num_heads: N.
    """

    def __init__(self, tensors: Tensors, axes: dict[str, int], num_heads: int):
        self.file, self.types = tensors.file, tensors.types
        self._tensors = tensors
        self.shapes = {
            name: _joined(shape, head_axis(name, axes), num_heads) for name, shape in tensors.shapes.items()
        }

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32."""
        return self._tensors.read(name).reshape(self.shapes[name])


def head_axis(name: str, axes: dict[str, int]) -> int | None:
    """The axis N of the array of that name; None if it has none.

    Example:
        >>> head_axis("block/query/kernel", {"query/kernel": 1, "query/bias": 0})
        1
    """
    return next((axis for end, axis in axes.items() if name.endswith(end)), None)


def with_head_axis(array: np.ndarray, axis: int | None, num_heads: int) -> np.ndarray:
    """An array of kbert as `MultiHeadAttention` has it: the inverse of what `WithoutHeadAxis` does.

    Args:
        array: Any.
        axis: As from `head_axis`; with None, the array stays as it is.
        num_heads: N.

    Example:
        >>> with_head_axis(np.zeros((6, 8)), 1, num_heads=2).shape
        (6, 2, 4)
    """
    if axis is None:
        return array
    return array.reshape(*array.shape[:axis], num_heads, -1, *array.shape[axis + 1 :])


def _joined(shape: tuple[int, ...], axis: int | None, num_heads: int) -> tuple[int, ...]:
    if axis is None or len(shape) < axis + 2 or shape[axis] != num_heads:
        return shape
    return (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
