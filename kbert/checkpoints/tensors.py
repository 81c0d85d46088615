"""Named arrays in a file, read one at a time: safetensors, for kbert's own folders and Hugging Face's."""

import os
from pathlib import Path
from typing import Protocol

import ml_dtypes  # noqa: F401  registers bfloat16 with NumPy, without which safetensors cannot read it
import numpy as np
import safetensors
import safetensors.numpy

from kbert.errors import InputError


class Tensors(Protocol):
    """The arrays of a checkpoint; their shapes are known before anything is read.

    Attributes:
        file: Named in errors.
        shapes: Name -> shape. Names that carry no weight (optimizer slots, counters) are left out.
        types: Name -> element type, as the file calls it.
    """

    file: str
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, str]

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32."""
        ...


class SafetensorsFile:
    """The arrays of a safetensors file, as `Tensors`.

    Args:
        path: The file.

    Raises:
        InputError: It is missing, truncated or no safetensors file.

    Reference:
        https://huggingface.co/docs/safetensors, "Format".
    """

    def __init__(self, path: str | os.PathLike):
        self.file = str(path)
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such file; expected the weights in safetensors form")
        try:
            # Mapped, not read: a tensor costs memory when it is asked for.
            self._opened = safetensors.safe_open(self.file, framework="np")
            slices = {name: self._opened.get_slice(name) for name in self._opened.keys()}  # noqa: SIM118
        except safetensors.SafetensorError as error:
            raise self._damaged(error) from error
        self.shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
        self.types = {name: part.get_dtype() for name, part in slices.items()}

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32, whatever float type the file holds.

        Raises:
            InputError: The bytes cannot be read.
        """
        try:
            return self._opened.get_tensor(name).astype(np.float32, copy=False)
        except safetensors.SafetensorError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.file}: is damaged or no safetensors file ({error}); copy or download it again, whole"
        )


def write_safetensors(path: str | os.PathLike, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays, which must be contiguous, in the form that `SafetensorsFile` and other tools read."""
    # transformers refuses a file without this entry, which names the convention of the tensors' layout.
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
