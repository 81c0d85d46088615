"""TensorFlow's names of element types beside NumPy's, and what a signature says of one tensor."""

from dataclasses import dataclass

import numpy as np

#: Type names as TensorFlow's messages write them, and how this server holds such values.
NUMPY_TYPES = {
    "string": object,
    "bool": np.bool_,
    "float": np.float32,
    "double": np.float64,
    "half": np.float16,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}

_TYPE_NAMES = {np.dtype(numpy_type): name for name, numpy_type in NUMPY_TYPES.items()}


def type_name(dtype: np.dtype) -> str:
    """TensorFlow's name of a NumPy type.

    Example:
        >>> type_name(np.dtype(np.float32))
        'float'
    """
    return _TYPE_NAMES.get(dtype, str(dtype))


@dataclass(frozen=True)
class TensorSlot:
    """One named input or output of a signature.

    Args:
        tensor: Name of the tensor in the graph, such as `serving_default_text:0`.
        type: Type name, such as `string`.
        shape: Sizes, None for any size; None instead of the tuple for any rank.
    """

    tensor: str
    type: str
    shape: tuple[int | None, ...] | None

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape may be fed."""
        if self.shape is None:
            return True
        pairs = zip(self.shape, shape, strict=False)
        return len(shape) == len(self.shape) and all(size in (None, given) for size, given in pairs)


def show_shape(shape: tuple[int | None, ...]) -> str:
    """A shape as TensorFlow's messages write it.

    Example:
        >>> show_shape((None, 3))
        '[?,3]'
    """
    return f"[{','.join('?' if size is None else str(size) for size in shape)}]"
