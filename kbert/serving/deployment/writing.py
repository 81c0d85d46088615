"""A folder of files, whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from kbert.errors import InputError
from kbert.whole_files import check_local


def check_folder(folder: str | Path, *, overwrite: bool = False) -> bool:
    """Whether a folder is absent or empty.

    Args:
        folder: Where something is to be written.
        overwrite: Whether a folder with something in it will do as well.

    Returns:
        False for one with something in it.

    Raises:
        InputError: There is a file of that name, or a folder with something in it and no `overwrite`.
    """
    check_local(folder)
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file of that name is there; give another --output")
    is_new = not folder.exists() or not any(folder.iterdir())
    if not is_new and not overwrite:
        raise InputError(f"{folder}: there is something in it; give another --output, or --overwrite")
    return is_new


def write_folder(
    folder: str | Path, files: Mapping[str, bytes], *, overwrite: bool = False, obsolete: Iterable[str] = ()
) -> Path:
    """Writes files beside the folder and moves them into their place.

    A new folder appears complete. In one that is there, `overwrite` replaces the files of these names, each
    in one step, and removes those of `obsolete`; others, such as an operator's keys, stay.

    Args:
        folder: Where to.
        files: Path below the folder, with "/" -> content.
        overwrite: Whether a folder with something in it may be changed.
        obsolete: Paths to remove where they are not among the files.

    Returns:
        The folder, absolute.

    Raises:
        InputError: As `check_folder`.
    """
    is_new = check_folder(folder, overwrite=overwrite)
    folder = Path(folder).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A folder of tempfile is its owner's only; the one that is renamed has the usual rights.
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        staging = work / "files"
        for name, content in files.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if is_new:
            os.rename(staging, folder)
        else:
            for name in files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / name, folder / name)
            for name in set(obsolete) - set(files):
                (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder
