"""JSON lines: one object a line."""

import json
import re
from collections.abc import Callable
from typing import Any

from kbert.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")
#: Python writes a missing number, as of pandas, as NaN, where JSON has null.
_DECODER = json.JSONDecoder(parse_constant=lambda name: None if name == "NaN" else float(name))


def whole_characters(text: str) -> str:
    """The text with U+FFFD for half a surrogate pair, which JSON can write and UTF-8 has not.

    Replaced one for one, so that places in characters stay.
    """
    return _SURROGATE.sub("\ufffd", text)


def parse_object(line: str, place: Callable[[], str]) -> dict[str, Any]:
    """The object in a line; what is NaN in it is None.

    Args:
        line: JSON.
        place: Gives file and line, for an error; to count lines can take a while.

    Raises:
        InputError: The line is no JSON, or no object.
    """
    try:
        row = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:  # Also of numbers and nesting that Python refuses.
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error).split(";")[0]
        raise InputError(f"{place()}: is no JSON ({reason}); expected one object a line") from error
    if not isinstance(row, dict):
        raise InputError(f"{place()}: is a {type(row).__name__}; expected one object a line")
    return row
