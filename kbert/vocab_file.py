"""How a `vocab.txt` is read: by the tokenizer and by checkpoints alike, which do not import each other."""

import os
from pathlib import Path

from kbert.errors import InputError
from kbert.whole_files import check_local


def read_entries(path: str | os.PathLike) -> list[str]:
    r"""The entries of a vocabulary file, in order: the number of the line, from 0, is the id.

    Only `"\n"` ends a line: Google's Chinese vocabulary has U+2028 as an entry, at which `splitlines` would
    break. A byte order mark, Windows line ends, blanks and tabs around an entry, and empty lines at the end
    are put right; an empty line elsewhere stays, for it is some id's.

    Raises:
        InputError: The file cannot be read, or is no UTF-8.
    """
    check_local(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a vocabulary file") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: is no UTF-8 ({error.reason}); save the file as UTF-8") from error
    lines = [line.removesuffix("\r").strip(" \t") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
