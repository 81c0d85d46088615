"""Folders appear whole: files are written beside their target and moved there when all are complete."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def staged(folder: str | os.PathLike) -> Iterator[Path]:
    """A new empty folder beside `folder`, which takes its place, or whose files move into it, at the end.

    If the body raises, nothing of it is left, and `folder` is as it was. In a folder that exists, files
    of the same name are replaced and others stay. Were the process killed among these moves, the folder
    would lack the JSON file that says what it is, and be refused; old and new are never taken for one.

    Args:
        folder: The target; made if missing, with its parents.
    """
    folder = Path(folder).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target: a move is atomic only within one file system.
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        if not folder.exists():
            staging.rename(folder)
            return
        # The JSON files say what the others are: the old ones go first, the new ones come last.
        files = sorted(staging.iterdir(), key=lambda file: (file.suffix == ".json", file.name))
        for file in files:
            if file.suffix == ".json":
                (folder / file.name).unlink(missing_ok=True)
        for file in files:
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
