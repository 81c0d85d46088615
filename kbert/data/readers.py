"""Reads labelled files: TSV, CSV, JSON lines, and datasets known to tensorflow_datasets."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from kbert.data.examples import Example
from kbert.errors import InputError

_TEXT_COLUMNS = ("text", "sentence", "text_a", "sentence1", "#1 String", "premise", "question1")
_PAIR_COLUMNS = ("text_pair", "text_b", "sentence2", "#2 String", "hypothesis", "question2")
_LABEL_COLUMNS = ("label", "Quality", "labels", "class")


def read_examples(
    source: str,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    split: str = "train",
    data_dir: str | None = None,
    labelled: bool = True,
) -> list[Example]:
    """All rows of a file or dataset.

    The extension tells the form: `.tsv` (unquoted, as GLUE's files are: a quotation mark is an ordinary
    character), `.csv` (quoted), `.jsonl` or `.json` (one object a line), all UTF-8, with or without byte
    order mark; or `tfds:NAME`, read with `tensorflow_datasets`, such as `tfds:glue/sst2`.

    Args:
        source: Path or `tfds:` name.
        text_column: Name of the column with the text; None looks for a customary one, such as `text` or
            `sentence`.
        pair_column: The second text; None looks for a customary name, `""` reads single texts.
        label_column: The label; None looks for a customary name.
        split: Of a `tfds:` dataset.
        data_dir: Where `tensorflow_datasets` keeps its data; None is its default.
        labelled: Whether every row must have a label.

    Raises:
        InputError: The file is missing, empty or malformed, or has no such column.
    """
    if source.startswith("tfds:"):
        rows = _tfds_rows(source.removeprefix("tfds:"), split, data_dir)
    else:
        rows = _file_rows(Path(source))
    examples, columns = [], None
    for place, row in rows:
        if columns is None:
            columns = (
                _column(row, text_column, _TEXT_COLUMNS, "text", place, required=True),
                _column(row, pair_column, _PAIR_COLUMNS, "pair", place, required=False),
                _column(row, label_column, _LABEL_COLUMNS, "label", place, required=labelled),
            )
        text, pair, label = (row.get(name) if name else None for name in columns)
        if text is None or (columns[1] and pair is None):
            raise InputError(f"{place}: the row has no {columns[0] if text is None else columns[1]!r}")
        if labelled and (label is None or label == ""):
            raise InputError(f"{place}: column {columns[2]!r} is empty; every row needs a label")
        examples.append(Example(text, pair, label, place))
    if not examples:
        raise InputError(f"{source}: has no rows; expected a header line and at least one row of data")
    return examples


def _column(row, asked, customary, role, place, *, required) -> str | None:
    if asked == "":
        return None
    if asked is not None:
        if asked not in row:
            raise InputError(
                f"{place}: there is no column {asked!r}; the columns are {', '.join(row)}; "
                f"set --{role}_column"
            )
        return asked
    found = next((name for name in customary if name in row), None)
    if found is None and required:
        raise InputError(
            f"{place}: none of the columns {', '.join(row)} has a customary name for the {role} "
            f"({', '.join(customary)}); set --{role}_column"
        )
    return found


def _file_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    readers = {".tsv": _tsv_rows, ".csv": _csv_rows, ".jsonl": _json_rows, ".json": _json_rows}
    if path.suffix.lower() not in readers:
        raise InputError(
            f"{path}: the extension {path.suffix!r} is unknown; expected one of "
            f"{', '.join(readers)} or tfds:NAME"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from readers[path.suffix.lower()](file, path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a TSV, CSV or JSONL file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start} of a block); convert it first") from error


def _tsv_rows(file, path):
    yield from _table_rows((line.rstrip("\r\n").split("\t") for line in file), path)


def _csv_rows(file, path):
    try:
        yield from _table_rows(csv.reader(file, strict=True), path)
    except csv.Error as error:
        raise InputError(f"{path}: is no well-formed CSV ({error}); is a quotation mark missing?") from error


def _table_rows(lines, path):
    header = next(iter(lines), None)
    if not header or header == [""]:
        raise InputError(f"{path}: is empty; expected a header line with the names of the columns")
    for number, values in enumerate(lines, start=2):
        if not values or values == [""]:
            continue
        if len(values) != len(header):
            raise InputError(
                f"{path}:{number}: {len(values)} columns, but the header names {len(header)} "
                f"({', '.join(header)}); a separator is missing or too many"
            )
        yield f"{path}:{number}", dict(zip(header, values, strict=True))


def _json_rows(file, path):
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}:{number}: is no JSON ({error.msg}); expected one object a line"
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: is a {type(row).__name__}; expected one object a line")
        yield f"{path}:{number}", {key: None if value is None else str(value) for key, value in row.items()}


def _tfds_rows(name: str, split: str, data_dir: str | None):
    # Imported here: it takes seconds, and most runs read files.
    import tensorflow_datasets as tfds

    try:
        dataset, info = tfds.load(name, split=split, data_dir=data_dir, with_info=True)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise InputError(f"tfds:{name}: {str(error).splitlines()[0]}") from error
    names = {key: feature.int2str for key, feature in info.features.items() if hasattr(feature, "int2str")}
    for number, row in enumerate(tfds.as_numpy(dataset), start=1):
        yield f"tfds:{name}/{split}:{number}", {key: _tfds_value(row[key], names.get(key)) for key in row}


def _tfds_value(value, int2str) -> str:
    if int2str is not None and int(value) >= 0:
        return int2str(int(value))
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
