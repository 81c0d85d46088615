"""JSON as RapidJSON's pretty writer prints it: four spaces, and arrays on one line inside errors and rows."""

import re
from collections.abc import Iterable
from typing import Any

_INDENT = "    "
_UNSAFE = re.compile(r'["\\\x00-\x1f]')
_NAMED_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def quote(string: bytes) -> str:
    r"""A JSON string literal; only what JSON forbids is escaped, and invalid UTF-8 survives `to_bytes`.

    Example:
        >>> quote(b'say "hi"\x01')
        '"say \\"hi\\"\\u0001"'
    """
    text = string.decode("utf-8", "surrogateescape")
    return '"' + _UNSAFE.sub(lambda m: _NAMED_ESCAPES.get(m[0]) or f"\\u{ord(m[0]):04X}", text) + '"'


def to_bytes(text: str) -> bytes:
    """The bytes of printed JSON, undoing the surrogate escapes of `quote`."""
    return text.encode("utf-8", "surrogateescape")


def pretty(value: Any, level: int = 0, *, one_line_arrays: bool = True) -> str:
    """A JSON value in RapidJSON's layout: four spaces, one member a line.

    Args:
        value: What `json_reader.parse` returns; a `str` is taken as JSON that is already printed.
        level: How many arrays and objects are open around the value.
        one_line_arrays: Whether arrays stand on one line, as in errors and predictions, or take one line an
            element, as in outputs.

    Returns:
        The text, without a final line break.

    Example:
        >>> print(pretty({b"instances": [b"a", [1, None]]}))
        {
            "instances": ["a", [1, null]]
        }
    """
    if isinstance(value, dict):
        if not value:
            return "{}"
        members = (
            f"{quote(name)}: {pretty(item, level + 1, one_line_arrays=one_line_arrays)}"
            for name, item in value.items()
        )
        return _lines("{", members, level, "}")
    if isinstance(value, list):
        if not value:
            return "[]"
        items = [
            item if isinstance(item, str) else pretty(item, level + 1, one_line_arrays=one_line_arrays)
            for item in value
        ]
        return f"[{', '.join(items)}]" if one_line_arrays else _lines("[", items, level, "]")
    return _scalar(value)


def _lines(opening: str, items: Iterable[str], level: int, closing: str) -> str:
    inner = "\n" + _INDENT * (level + 1)
    return f"{opening}{inner}{f',{inner}'.join(items)}\n{_INDENT * level}{closing}"


def _scalar(value: Any) -> str:
    if isinstance(value, bytes):
        return quote(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)
