"""`stream_lines`: the lines of a corpus of any size as bytes, read once, with progress."""

import gzip
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from absl import logging

from kbert.data.corpus import CorpusSlice, read_lines
from kbert.errors import InputError

_GZIP = b"\x1f\x8b"
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
        files: Text in UTF-8, plain or gzip (told by the first bytes, not by the name), or JSON lines.
        strict: Whether bytes of text files that are no UTF-8 are an error; else they are passed on.
        text_field: Of JSON rows: where the text is.

    Yields:
        UTF-8 without line end and byte order mark; an empty line after each file, at which, as at any
        empty line, a document ends.

    Raises:
        InputError: A file is no UTF-8, no complete gzip, or has a row without text.
    """
    progress = _Progress(files)
    for path in files:
        if path.name.removesuffix(".gz").endswith((".jsonl", ".json")):
            whole = CorpusSlice(str(path), 0, path.stat().st_size)
            yield from (line.encode() for line in read_lines(whole, text_field=text_field))
        else:
            yield from _text_lines(path, strict, progress)
        progress.finish(path)
        yield b""


def _text_lines(path: Path, strict: bool, progress: "_Progress") -> Iterator[bytes]:
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == _GZIP
        raw.seek(0)
        try:
            lines = _cut_lines(gzip.GzipFile(fileobj=raw) if is_gzip else raw)
            for number, line in enumerate(lines, start=1):
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if strict:
                    _check(line, path, number)
                progress.log(raw)
                yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}: the gzip breaks off or is damaged ({error}); compress or copy it again"
            ) from error


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


def _check(line: bytes, path: Path, number: int) -> None:
    try:
        line.decode()
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
