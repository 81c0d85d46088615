"""Reads a pretraining corpus, whole or in parts that several processes can read at once.

Forms: text files with an empty line between documents, JSON lines with a document a row, both also
compressed by gzip (told by the first bytes), and datasets known to tensorflow_datasets (`tfds:NAME`) with a
document a row.
"""

import functools
import glob
import gzip
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kbert.data.json_lines import parse_object, whole_characters
from kbert.data.tfds_names import prepared_builder
from kbert.errors import InputError
from kbert.whole_files import check_local

_TFDS = "tfds:"
_BYTE_ORDER_MARK = "\ufeff"
#: How a gzip file begins, and no UTF-8 does.
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class CorpusSlice:
    """Documents that lie together in one input.

    Args:
        source: Path, or `tfds:` name.
        begin: First byte, or first row of a `tfds:` dataset.
        end: One past the last. A compressed file cannot be sliced: 0 and its size.
    """

    source: str
    begin: int
    end: int


def expand_files(patterns: Sequence[str]) -> list[Path]:
    """The files that names and globs stand for, in order, each once.

    Raises:
        InputError: A name or pattern matches no file.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        check_local(pattern)
        matches = sorted(glob.glob(pattern, recursive=True)) or [pattern]
        for match in matches:
            if not Path(match).is_file():
                raise InputError(f"{pattern}: no such file; expected text files or globs, comma-separated")
            files[Path(match)] = None
    return list(files)


def expand_sources(patterns: Sequence[str]) -> list[str]:
    """As `expand_files`, where `tfds:` names stand for themselves."""
    sources: dict[str, None] = {}
    for pattern in patterns:
        found = [pattern] if pattern.startswith(_TFDS) else map(str, expand_files([pattern]))
        sources |= dict.fromkeys(found)
    return list(sources)


def read_documents(files: Sequence[Path]) -> Iterator[list[str]]:
    """The documents of all files, each a list of its lines (sentences, in the usual form).

    A file always begins a new document, whether or not the one before ended with an empty line.

    Raises:
        InputError: A file is not UTF-8, or no file has any text.
    """
    found = False
    for path in files:
        document: list[str] = []
        for line in itertools.chain(read_lines(CorpusSlice(str(path), 0, path.stat().st_size)), [""]):
            if line:
                document.append(line)
            elif document:
                found = True
                yield document
                document = []
    if not found:
        raise InputError(f"{', '.join(map(str, files))}: no text; expected one sentence a line")


def source_stamp(source: str, *, tfds_split: str = "train") -> tuple[int, str]:
    """Size of an input, in bytes (rows of `tfds:`), and a text that changes when the input does."""
    if source.startswith(_TFDS):
        builder = prepared_builder(source.removeprefix(_TFDS))
        if tfds_split not in builder.info.splits:
            raise InputError(
                f"{source}: has no split {tfds_split!r}; expected one of {', '.join(builder.info.splits)}"
            )
        rows = builder.info.splits[tfds_split].num_examples
        return rows, f"{builder.info.full_name}/{tfds_split} {rows} rows"
    status = os.stat(source)
    return status.st_size, f"{os.path.abspath(source)} {status.st_size} bytes {status.st_mtime_ns}"


def slice_corpus(
    sources: Sequence[str], sizes: Sequence[int], *, slices: int = 128, smallest: int = 1 << 20
) -> list[list[CorpusSlice]]:
    """Parts of about equal size, each a list of slices; in order they are the whole corpus.

    No document is cut, so what the parts hold, one after the other, does not depend on where they end.

    Args:
        sources: Of `expand_sources`.
        sizes: Of each, as `source_stamp` says.
        slices: About how many parts, at most.
        smallest: Bytes below which a part is not worth its overhead.
    """
    wanted = max(smallest, -(-sum(sizes) // slices))
    parts: list[list[CorpusSlice]] = [[]]
    room = wanted
    for source, size in zip(sources, sizes, strict=True):
        for piece in _slices_of(source, size, wanted):
            if room <= 0:
                parts.append([])
                room = wanted
            parts[-1].append(piece)
            # Rows are few and long beside bytes: those of a dataset fill parts by its number of slices.
            room -= piece.end - piece.begin if not source.startswith(_TFDS) else wanted
    return [part for part in parts if part]


def _slices_of(source: str, size: int, wanted: int) -> Iterator[CorpusSlice]:
    if source.startswith(_TFDS):
        step = max(1000, -(-size // 64))
        yield from (CorpusSlice(source, begin, min(size, begin + step)) for begin in range(0, size, step))
        return
    if _is_gzip(source):
        yield CorpusSlice(source, 0, size)
        return
    begin = 0
    with open(source, "rb") as file:
        while begin < size:
            end = _border_from(file, begin + wanted, size, is_json=_is_json(source))
            yield CorpusSlice(source, begin, end)
            begin = end


def _border_from(file, position: int, size: int, *, is_json: bool) -> int:
    """The first place from `position` on where a document may begin."""
    if position >= size:
        return size
    file.seek(position - 1)
    file.readline()
    while not is_json:
        line = file.readline()
        if not line or not line.decode("utf-8", "replace").strip():
            break
    return file.tell()


def read_lines(part: CorpusSlice, *, text_field: str = "text", tfds_split: str = "train") -> Iterator[str]:
    """The lines of a slice, stripped; an empty one (or several) parts two documents.

    Args:
        part: Of `slice_corpus`.
        text_field: Of JSON rows and of `tfds:` datasets: where the text is.
        tfds_split: Of a `tfds:` dataset.

    Raises:
        InputError: A line is no UTF-8 or no JSON, or a row has no such field.
    """
    if part.source.startswith(_TFDS):
        rows = _tfds_texts(part, text_field, tfds_split)
    elif _is_json(part.source):
        rows = _json_texts(part, text_field)
    else:
        yield from (line.strip() for _, line in _decoded_lines(part))
        return
    for text in rows:
        yield from (line for line in map(str.strip, text.split("\n")) if line)
        yield ""


def _is_json(source: str) -> bool:
    return source.removesuffix(".gz").endswith((".jsonl", ".json"))


def _is_gzip(source: str) -> bool:
    with open(source, "rb") as file:
        return file.read(len(GZIP)) == GZIP


def _decoded_lines(part: CorpusSlice) -> Iterator[tuple[int, str]]:
    """Lines and their numbers within the slice, from 0."""
    compressed = _is_gzip(part.source)
    with (gzip.open if compressed else open)(part.source, "rb") as file:
        if part.begin:
            file.seek(part.begin)
        left = part.end - part.begin
        number = -1
        try:
            for number, line in enumerate(file):
                text = line.decode("utf-8")
                yield number, text if number or part.begin else text.removeprefix(_BYTE_ORDER_MARK)
                left -= len(line)
                if left <= 0 and not compressed:
                    return
        except UnicodeDecodeError as error:
            raise InputError(
                f"{_place(part, number)}: is not UTF-8 ({error.reason}); convert it first"
            ) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{part.source}: is no complete gzip file ({error}); copy or compress it again"
            ) from error


def _place(part: CorpusSlice, number: int) -> str:
    """`FILE:LINE` of the slice's n-th line; counted only where there is an error to report."""
    before = 0
    if part.begin:
        with open(part.source, "rb") as file:
            while file.tell() < part.begin:
                before += file.read(min(1 << 20, part.begin - file.tell())).count(b"\n")
    return f"{part.source}:{before + number + 1}"


