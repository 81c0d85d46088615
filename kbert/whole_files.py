"""Files that are there as a whole, or not at all."""

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from kbert.errors import InputError

#: Of `gs://bucket/run`, also where `Path` has made one slash of two; not of C:/run or tfds:glue/rte.
_ADDRESS = re.compile(r"([A-Za-z][\w+.-]+):/+(.*)", re.DOTALL)
_DAY = 24 * 60 * 60  # In seconds.


def write_whole(path: str | os.PathLike, text: str | Iterable[str]) -> None:
    r"""Writes UTF-8; whoever reads meanwhile, or after a crash, finds the old file or the new one.

    Args:
        path: In a folder that exists.
        text: Or its parts, which need not be in memory together. Half characters, which a JSON file may hold
            (`"\ud83d"`) and UTF-8 may not, are written as their escapes; in JSON they stay what they are.

    Raises:
        OSError: It could not be written, as on a full disk; it has the name of the file.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            for part in [text] if isinstance(text, str) else text:
                file.write(part.encode("utf-8", errors="backslashreplace"))
        partial.replace(path)
    except OSError as error:
        # A full disk is told when bytes are written, by an error that does not say to which file.
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def process_mark() -> str:
    """What a folder in which this process works has in its name, for `remove_leavings` to know the owner."""
    return f"{socket.gethostname()}-{os.getpid()}"


def remove_leavings(parent: Path, before: str, after: str) -> None:
    """Removes the folders in which processes worked that were killed, a day ago or earlier.

    Those of other machines stay: nothing is known of their processes. Nor is it of containers that share a
    machine's name, and no save takes a day.

    Args:
        parent: Where they are.
        before: What a name has before `process_mark`.
        after: And what behind it, as a regular expression.
    """
    of_machine = re.escape(f"{before}{socket.gethostname()}-")
    for path in [*parent.iterdir()]:
        owner = re.fullmatch(rf"{of_machine}(\d+){after}", path.name)
        if owner and path.is_dir() and _is_old(path) and not _is_running(int(owner[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _DAY
    except FileNotFoundError:  # Its owner was faster.
        return False


def _is_running(process: int) -> bool:
    if os.name == "nt":  # Where the signal 0 ends a process; leavings stay.
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # Of another user.
        pass
    return True


def check_local(path: str | os.PathLike) -> None:
    """Refuses an address, such as `gs://bucket/run`, which `Path` takes for a folder `gs:` here.

    Raises:
        InputError: With the remedy.
    """
    if address := _ADDRESS.match(os.fspath(path)):
        raise InputError(
            f"{address[1]}://{address[2]}: is an address; expected a path on this machine; mount that "
            f"storage, or copy from it and to it"
        )


def check_no_pattern(path: str | os.PathLike) -> None:
    """Refuses a path below which TensorFlow finds no checkpoint: it looks for a pattern; `a[1]` matches `a1`.

    Raises:
        InputError: With the remedy.
    """
    found = re.search(r"\[" if os.sep == "\\" else r"[\[\\]", os.fspath(path))
    if found:
        raise InputError(f"{path}: TensorFlow loads nothing from below a {found[0]}; rename the folder")


def check_writable(folder: Path) -> None:
    """Refuses a folder that cannot be written to, before hours of work for it; makes none yet.

    Raises:
        InputError: With the reason.
    """
    check_local(folder)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror})") from error


def check_new_file(path: Path) -> None:
    """Refuses a file that cannot be written, before hours of work for it; makes none yet.

    Raises:
        InputError: With the reason.
    """
    check_local(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    check_writable(path.parent)
