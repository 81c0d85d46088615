"""Rows of labelled files, TSV, CSV or JSON lines, and of datasets known to tensorflow_datasets."""

import csv
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from kbert.data.json_lines import parse_object
from kbert.data.tfds_names import prepared_builder
from kbert.errors import InputError
from kbert.whole_files import check_local

#: Characters of a CSV field; Python's own limit of 131,072 is there for memory, and a text may be a book.
_LONGEST_FIELD = 2**31 - 1
#: What stands for the label of a row without one, which has a negative number in data sets.
_NO_LABEL = "-"
#: What a header of one name has in it where its columns are parted otherwise.
_OTHER_SEPARATOR = re.compile("[;,\t|]")
#: What a row has under a name that several columns have; wrong only where that name is read.
_SEVERAL = object()


class Column(NamedTuple):
    """Which column of a file holds what.

    Args:
        role: What it holds, such as `text`.
        asked: Its name as the user gave it; None looks for a customary one, `""` is none, if it need not be.
        customary: The names it has in well-known files; ("question", "sentence") is a column `question` in a
            file that also has a `sentence`, as QNLI's.
        required: Whether there must be one.
        may_vary: Whether some rows of a JSON file may have it and others not.
    """

    role: str
    asked: str | None
    customary: tuple[str | tuple[str, str], ...]
    required: bool = True
    may_vary: bool = False

    @property
    def remedy(self) -> str:
        """What its user can do where it is not found."""
        flags = {"text": "text", "context": "text", "pair": "pair", "label": "label", "score": "label"}
        if self.role not in flags:
            return f"rename the one with the {self.role}"
        return f"set --{flags[self.role]}_column, or --columns if the file has no header line"

    def customary_name(self, present: Container[str]) -> str | None:
        """The first of the customary names that is among those present."""
        for name in self.customary:
            name, beside = (name, name) if isinstance(name, str) else name
            if name in present and beside in present:
                return name
        return None


def read_columns(
    source: str,
    columns: Sequence[Column],
    *,
    names: Sequence[str] | None = None,
    split: str = "train",
    data_dir: str | None = None,
    told: bool = True,
) -> Iterator[tuple[str, list[Any]]]:
    """File and line of each row, and what it has in each of `columns`; None for a column there is not.

    Values are strings in TSV and CSV files, strings or lists of them in data sets, and what they are in JSON.

    Args:
        source: Path or `tfds:` name, as for `kbert.data.read_examples`.
        columns: Those to read.
        names: The columns of a TSV or CSV file that has no header line.
        split: Of a `tfds:` dataset.
        data_dir: Where `tensorflow_datasets` keeps its data; None is its default.
        told: Whether to log which columns are read, and which are not.

    Raises:
        InputError: The file is missing, empty or malformed, or lacks a column that is required.
    """
    if source.startswith("tfds:"):
        rows = _tfds_rows(source.removeprefix("tfds:"), split, data_dir)
    else:
        check_plain(source)
        rows = _file_rows(Path(source), names)
    found, first, said_first = None, "", ()
    for place, row in rows:
        if found is None:
            found, first = _columns(row, columns, place), place
            said_first = [name for name, value in row.items() if value is not None]
            if told:
                _tell(source, columns, found, row)
        for column, name in zip(columns, found, strict=True):
            if name is not None and row.get(name) is None:
                _refuse_another_name(row, column, name, (*found, *said_first), place)
        found = [
            _late(row, column, found, place, first) if name is None else name
            for column, name in zip(columns, found, strict=True)
        ]
        yield place, [_value(row, *pair, place) for pair in zip(columns, found, strict=True)]
    if found is None:
        raise InputError(f"{source}: has no rows; expected a header line and at least one row of data")


def check_plain(path: str) -> None:
    """Refuses an address, and a compressed file: of those only corpora may be, which are large.

    Raises:
        InputError: With the remedy.
    """
    check_local(path)
    if str(path).lower().endswith(".gz"):
        raise InputError(f"{path}: is compressed; expected a plain file; unpack it first, as by gunzip")


