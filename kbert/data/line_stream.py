"""`stream_lines`: the lines of a corpus of any size as bytes, read once, with progress."""

import contextlib
import gzip
import io
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from absl import logging

from kbert.data.corpus import GZIP, text_of_row
from kbert.errors import InputError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: A longer line is cut, so that a file without line ends does not have to fit into memory.
_MAX_LINE_BYTES = 1 << 24
_LOG_SECONDS = 10


def stream_lines(files: Sequence[Path], *, strict: bool = True, text_field: str = "text") -> Iterator[bytes]:
    r"""The lines of all files, one file after the other.

    For tools that look at text as it is, damage included: `read_lines` of `kbert.data.corpus` is what records
    are made from. Only `"\n"` ends a line. Lines of over 16 MB come in parts, cut at a blank where there is
    one. Every few seconds a line is logged with how far it is, the rate and the time left.

    Args:
        files: Text in UTF-8 or JSON lines (told by the name), plain or gzip (told by the first bytes).
        strict: Whether bytes of text files that are no UTF-8 are an error; else they are passed on.
        text_field: Of JSON rows: where the text is.

    Yields:
        UTF-8 without line end and byte order mark; an empty line after each row and each file, at which, as
        at any empty line, a document ends.

    Raises:
        InputError: A file is no UTF-8, no complete gzip, or has a row without text.
    """
    progress = _Progress(files)
    for path in files:
        is_json = path.name.removesuffix(".gz").endswith((".jsonl", ".json"))
        with _opened(path) as (raw, file):
            for line in _json_lines(file, path, text_field) if is_json else _text_lines(file, path, strict):
                progress.log(raw)
                yield line
        progress.finish(path)
        yield b""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO | gzip.GzipFile]]:
    """A file as it is, and what is to be read of it."""
    with path.open("rb") as raw:
        is_gzip = raw.read(len(GZIP)) == GZIP
        raw.seek(0)
        try:
            yield raw, gzip.GzipFile(fileobj=raw) if is_gzip else raw
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}: the gzip breaks off or is damaged ({error}); compress or copy it again"
            ) from error


def _text_lines(file: BinaryIO | gzip.GzipFile, path: Path, strict: bool) -> Iterator[bytes]:
    for number, line in enumerate(_cut_lines(file), start=1):
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if strict:
            _decoded(line, path, number)
        yield line


def _json_lines(file: BinaryIO | gzip.GzipFile, path: Path, text_field: str) -> Iterator[bytes]:
    """As `read_lines` gives them: stripped, and none of them empty but the one after each row."""
    for number, row in enumerate(file, start=1):
        if number == 1:
            row = row.removeprefix(_BYTE_ORDER_MARK)
        row = _decoded(row, path, number)
        if row.strip():
            text = text_of_row(row, text_field, lambda number=number: f"{path}:{number}")
            for line in filter(None, map(str.strip, text.split("\n"))):
                yield from _cut_lines(io.BytesIO(line.encode()))
            yield b""


def _cut_lines(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    rest = b""
    while read := file.readline(_MAX_LINE_BYTES - len(rest)):
        line, rest = rest + read, b""
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            cut = line.rfind(b" ") + 1 or _last_character(line)
            line, rest = line[:cut], line[cut:]
        yield line.removesuffix(b"\n").removesuffix(b"\r")
    if rest:
        yield rest


def _last_character(line: bytes) -> int:
    """Where the last character begins: at most 4 bytes before the end."""
    begins = (i for i in range(len(line) - 1, len(line) - 5, -1) if line[i] & 0xC0 != 0x80)
    return next(begins, len(line))


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:{number}: is no UTF-8 ({error.reason}); save the file as UTF-8") from error


class _Progress:
    """Logs how far a reader has come; in bytes of the files as they are, compressed or not."""

    def __init__(self, files: Sequence[Path]):
        self._total = sum(path.stat().st_size for path in files)
        self._done = 0
        self._started = self._logged = time.monotonic()

    def log(self, file: BinaryIO) -> None:
        now = time.monotonic()
        if now - self._logged < _LOG_SECONDS:
            return
        self._logged = now
        read = self._done + file.tell()
        rate = read / (now - self._started)
        logging.info(
            "Read %.0f of %.0f MB, %.1f MB/s, %.0f s left",
            read / 1e6, self._total / 1e6, rate / 1e6, (self._total - read) / rate,
        )  # fmt: skip

    def finish(self, path: Path) -> None:
        self._done += path.stat().st_size
