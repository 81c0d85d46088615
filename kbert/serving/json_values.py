"""What TF Serving says of single JSON values: their types, base64, numbers without loss.

Reference:
    https://www.tensorflow.org/tfx/serving/api_rest and recorded answers of TF Serving.
"""

import base64
import binascii
from typing import Any

import numpy as np

from kbert.serving import json_reader
from kbert.serving.json_answer import decimal_texts
from kbert.serving.json_writer import pretty
from kbert.serving.status import ServingError, invalid

_KIND = {type(None): "Null", dict: "Object", list: "Array", bytes: "String", int: "Number", float: "Number"}
_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def json_type(value: Any) -> str:
    """RapidJSON's name of a value's type.

    Example:
        >>> json_type(b"a"), json_type(True), json_type(2.5)
        ('String', 'True', 'Number')
    """
    return str(value) if isinstance(value, bool) else _KIND[type(value)]


def signature_name(document: dict) -> str:
    """The signature that a request asks for; empty for the default one."""
    name = document.get(b"signature_name", b"")
    if not isinstance(name, bytes):
        raise wrong_value(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return as_text(name)


def parse_document(body: bytes) -> dict:
    """The object that a request's body is; text behind it is ignored.

    Raises:
        ServingError: INVALID_ARGUMENT with TF Serving's message; so do all functions here.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json_reader.parse(body)
    except json_reader.JsonError as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise wrong_value(document, "Is not object")
    return document


def as_decimal(value: int | float, kind: str) -> int | float:
    """A number that a `float` or `double` holds without loss of its integer digits or range."""
    bits, largest = (24, _LARGEST_FLOAT) if kind == "float" else (53, np.inf)
    # NaN and infinity pass; so does any double for a double.
    fits = abs(value) < 2**bits if isinstance(value, int) else not largest < abs(value) < np.inf
    if not fits:
        raise invalid(f"Cannot convert JSON value: {show(value)} to {kind} without loss of precision.")
    return value


def is_base64(value: Any) -> bool:
    """Whether this is `{"b64": "..."}`."""
    return isinstance(value, dict) and list(value) == [b"b64"] and isinstance(value[b"b64"], bytes)


def decode_base64(value: dict) -> bytes:
    """The bytes that `{"b64": "..."}` stands for."""
    if not is_base64(value):
        raise wrong_value(value, "not formatted correctly for base64 data")
    digits = b"".join(value[b"b64"].split()).rstrip(b"=")
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except binascii.Error:
        raise invalid("Unable to base64 decode") from None


def show(value: Any) -> str:
    """A value as TF Serving's messages quote it."""
    if isinstance(value, float):
        narrow = np.float32 if abs(value) <= _LARGEST_FLOAT else np.float64
        return decimal_texts(np.array([value], narrow))[0]
    return pretty(value)


def wrong_value(value: Any, problem: str) -> ServingError:
    """The error of a value, which its message quotes."""
    return invalid(f"JSON Value: {show(value)} {problem}")


def as_text(string: bytes) -> str:
    """A JSON string; bytes that are no UTF-8 become surrogate escapes."""
    return string.decode("utf-8", "surrogateescape")
