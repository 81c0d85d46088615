"""Folders appear whole: files are written apart and moved to their target when all are complete."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kbert.whole_files import check_local, process_mark, remove_leavings


@contextlib.contextmanager
def staged(folder: str | os.PathLike) -> Iterator[Path]:
    """A new empty folder, which takes the place of `folder`, or whose files move into it, at the end.

    If the body raises, or a file cannot be moved, nothing of it is left, and `folder` is as it was. In a
    folder that exists, files of the same name are replaced and others stay. Were the process killed among
    these moves, the folder would lack the JSON file that says what it is, and be refused; old and new are
    never taken for one.

    Args:
        folder: The target; made if missing, with its parents. A link is followed.
    """
    check_local(folder)
    folder = Path(folder).resolve()
    exists = folder.is_dir()
    # A move is atomic only within one file system. A folder that exists may be the root of its own, such as
    # a volume of a container, and what is beside it is not always one's own to write to.
    parent, before = (folder, ".") if exists else (folder.parent, f".{folder.name}.")
    staging = parent / f"{before}{process_mark()}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        if exists:
            _move_into(folder, staging)
        else:
            staging.rename(folder)
        # Not before: of a process that was killed among its moves they hold files of the model that was here.
        remove_leavings(parent, before, r"\.partial")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move_into(folder: Path, staging: Path) -> None:
    """Moves the files of `staging` into `folder`, or leaves that as it was.

    Raises:
        OSError: A file cannot be moved, as where a folder has its name.
    """
    # The JSON files say what the others are: the old ones go first, the new ones come last.
    files = sorted(staging.iterdir(), key=lambda file: (file.suffix == ".json", file.name))
    before, moved = staging / "before", []
    before.mkdir()
    try:
        for file in reversed(files):
            if (folder / file.name).is_file():
                (folder / file.name).rename(before / file.name)
        for file in files:
            moved.append(file.replace(folder / file.name))
    except OSError:
        for file in reversed(moved):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        for file in files:
            if (before / file.name).exists():
                (before / file.name).rename(folder / file.name)
        raise
