"""Files that are there as a whole, or not at all."""

import os
from pathlib import Path


def write_whole(path: str | os.PathLike, text: str) -> None:
    r"""Writes UTF-8; whoever reads meanwhile, or after a crash, finds the old file or the new one.

    Args:
        path: In a folder that exists.
        text: Half characters, which a JSON file may hold (`"\ud83d"`) and UTF-8 may not, are written as
            their escapes; in JSON they stay what they are.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(text.encode("utf-8", errors="backslashreplace"))
    partial.replace(path)
