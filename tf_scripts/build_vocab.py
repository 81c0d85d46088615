r"""Learns a WordPiece vocabulary from plain text.

    python tf_scripts/build_vocab.py --input='corpus/*.txt,more.txt' --vocab_size=8000 --output=vocab.txt

The file has one piece a line, the special tokens first; its line number, from 0, is a piece's id.
"""

import glob
import os
import time

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError

_INPUT = flags.DEFINE_multi_string(
    "input", None, "Text files of UTF-8, or globs; a comma list, and repeatable.", required=True
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size",
    30522,
    "Entries at most, special tokens included; a small corpus can yield fewer.",
    lower_bound=1,
)
_LOWERCASE = flags.DEFINE_boolean(
    "lowercase", True, "Lower-case and strip accents; models must be told the same."
)
_OUTPUT = flags.DEFINE_string("output", None, "File to write.", required=True)


def _paths(patterns):
    """The files that the patterns name, each once, sorted."""
    paths = set()
    for pattern in ",".join(patterns).split(","):
        found = [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]
        if not found:
            raise InputError(
                f"--input: no file is named {pattern!r}; expected text files, or globs in quotes"
            )
        paths.update(found)
    return sorted(paths)


def _lines(path):
    """The lines of a file that hold text."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        lines = [line for line in content.decode("utf-8-sig").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: is no UTF-8 ({error.reason}); save the file as UTF-8") from error
    if not lines:
        raise InputError(f"{path}: holds no text; expected lines of plain text")
    return lines


def main():
    """Runs the flags."""
    started = time.monotonic()
    paths = _paths(_INPUT.value)
    lines = [line for path in paths for line in _lines(path)]
    logging.info("Read %d lines, %.1f million characters", len(lines), sum(map(len, lines)) / 1e6)

    from kbert.text import train_vocab

    vocab = train_vocab(lines, _VOCAB_SIZE.value, _LOWERCASE.value)
    os.makedirs(os.path.dirname(os.path.abspath(_OUTPUT.value)), exist_ok=True)
    vocab.write(_OUTPUT.value)
    logging.info(
        "Wrote %d word pieces to %s in %.1f s", len(vocab), _OUTPUT.value, time.monotonic() - started
    )


if __name__ == "__main__":
    entry.run(main)