def warn_of_unsaid(source: str, places: Sequence[str], what: str, none: str = "[]") -> None:
    """Tells of rows that say nothing of what they may have none of: is it none, or a name misspelt?

    Args:
        source: Of the rows.
        places: File and line of each.
        what: They may have, in words.
        none: What says that a row has none.
    """
    if places:
        logging.warning(
            "%s: %d rows, such as %s, do not say what %s they have, and are read as without any; %s says so",
            *(source, len(places), places[0], what, none),
        )


def _columns(row: dict, columns: Sequence[Column], place: str) -> list[str | None]:
    """The names of the columns in this file. A customary one is taken once, whatever else it could be."""
    names, taken = [], {column.asked for column in columns}
    for column in columns:
        names.append(_column(row, column, taken, place))
        taken.add(names[-1])
    return names


def _column(row: dict, column: Column, taken: Container[str | None], place: str) -> str | None:
    """The name that the column has in this file."""
    role, asked, customary, required, _ = column
    if asked == "":
        if required:
            raise InputError(
                f"{place}: '' is no name of the column with the {role}, which there must be; the columns are "
                f"{', '.join(row)}; {_remedy(row, column)}"
            )
        return None
    if asked is not None:
        if asked not in row:
            raise InputError(
                f"{place}: there is no column {asked!r}; the columns are {', '.join(row)}; "
                f"{_remedy(row, column)}"
            )
        return asked
    found = column.customary_name(row)
    found = None if found in taken else found
    if found is None and required:
        known = ", ".join(name for name in customary if isinstance(name, str))
        raise InputError(
            f"{place}: none of the columns {', '.join(row)} has a customary name for the {role} "
            f"({known}); {_remedy(row, column)}"
        )
    return found


def _remedy(row: dict, column: Column) -> str:
    """What the user of a file can do where the column is not found."""
    if len(row) == 1 and _OTHER_SEPARATOR.search(next(iter(row))):
        return "expected a comma between columns in .csv, a tab in .tsv"
    return column.remedy


def _tell(source: str, columns: Sequence[Column], found: Sequence[str | None], row: dict) -> None:
    """Logs what is read as what: a customary name may be meant otherwise."""
    read = ", ".join(f"{column.role} {name!r}" for column, name in zip(columns, found, strict=True) if name)
    others = ", ".join(name for name in row if name not in found)
    logging.info("%s: columns read: %s%s", source, read, f"; not read: {others}" if others else "")


def _value(row: dict, column: Column, name: str | None, place: str) -> Any:
    """What the row has there; None where the file has no such column."""
    value = None if name is None else row.get(name)
    if value is _SEVERAL:
        raise InputError(f"{place}: several columns have the name {name!r}; rename all but one")
    if name is not None and column.role in ("text", "pair", "negative"):
        if value is None and column.role != "negative":
            raise InputError(f"{place}: the row has no {name!r}")
        if isinstance(value, list | dict):
            raise InputError(f"{place}: {name!r} is {value!r}; expected a text")
    return value


def _late(row: dict, column: Column, taken: Container[str | None], place: str, first: str) -> str | None:
    """The name of a column that no row before this one had, of JSON, whose rows have keys of their own.

    Raises:
        InputError: All rows must have it, or none.
    """
    if column.asked == "":
        return None
    name = column.customary_name({name for name in row if row[name] is not None and name not in taken})
    if name is not None and not column.may_vary:
        remedy = ", or --pair_column= to read single texts" if column.role == "pair" else ""
        raise InputError(
            f"{place}: has {name!r}, which {first} has not; expected the same names in each row{remedy}"
        )
    return name


def _refuse_another_name(row: dict, column: Column, name: str, known: Container, place: str) -> None:
    """Refuses a row of JSON that has the column, but by another customary name: it would be lost.

    Args:
        row: Without a value under `name`.
        column: The column.
        name: Its name in the rows before this one.
        known: Names that are something else here: the first row has them too, or they are read already.
        place: Of the row.

    Raises:
        InputError: It has.
    """
    if column.asked is None:
        other = column.customary_name({key for key in row if row[key] is not None and key not in known})
        if other is not None:
            raise InputError(
                f"{place}: has {other!r}, the rows before it {name!r}; expected the same names in each row"
            )


