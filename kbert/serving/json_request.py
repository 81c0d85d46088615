"""TF Serving's JSON form of a predict request: rows (`instances`) or columns (`inputs`), to arrays.

A row request lists one value, or one object of named values, per example; a column request gives whole
tensors. Messages of errors are TF Serving's own, because people search for them.

Reference:
    https://www.tensorflow.org/tfx/serving/api_rest and recorded answers of TF Serving.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kbert.serving.json_values import (
    as_decimal,
    as_text,
    decode_base64,
    is_base64,
    json_type,
    parse_document,
    show,
    signature_name,
    wrong_value,
)
from kbert.serving.status import ServingError, invalid
from kbert.serving.tensors import NUMPY_TYPES, show_shape

# NumPy's; TensorFlow has 254, but no model takes so many.
_MOST_DIMENSIONS = 64

# RapidJSON gives TF Serving 32 bits for all the small types.
_INTEGER_RANGES = {
    "int32": (-(2**31), 2**31),
    "int16": (-(2**31), 2**31),
    "int8": (-(2**31), 2**31),
    "uint8": (-(2**31), 2**31),
    "int64": (-(2**63), 2**63),
    "uint32": (0, 2**32),
    "uint64": (0, 2**64),
}


@dataclass(frozen=True)
class PredictCall:
    """A decoded predict request.

    Args:
        signature: Name of the signature; empty for the default one.
        inputs: Arrays by input name; strings are object arrays of bytes.
        rows: Whether the request had `instances` and wants `predictions`.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    rows: bool


def decode_predict(body: bytes, find_inputs: Callable[[str], Mapping[str, str]]) -> PredictCall:
    """Reads the body of a `:predict` request.

    Args:
        body: The JSON document.
        find_inputs: From the name of a signature (empty = default) to the type names of its inputs; it raises
            the `ServingError` of an unknown model or signature, which TF Serving notices at this point.

    Returns:
        The call.

    Raises:
        ServingError: INVALID_ARGUMENT with TF Serving's message.
    """
    document = parse_document(body)
    name = signature_name(document)
    types = find_inputs(name)
    if not types:
        raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    if b"instances" in document and b"inputs" in document:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise wrong_value(document, problem)
    if b"inputs" in document:
        return PredictCall(name, _columns(document[b"inputs"], types), rows=False)
    if b"instances" not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
    instances = document[b"instances"]
    if not isinstance(instances, list):
        raise wrong_value(document, "Excepting 'instances' to be an list/array")
    if not instances:
        raise wrong_value(document, "No values in 'instances' array")
    return PredictCall(name, _rows(instances, types), rows=True)


def _rows(instances: list, types: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], dict) and len(types) > 1:
        expected = "expecting list of objects as multiple input tensors required as per tensorinfo_map"
        raise invalid(f"instances is a plain list, but {expected}")
    named = _is_named(instances[0])
    shapes: dict[str, list[int]] = {}
    values: dict[str, list] = {name: [] for name in types}
    for index, instance in enumerate(instances):
        if named != _is_named(instance):
            found = "Expecting object but got list" if named else "Expecting value/list but got object"
            raise invalid(f"{found} at item {index} of input list")
        members = instance if named else {next(iter(types)).encode(): instance}
        for key, value in members.items():
            name = as_text(key)
            try:
                _add_instance(value, name, types, shapes, values)
            except ServingError as error:
                where = f"{index} key: {name}" if named else f"{index}"
                raise invalid(
                    f"Failed to process element: {where} of 'instances' list. Error: {error}"
                ) from None
        if named and {as_text(key) for key in members} != set(types):
            problem = f"JSON object: {show(instance)} keys must be equal to: {','.join(sorted(types))}"
            raise invalid(f"Failed to process element: {index} of 'instances' list. {problem}")
    return {name: _array(name, values[name], types[name], [len(instances), *shapes[name]]) for name in types}


def _add_instance(value: Any, name: str, types: Mapping[str, str], shapes: dict, values: dict) -> None:
    if name not in types:
        raise invalid(f"JSON object: does not have named input: {name}")
    shape = _shape(value)
    leaves: list = []
    _fill(value, 0, shape, types[name], leaves)
    expected = shapes.setdefault(name, shape)
    size = int(np.prod(expected))
    if size != len(leaves):
        raise invalid(f"Expecting tensor size: {size} but got: {len(leaves)}")
    if shape != expected:
        shown = [f"[{','.join(map(str, dims))}]" for dims in (expected, shape)]
        raise invalid(f"Expecting shape {shown[0]} but got: {shown[1]}")
    values[name].extend(leaves)


def _columns(value: Any, types: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(types) > 1:
            expected = "expecting an object as multiple input tensors required as per tensorinfo_map"
            raise invalid(f"inputs is a plain value/list, but {expected}")
        value = {next(iter(types)).encode(): value}
    arrays = {}
    for name, kind in types.items():
        if name.encode() not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        item = value[name.encode()]
        shape = _shape(item)
        leaves: list = []
        _fill(item, 0, shape, kind, leaves)
        arrays[name] = _array(name, leaves, kind, shape)
    return arrays


def _shape(value: Any) -> list[int]:
    """The shape that the first element of every list promises; `_fill` checks the others against it."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _fill(value: Any, level: int, shape: list[int], kind: str, leaves: list) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            where = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
            raise wrong_value(value, where)
        leaves.append(_leaf(value, kind))
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        found = f"Encountered list at unexpected size: {len(value)} at level: {level}"
        raise invalid(f"{found} expected size: {shape[level]}")
    for item in value:
        _fill(item, level + 1, shape, kind, leaves)


def _leaf(value: Any, kind: str) -> Any:
    """One number, flag or string of a tensor, or the error that says why it is none of that type."""
    if kind == "string":
        if isinstance(value, bytes):
            return value
        if isinstance(value, dict):
            return decode_base64(value)
    elif kind == "bool":
        if isinstance(value, bool):
            return value
    elif kind in ("float", "double"):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return as_decimal(value, kind)
    elif kind in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[kind]
        if isinstance(value, int) and not isinstance(value, bool) and low <= value < high:
            return value
    else:
        raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: {show(value)} to type: {kind}")
    raise wrong_value(value, f"Type: {json_type(value)} is not of expected type: {kind}")


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _array(name: str, leaves: list, kind: str, shape: list[int]) -> np.ndarray:
    if len(shape) > _MOST_DIMENSIONS:
        shown = f"{show_shape(tuple(shape))} is not compatible with expected shape"
        raise invalid(f"Shape of tensor {name} {shown} of at most {_MOST_DIMENSIONS} dimensions.")
    if kind not in NUMPY_TYPES:
        raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: [] to type: {kind}")
    if kind == "string":
        array = np.empty(len(leaves), object)
        array[:] = leaves
    else:
        wide = {"i": np.int64, "u": np.uint64, "f": np.float64, "b": np.bool_}[
            np.dtype(NUMPY_TYPES[kind]).kind
        ]
        # The small integer types wrap around, as they do in TF Serving.
        array = np.array(leaves, wide).astype(NUMPY_TYPES[kind])
    return array.reshape(shape)
