"""Named arrays in files, read one at a time: safetensors, for kbert's own folders and Hugging Face's."""

import os
from pathlib import Path
from typing import Protocol

import ml_dtypes  # noqa: F401  registers bfloat16 with NumPy, without which safetensors cannot read it
import numpy as np
import safetensors
import safetensors.numpy

from kbert.checkpoints.configs import read_json
from kbert.errors import InputError


class Tensors(Protocol):
    """The arrays of a checkpoint; their shapes are known before anything is read.

    Attributes:
        file: Named in errors.
        shapes: Name -> shape.
        types: Name -> element type, as the file calls it.
    """

    file: str
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, str]

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32."""
        ...


def pickled(folder: Path, before: str = "") -> InputError | None:
    """The error for a folder whose weights are pickled, with the remedy; None where there are none.

    Args:
        folder: Where they would be.
        before: What is to be done before the rest of the remedy.
    """
    files = sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        return None
    return InputError(
        f"{files[0]}: is pickled, which can run any code; {before}load it with transformers and write "
        f"model.safetensors: model.save_pretrained(FOLDER, safe_serialization=True)"
    )


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
            with safetensors.safe_open(self.file, framework="np") as opened:
                slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
                self.shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
                self.types = {name: part.get_dtype() for name, part in slices.items()}
        except safetensors.SafetensorError as error:
            raise self._damaged(error) from error

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32, whatever float type the file holds.

        Raises:
            InputError: The bytes cannot be read.
        """
        try:
            # The file is mapped into memory. Opened anew each time, only this array's pages stay there.
            with safetensors.safe_open(self.file, framework="np") as opened:
                return opened.get_tensor(name).astype(np.float32, copy=False)
        except safetensors.SafetensorError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.file}: is damaged or no safetensors file ({error}); copy or download it again, whole"
        )


class SafetensorsShards:
    """The arrays of several safetensors files with an index of which holds what, as `Tensors`.

    Args:
        index: `model.safetensors.index.json`, beside the files it names.

    Raises:
        InputError: The index is damaged or names a file outside its folder, a file is missing or damaged,
            or the files hold other arrays than the index says.

    Reference:
        https://huggingface.co/docs/transformers, "Big models", "Shard metadata".
    """

    def __init__(self, index: Path):
        self.file = str(index)
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise InputError(f"{index}: has no weight_map of names to files; copy or download it again")
        files = sorted(set(places.values()))
        # A checkpoint is data from a stranger; it has no business elsewhere on this disk.
        outside = [name for name in files if "/" in name or "\\" in name or name in ("", ".", "..")]
        if outside:
            raise InputError(
                f"{index}: names the files {', '.join(map(repr, outside))}; expected names of files beside it"
            )
        missing = [name for name in files if not (index.parent / name).is_file()]
        if missing:
            raise InputError(f"{index}: {', '.join(missing)} is missing beside it; copy or download it too")
        shards = {name: SafetensorsFile(index.parent / name) for name in files}
        held = {(array, name) for name, shard in shards.items() for array in shard.shapes}
        differing = sorted(array for array, _ in held ^ set(places.items()))
        if differing:
            raise InputError(
                f"{index}: {', '.join(differing)} not in the file that it says; "
                f"take all files from the same checkpoint"
            )
        self._shard_of = {array: shards[name] for array, name in places.items()}
        self.shapes = {array: shard.shapes[array] for array, shard in self._shard_of.items()}
        self.types = {array: shard.types[array] for array, shard in self._shard_of.items()}

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32."""
        return self._shard_of[name].read(name)


def write_safetensors(path: str | os.PathLike, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays, which must be contiguous, in the form that `SafetensorsFile` and other tools read."""
    # transformers refuses a file without this entry, which names the convention of the tensors' layout.
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
