"""Checkpoints of a run: written beside and renamed, checked when read, two of them kept."""

import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from kbert.errors import InputError

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

_FILE = re.compile(r"step-(\d{9})\.npz")
_NOTES = "notes"
# What NumPy and zipfile raise for a file that was cut off or changed.
_DAMAGE = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile)


class Checkpoints:
    """A folder of `step-000001200.npz` files, from which a run that was killed goes on.

    A file holds the values of all variables in their order, and notes in JSON. It is an uncompressed zip
    archive, which has a CRC-32 of each array, so one that is damaged is found out when it is read. Saving
    writes another file, flushes it to the disk and renames it: whenever the process is killed, the last
    good file is there.

    Args:
        folder: Made if missing; holds checkpoints, and the batch that a run failed on.
        every_steps: Optimizer steps between two checkpoints.
        keep: Number of the latest ones that are kept; a second one is there should the first be damaged.
        settings: What must be equal for a run to go on, such as the batch size and the seed; JSON values.
        may_differ: Function of a setting's name and what it was (None: it was not noted), called where it is
            another one now: whether the run goes on, which is told. None: it never does.
        marks: Settings whose values say nothing to a reader, such as digests: name -> what to say in their
            place, such as "other training rows".

    Raises:
        ValueError: `every_steps` or `keep` is less than 1.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        every_steps: int = 1000,
        keep: int = 2,
        settings: Mapping[str, Any] | None = None,
        may_differ: Callable[[str, Any], bool] | None = None,
        marks: Mapping[str, str] | None = None,
    ):
        if every_steps < 1 or keep < 1:
            raise ValueError(f"every_steps={every_steps}, keep={keep}; expected at least 1 of each")
        self.folder = Path(folder)
        self.every_steps = every_steps
        self.keep = keep
        self.settings = json.loads(json.dumps(settings or {}))  # As they will be read.
        self.may_differ = may_differ
        self.marks = marks or {}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other runs out of the folder, as long as it is entered and the process lives.

        Where the system or the file system has no locks, nobody is kept out.

        Raises:
            InputError: Another run is in it; both would write the same files, and take each other's weights.
        """
        is_new = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with _locked(self.folder):
                yield
        finally:
            if is_new:
                with contextlib.suppress(OSError):  # There are checkpoints in it.
                    self.folder.rmdir()

    def steps(self) -> list[int]:
        """The steps of which there is a file, the latest first."""
        if not self.folder.is_dir():
            return []
        matches = (_FILE.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted((int(match[1]) for match in matches if match), reverse=True)

    def save(self, step: int, variables: Sequence[keras.Variable], notes: dict[str, Any]) -> None:
        """Writes a checkpoint and removes those that are too many.

        Raises:
            InputError: It could not be written, for one because the disk is full.
        """
        arrays = {name: np.asarray(variable) for name, variable in _named(variables).items()}
        text = json.dumps({**notes, "settings": self.settings}).encode()
        write_arrays(self._path(step), {**arrays, _NOTES: np.frombuffer(text, np.uint8)})
        self.remove_old()

    def remove_old(self) -> None:
        """Removes all but the latest ones."""
        for old in self.steps()[self.keep :]:
            self._path(old).unlink()

    def restore(self, variables: Sequence[keras.Variable]) -> dict[str, Any] | None:
        """Gives the variables the values of the last good checkpoint.

        Returns:
            Its notes; None where there is no checkpoint yet.

        Raises:
            InputError: All files are damaged, or they are of another model or other settings.
            OSError: One cannot be opened; it may be as good as ever.
        """
        found = self._last_good(lambda file: {name: file[name] for name in file.files})
        if found is None:
            return None
        path, notes, arrays = found
        then = notes.pop("settings")
        self._check_settings(then, {*then, *self.settings})
        del arrays[_NOTES]
        _assign(path, variables, arrays)
        return notes

    def check(self) -> None:
        """Looks whether the settings that are known here are those of the run, if there is one.

        Other settings may be missing here, and no weights are read: a look ahead, before hours of other work.

        Raises:
            InputError: They are others, or all files are damaged.
            OSError: A file cannot be opened.
        """
        found = self._last_good(lambda file: {_NOTES: file[_NOTES]})
        if found is not None:
            self._check_settings(found[1]["settings"], self.settings)

    def _last_good(self, arrays_of: Callable) -> tuple[Path, dict[str, Any], dict[str, np.ndarray]] | None:
        """The last file that is not damaged, as far as it is read: its path, its notes and its arrays."""
        steps = self.steps()
        for step in steps:
            path = self._path(step)
            with open(path, "rb") as raw:
                try:
                    with np.load(raw) as file:
                        arrays = arrays_of(file)
                    return path, json.loads(arrays[_NOTES].tobytes()), arrays
                except _DAMAGE as error:
                    logging.warning("%s is damaged (%s); taking the one before it", path, error)
        if steps:
            raise InputError(
                f"{self.folder}: all {len(steps)} checkpoints are damaged; remove them to start anew"
            )
        return None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.npz"

    def _check_settings(self, settings, names) -> None:
        for name in sorted(names):
            then, now = settings.get(name), self.settings.get(name)
            if then == now:
                continue
            if self.may_differ is None or not self.may_differ(name, then):
                held = f"{name}={then!r}, which cannot go on with {now!r}"
                if name in self.marks:
                    held = self.marks[name]
                raise InputError(
                    f"{self.folder}: holds a run with {held}; start it as before, or name another folder"
                )
            logging.warning(
                "%s: holds a run with %s=%r, which goes on with %r; its numbers may not be those of one "
                "that was not stopped", self.folder, name, then, now,
            )  # fmt: skip


def fingerprint(parts: Iterable[bytes]) -> str:
    """A short mark of what a run is made of, such as its first weights, for `settings` of `Checkpoints`."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an `.npz` file that is complete or not there at all.

    Raises:
        InputError: It could not be written; what was there before is intact.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"{path}: could not be written ({error.strerror}); what was saved before is intact: make room "
            f"and give the same command again"
        ) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder}: another process trains into it; wait for its end, or name another folder"
            ) from error
        except OSError as error:
            logging.warning("%s: cannot be locked (%s); train into it one run at a time", folder, error)
        yield
    finally:
        os.close(descriptor)  # Which ends the lock, as the end of the process does.


def _flush_folder(folder: Path) -> None:
    """A rename survives a power cut only when its folder was flushed too."""
    if os.name == "nt":  # Windows opens no folders, and its file systems keep a log of renames.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(variables) -> dict[str, keras.Variable]:
    """By place and path: paths alone may repeat, and Keras numbers the names of a second model on."""
    return {f"{index:05d}/{variable.path}": variable for index, variable in enumerate(variables)}


def _assign(path: Path, variables, arrays) -> None:
    saved = sorted(arrays)
    if len(saved) != len(variables):
        raise InputError(
            f"{path}: holds {len(saved)} variables, but model and optimizer have {len(variables)}; start "
            f"the run as before, or name another folder"
        )
    for name, variable in zip(saved, variables, strict=True):
        if arrays[name].shape != tuple(variable.shape):
            raise InputError(
                f"{path}: {name} has shape {arrays[name].shape}, but {variable.path} has "
                f"{tuple(variable.shape)}; start the run as before, or name another folder"
            )
    for name, variable in zip(saved, variables, strict=True):
        value = arrays[name]
        # NumPy's files know no bfloat16; they keep its bytes.
        variable.assign(value.view(np.asarray(variable).dtype) if value.dtype.kind == "V" else value)
