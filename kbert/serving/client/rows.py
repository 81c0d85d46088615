"""The examples of a request: checked, split into batches, filled up."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kbert.errors import InputError
from kbert.features import TEXT, TEXT_PAIR
from kbert.serving.client.transport import Row

QUESTION = "question"
CONTEXT = "context"
CHOICES = "choices"


def text_rows(texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Rows of texts or of pairs.

    Raises:
        InputError: There is no text, there are more or fewer pairs than texts, or they are no list.

    Example:
        >>> text_rows(["a"], ["b"])
        [{'text': 'a', 'text_pair': 'b'}]
    """
    if pairs is None:
        return _joined({TEXT: texts}, "")
    return _joined({TEXT: texts, TEXT_PAIR: pairs}, "{} texts but {} second texts")


def question_rows(questions: Sequence[str], contexts: Sequence[str]) -> list[dict[str, str]]:
    """Rows of questions on passages; errors as of `text_rows`."""
    return _joined({QUESTION: questions, CONTEXT: contexts}, "{} questions but {} passages")


def choice_rows(
    texts: Sequence[str], questions: Sequence[str], choices: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Rows of a text, a question and choices; errors as of `text_rows`."""
    columns = {TEXT: texts, QUESTION: questions, CHOICES: choices}
    rows = _joined(columns, "{} texts but {} questions and {} lists of choices")
    if any(isinstance(row[CHOICES], str) for row in rows):
        raise InputError("choices are a single string; give a list of them for each question")
    return [{**row, CHOICES: list(row[CHOICES])} for row in rows]


def _joined(columns: Mapping[str, Sequence], counts: str) -> list[dict[str, Any]]:
    """Rows of the values of each input, or `counts` with their numbers as the error."""
    for name, values in columns.items():
        if isinstance(values, str | Mapping):  # Of a dict the names would be sent.
            kind = "a single string" if isinstance(values, str) else "a dict"
            raise InputError(f"{name} is {kind}; give a list, with a value for each row")
    columns = {name: list(values) for name, values in columns.items()}
    lengths = [len(values) for values in columns.values()]
    if not any(lengths):
        raise InputError("no text to send; give at least one")
    if len(set(lengths)) > 1:
        raise InputError(f"{counts.format(*lengths)}; give one for each")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def checked_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows, if they can be sent as one batch, with whole characters.

    Args:
        rows: Inputs by name: text, lists of text, numbers, or bytes.

    Returns:
        The same; where a text has a character as two halves (surrogates), it has the character.

    Raises:
        InputError: There is none, one has other names than the first, or half a character.
    """
    if not rows:
        raise InputError("no text to send; give at least one")
    checked = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise InputError(f"row {number}: {row!r:.80}; expected inputs by name, such as {{'text': '...'}}")
        if row.keys() != rows[0].keys():
            came, expected = (", ".join(sorted(each)) or "none" for each in (row, rows[0]))
            raise InputError(f"row {number} has the inputs {came}; the first row has {expected}")
        try:
            checked.append({name: _whole(value) for name, value in row.items()})
        except UnicodeDecodeError:
            raise InputError(
                f"row {number} has half a character (a lone surrogate), which is no text; leave it out"
            ) from None
    return checked


def batches(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    """The rows in their order, `size` at a time.

    Choices are filled up with empty ones, which are none, to the number of the batch's longest row.

    Args:
        rows: All with the same names.
        size: Of a batch.
    """
    for start in range(0, len(rows), size):
        batch: list[Row] = list(rows[start : start + size])
        if isinstance(batch[0].get(CHOICES), list):
            width = max(len(row[CHOICES]) for row in batch)
            batch = [{**row, CHOICES: [*row[CHOICES], *[""] * (width - len(row[CHOICES]))]} for row in batch]
        yield batch


def _whole(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    return value
