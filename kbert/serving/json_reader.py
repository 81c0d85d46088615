"""JSON as RapidJSON reads it, because that is what a client of TF Serving meets.

Python's own `json` differs where it shows: RapidJSON stops at the end of the document and ignores what
follows, names the byte offset of an error, lets invalid UTF-8 inside strings pass, and takes NaN and Inf.
Strings stay `bytes` from the request to the tensor.

Reference:
    RapidJSON's error codes (http://rapidjson.org/md_doc_dom.html) and recorded answers of TF Serving.
"""

import math
import re
from typing import Any, NoReturn

#: RapidJSON would recurse until the stack ends; a request for a tensor needs a handful of levels.
MAX_DEPTH = 100

_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(rb"[ \n\r\t]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX4 = re.compile(rb"[0-9A-Fa-f]{4}")
_LOW_SURROGATE = re.compile(rb"\\u([0-9A-Fa-f]{4})")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_DIGITS = re.compile(rb"[0-9]+")
_EXPONENT = re.compile(rb"[eE][+-]?")
_NOT_FINITE = re.compile(rb"(-?)(NaN|Infinity|Inf)")
_ESCAPES = {
    b'"': b'"',
    b"\\": b"\\",
    b"/": b"/",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
}
_WORDS = {b"n": (b"null", None), b"t": (b"true", True), b"f": (b"false", False)}


class JsonError(ValueError):
    """A document that is not JSON; the message is RapidJSON's, with the byte offset."""

    def __init__(self, message: str, offset: int):
        super().__init__(f"{message} at offset: {offset}")


def parse(document: bytes) -> Any:
    """The first JSON value of a document.

    Args:
        document: UTF-8, perhaps with a byte order mark; text after the value is ignored.

    Returns:
        None, bool, int (within int64 or uint64), float, bytes for a string, list, or dict with bytes keys
        (of equal keys the first wins, as in RapidJSON's lookup).

    Raises:
        JsonError: The document is empty, malformed, or nested deeper than `MAX_DEPTH`.

    Example:
        >>> parse(b'{"a": [1, 2.0, NaN, "x"]} and more')
        {b'a': [1, 2.0, nan, b'x']}
    """
    reader = _Reader(document, len(_BOM) if document.startswith(_BOM) else 0)
    reader.skip_space()
    if reader.peek() in (b"", b"\0"):
        reader.fail("The document is empty.")
    return reader.value(depth=0)


class _Reader:
    """A recursive descent parser; `at` is the offset of the next byte, always where an error would be."""

    def __init__(self, document: bytes, at: int):
        self.document = document
        self.at = at

    def fail(self, message: str, offset: int | None = None) -> NoReturn:
        raise JsonError(message, self.at if offset is None else offset)

    def peek(self) -> bytes:
        return self.document[self.at : self.at + 1]

    def take(self, byte: bytes) -> bool:
        if self.peek() != byte:
            return False
        self.at += 1
        return True

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self.document, self.at)
        if found:
            self.at = found.end()
        return found

    def skip_space(self) -> None:
        self.match(_SPACE)

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            self.fail(f"The document is nested deeper than {MAX_DEPTH} levels.")
        first = self.peek()
        if first == b'"':
            return self.string()
        if first == b"{":
            return self.object(depth)
        if first == b"[":
            return self.array(depth)
        if first in _WORDS:
            return self.word(*_WORDS[first])
        return self.number()

    def word(self, letters: bytes, meaning: bool | None) -> bool | None:
        for index in range(len(letters)):
            if not self.take(letters[index : index + 1]):
                self.fail("Invalid value.")
        return meaning

    def array(self, depth: int) -> list:
        items: list = []
        self.take(b"[")
        self.skip_space()
        if self.take(b"]"):
            return items
        while True:
            items.append(self.value(depth + 1))
            self.skip_space()
            if self.take(b"]"):
                return items
            if not self.take(b","):
                self.fail("Missing a comma or ']' after an array element.")
            self.skip_space()

    def object(self, depth: int) -> dict:
        members: dict = {}
        self.take(b"{")
        self.skip_space()
        if self.take(b"}"):
            return members
        while True:
            if self.peek() != b'"':
                self.fail("Missing a name for object member.")
            name = self.string()
            self.skip_space()
            if not self.take(b":"):
                self.fail("Missing a colon after a name of object member.")
            self.skip_space()
            members.setdefault(name, self.value(depth + 1))
            self.skip_space()
            if self.take(b"}"):
                return members
            if not self.take(b","):
                self.fail("Missing a comma or '}' after an object member.")
            self.skip_space()

    def string(self) -> bytes:
        self.take(b'"')
        pieces = []
        while True:
            plain = self.match(_PLAIN)
            pieces.append(plain.group() if plain else b"")
            if self.take(b'"'):
                return b"".join(pieces)
            if self.peek() == b"\\":
                pieces.append(self.escape())
            elif self.peek() in (b"", b"\0"):
                self.fail("Missing a closing quotation mark in string.")
            else:
                self.fail("Invalid encoding in string.")

    def escape(self) -> bytes:
        start = self.at
        self.at += 1
        letter = self.peek()
        self.at += 1
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter != b"u":
            self.fail("Invalid escape character in string.", start)
        digits = self.match(_HEX4)
        if not digits:
            self.fail("Incorrect hex digit after \\u escape in string.", start)
        point = int(digits.group(), 16)
        if 0xD800 <= point <= 0xDFFF:
            low = self.match(_LOW_SURROGATE) if point <= 0xDBFF else None
            low_half = int(low.group(1), 16) if low else 0
            if not 0xDC00 <= low_half <= 0xDFFF:
                self.fail("The surrogate pair in string is invalid.", start)
            point = 0x10000 + ((point - 0xD800) << 10) + (low_half - 0xDC00)
        return chr(point).encode()

    def number(self) -> int | float:
        start = self.at
        special = self.match(_NOT_FINITE)
        if special:
            return float(special.group().decode())
        if not self.match(_INTEGER):
            self.take(b"-")
            self.fail("Invalid value.")
        whole = True
        if self.take(b"."):
            whole = False
            if not self.match(_DIGITS):
                self.fail("Miss fraction part in number.")
        if self.match(_EXPONENT):
            whole = False
            if not self.match(_DIGITS):
                self.fail("Miss exponent in number.")
        text = self.document[start : self.at].decode()
        # 20 digits hold every int64 and uint64; Python refuses to parse thousands of digits as an int.
        if whole and len(text) <= 20 and -(2**63) <= int(text) < 2**64:
            return int(text)
        number = float(text)
        if math.isinf(number):
            self.fail("Number too big to be stored in double.", start)
        return number