def _file_rows(path: Path, names: Sequence[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    readers = {".tsv": _tsv_rows, ".csv": _csv_rows, ".jsonl": _json_rows, ".json": _json_rows}
    extension = path.suffix.lower()
    if extension not in readers:
        raise InputError(
            f"{path}: the extension {path.suffix!r} is unknown; expected one of "
            f"{', '.join(readers)} or tfds:NAME"
        )
    try:
        # A lone carriage return is a character of a text, but in CSV, where the reader takes care of it.
        with path.open(encoding="utf-8-sig", newline="" if extension == ".csv" else "\n") as file:
            yield from readers[extension](file, path, names)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a TSV, CSV or JSONL file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start} of a block); convert it first") from error


def _tsv_rows(file, path, names):
    lines = (line.rstrip("\r\n") for line in file)
    rows = (line.split("\t") if line else [] for line in lines)
    yield from _table_rows(_without_blank_end(enumerate(rows, start=1)), path, names)


def _without_blank_end(lines):
    """Blank lines, which have no values, hold an empty text, but at the end of a file nothing."""
    blank = []
    for number, values in lines:
        blank.append((number, values or [""]))
        if values:
            yield from blank
            blank.clear()


def _csv_rows(file, path, names):
    csv.field_size_limit(_LONGEST_FIELD)
    rows = _numbered(csv.reader(file, strict=True), path)
    yield from _table_rows(_without_blank_end(rows), path, names)


def _numbered(reader, path):
    """Rows, each with the line that it begins in: a quoted field may go over several."""
    begin = 1
    try:
        for values in reader:
            yield begin, values
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}:{begin}: is no well-formed CSV ({error}); is a quotation mark missing?"
        ) from error


def _table_rows(lines, path, names):
    _, header = (0, names) if names else next(lines, (0, None))
    if not header or header == [""]:
        raise InputError(
            f"{path}: is empty or begins with an empty line; expected a header line with the names of the "
            f"columns"
        )
    twice = {name: _SEVERAL for name in header if header.count(name) > 1}
    broken = []
    for number, values in lines:
        if values == [""] and len(header) > 1:
            continue
        if len(values) == len(header):
            yield f"{path}:{number}", {**dict(zip(header, values, strict=True)), **twice}
        else:
            broken.append((number, len(values)))
    if broken:
        # Told of all at once: whoever mends the file must look at each, as in QQP's of GLUE.
        (number, count), *others = broken
        listed = ", ".join(str(line) for line, _ in others[:10]) + (", ..." if others[10:] else "")
        raise InputError(
            f"{path}:{number}: {count} columns, but {'--columns' if names else 'the header'} names "
            f"{len(header)} ({', '.join(header)}); a separator is missing or too many"
            + (f"; {len(others)} more such lines: {listed}" if others else "")
        )


def _json_rows(file, path, names):
    if names:
        raise InputError(f"{path}: --columns is for TSV and CSV files without a header; JSON names its own")
    for number, line in enumerate(file, start=1):
        if line.strip():
            place = f"{path}:{number}"
            yield place, parse_object(line, lambda place=place: place)


def _tfds_rows(name: str, split: str, data_dir: str | None):
    # Imported here: it takes seconds, and most runs read files.
    import tensorflow_datasets as tfds

    builder = prepared_builder(name, data_dir)
    features = builder.info.features
    try:
        dataset = builder.as_dataset(split=split)
    except ValueError as error:
        raise InputError(f"tfds:{name}: {str(error).splitlines()[0]}") from error
    names = {key: feature.int2str for key, feature in features.items() if hasattr(feature, "int2str")}
    for number, row in enumerate(tfds.as_numpy(dataset), start=1):
        yield f"tfds:{name}/{split}:{number}", {key: _tfds_value(row[key], names.get(key)) for key in row}


def _tfds_value(value, int2str) -> str | list:
    if getattr(value, "ndim", 0):
        return [_tfds_value(item, int2str) for item in value]
    if int2str is not None:
        return int2str(int(value)) if int(value) >= 0 else _NO_LABEL
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