def _json_texts(part: CorpusSlice, field: str) -> Iterator[str]:
    for number, line in _decoded_lines(part):
        if line.strip():
            yield text_of_row(line, field, functools.partial(_place, part, number))


def text_of_row(line: str, field: str, place: Callable[[], str]) -> str:
    """The text in a line of a JSON file.

    Args:
        line: JSON.
        field: Where the text is.
        place: Gives file and line, for an error.

    Raises:
        InputError: The line is no JSON, or has no such field.
    """
    row = parse_object(line, place)
    if not isinstance(row.get(field), str):
        raise InputError(f"{place()}: has no text in {field!r} (it has: {', '.join(row)}); set --text_field")
    return whole_characters(row[field])


def _tfds_texts(part: CorpusSlice, field: str, split: str) -> Iterator[str]:
    import tensorflow_datasets as tfds

    builder = prepared_builder(part.source.removeprefix(_TFDS))
    if field not in builder.info.features:
        raise InputError(
            f"{part.source}: has no feature {field!r} (it has: {', '.join(builder.info.features)}); "
            f"set --text_field"
        )
    rows = builder.as_dataset(split=f"{split}[{part.begin}:{part.end}]", shuffle_files=False)
    for row in tfds.as_numpy(rows):
        yield row[field].decode("utf-8")
