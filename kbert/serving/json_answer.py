"""TF Serving's JSON answers: predictions row by row, outputs column by column, and errors.

Reference:
    https://www.tensorflow.org/tfx/serving/api_rest and recorded answers of TF Serving.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from kbert.serving.json_writer import pretty, quote
from kbert.serving.status import invalid
from kbert.serving.tensors import type_name


def encode_predictions(outputs: Mapping[str, np.ndarray]) -> str:
    """The answer to a row request: one object per example, or bare values if there is one output.

    Args:
        outputs: Arrays by output name, all of the same first dimension.

    Returns:
        The JSON document.

    Raises:
        ServingError: INVALID_ARGUMENT for outputs that cannot be split into rows or written as JSON.
    """
    batch_size = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch_size not in (None, len(array)):
            problem = f"has inconsistent batch size: {len(array)} expecting: {batch_size}"
            raise invalid(f"Tensor name: {name} {problem}")
        batch_size = len(array)
    columns = {name.encode(): _tokens(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        # RapidJSON switches to one-line arrays before the first value, hence this half-broken layout.
        rows = [item if isinstance(item, str) else pretty(item, 2) for item in next(iter(columns.values()))]
        body = f"[{', '.join(rows)}\n    ]" if rows else "[]"
    else:
        rows = [
            pretty({name: column[row] for name, column in columns.items()}, 2)
            for row in range(batch_size or 0)
        ]
        body = pretty(rows, 1, one_line_arrays=False)
    return pretty({b"predictions": body})


def encode_outputs(outputs: Mapping[str, np.ndarray]) -> str:
    """The answer to a column request: one whole tensor per output, bare if there is one output.

    Args:
        outputs: Arrays by output name.

    Returns:
        The JSON document.

    Raises:
        ServingError: INVALID_ARGUMENT for a type that JSON has no form for.
    """
    columns: dict[bytes, Any] = {name.encode(): _tokens(name, array) for name, array in outputs.items()}
    answer = next(iter(columns.values())) if len(columns) == 1 else columns
    return pretty({b"outputs": answer}, one_line_arrays=False)


def encode_error(message: str) -> str:
    """The answer to a request that failed."""
    return pretty({b"error": message.encode("utf-8", "surrogateescape")})


def decimal_texts(values: np.ndarray) -> list[str]:
    """Floating point numbers as TF Serving writes them.

    Six digits if they read back as the same number, else as many as the type may need (9 or 17); `.0` where
    the number would look like an integer; NaN and Infinity, although JSON does not know them.

    Args:
        values: float32 or float64 (N,).

    Returns:
        N texts.

    Example:
        >>> decimal_texts(np.array([0.5, 3, 1 / 3, 1e-5], np.float32))
        ['0.5', '3.0', '0.333333343', '1e-05']
    """
    digits = 9 if values.dtype == np.float32 else 17
    numbers = values.tolist()
    texts = [f"{number:g}" for number in numbers]
    with np.errstate(over="ignore"):
        exact = np.array([float(text) for text in texts]).astype(values.dtype) == values
    for index in np.flatnonzero(~exact):
        texts[index] = f"{numbers[index]:.{digits}g}"
    spelled = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [spelled.get(text) or (text if "." in text or "e" in text else text + ".0") for text in texts]


def _tokens(name: str, array: np.ndarray) -> Any:
    """An array as nested lists of printed JSON values."""
    flat = array.reshape(-1)
    texts: list
    if array.dtype == object:
        if name.endswith("_bytes"):
            texts = [{b"b64": base64.b64encode(string)} for string in flat]
        else:
            texts = [quote(string) for string in flat]
    elif array.dtype in (np.float32, np.float64):
        texts = decimal_texts(flat)
    elif array.dtype == np.bool_:
        texts = ["true" if flag else "false" for flag in flat]
    elif array.dtype.kind in "iu":
        texts = [str(number) for number in flat.tolist()]
    else:
        raise invalid(f"Failed to write JSON value for tensor type: {type_name(array.dtype)}")
    tokens = np.empty(len(texts), object)
    tokens[:] = texts
    return tokens.reshape(array.shape).tolist()
