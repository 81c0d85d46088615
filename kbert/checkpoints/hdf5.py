"""HDF5 files, the form in which Keras saves weights."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np

from kbert.errors import InputError


class Hdf5Files:
    """The arrays of HDF5 files, as `Tensors`, each named FILE/PATH/IN/IT.

    Args:
        folder: Holds the files.
        names: Of the files.

    Raises:
        InputError: A file is missing, damaged or no HDF5, or takes an array from elsewhere.
    """

    def __init__(self, folder: Path, names: Iterable[str]):
        self.file = str(folder)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, str] = {}
        self._folder = folder
        for name in names:
            self._list(name)

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32, whatever float type the file holds.

        Raises:
            InputError: The bytes cannot be read.
        """
        file, path = name.split("/", 1)
        try:
            # Opened anew each time: a file that stays open cannot be replaced.
            with h5py.File(self._folder / file, "r") as opened:
                array = opened[path][()]
        except (OSError, KeyError) as error:
            raise _damaged(self._folder / file, error) from error
        if self.types[name] == "bfloat16":
            array = array.view(ml_dtypes.bfloat16)
        return array.astype(np.float32, copy=False)

    def _list(self, file: str) -> None:
        path = self._folder / file
        if not path.is_file():
            raise InputError(f"{path}: there is no such file; copy or download it too")
        datasets = {}
        try:
            with h5py.File(path, "r") as opened:
                # Links, which may lead to other files, are not visited.
                opened.visititems(lambda name, item: datasets.update({name: _described(item)}))
        except (OSError, RuntimeError) as error:
            raise _damaged(path, error) from error
        for name, described in datasets.items():
            if described is None:
                continue
            self.shapes[f"{file}/{name}"], self.types[f"{file}/{name}"], elsewhere = described
            # A checkpoint is data from a stranger; it has no business with other files of this disk.
            if elsewhere:
                raise InputError(
                    f"{path}: {name} lies in another file; expected a file that holds its own arrays"
                )


def _described(item: h5py.Dataset | h5py.Group) -> tuple[tuple[int, ...], str, bool] | None:
    """Shape, element type, and whether it is stored in other files, of an array; None for a group."""
    if not isinstance(item, h5py.Dataset):
        return None
    # HDF5 has no bfloat16; Keras writes two bytes for each number and notes what they are.
    element = "bfloat16" if item.attrs.get("dtype") == "bfloat16" else item.dtype.name
    return item.shape, element, bool(item.external) or item.is_virtual


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: is damaged or no HDF5 file ({error}); copy or download it again, whole")
