"""Reads a pretraining corpus: one sentence a line, an empty line between documents."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from kbert.errors import InputError


def expand_files(patterns: Sequence[str]) -> list[Path]:
    """The files that names and globs stand for, in order, each once.

    Raises:
        InputError: A name or pattern matches no file.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        matches = sorted(glob.glob(pattern, recursive=True)) or [pattern]
        for match in matches:
            if not Path(match).is_file():
                raise InputError(f"{pattern}: no such file; expected text files or globs, comma-separated")
            files[Path(match)] = None
    return list(files)


def read_documents(files: Sequence[Path]) -> Iterator[list[str]]:
    """The documents of all files, each a list of its sentences.

    A file always begins a new document, whether or not the one before ended with an empty line.

    Raises:
        InputError: A file is not UTF-8, or no file has any text.
    """
    found = False
    for path in files:
        document: list[str] = []
        try:
            with path.open(encoding="utf-8-sig") as file:
                for line in file:
                    if sentence := line.strip():
                        document.append(sentence)
                    elif document:
                        found = True
                        yield document
                        document = []
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is not UTF-8 ({error.reason}); convert it first") from error
        if document:
            found = True
            yield document
    if not found:
        raise InputError(f"{', '.join(map(str, files))}: no text; expected one sentence a line")
