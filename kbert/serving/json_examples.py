"""TF Serving's JSON form of classify and regress: `tf.train.Example`s as objects, and their results.

Reference:
    https://www.tensorflow.org/tfx/serving/api_rest and recorded answers of TF Serving.
"""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2

from kbert.serving.example_apis import Classes
from kbert.serving.json_answer import decimal_texts
from kbert.serving.json_values import (
    as_decimal,
    as_text,
    decode_base64,
    is_base64,
    json_type,
    parse_document,
    signature_name,
    wrong_value,
)
from kbert.serving.json_writer import pretty, quote
from kbert.serving.status import invalid

_NAMES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


@dataclass(frozen=True)
class ExamplesCall:
    """A decoded classify or regress request.

    Args:
        signature: Name of the signature; empty for the default one.
        examples: Serialized `tf.train.Example`s, the request's context in each.
    """

    signature: str
    examples: list[bytes]


def decode_examples(body: bytes) -> ExamplesCall:
    """Reads the body of a `:classify` or `:regress` request.

    Args:
        body: The JSON document.

    Returns:
        The call.

    Raises:
        ServingError: INVALID_ARGUMENT with TF Serving's message, which says "classify" for both.
    """
    document = parse_document(body)
    name = signature_name(document)
    context = _example(document[b"context"]) if b"context" in document else b""
    if b"examples" not in document:
        problem = "When method is classify, key 'examples' is expected and was not found"
        raise wrong_value(document, problem)
    examples = document[b"examples"]
    if not isinstance(examples, list):
        raise wrong_value(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise wrong_value(document, "'examples' value is an empty array")
    # Messages that follow one another are merged: an example's own features take the place of the context's.
    return ExamplesCall(name, [context + _example(example) for example in examples])


def encode_classes(classes: Classes) -> str:
    """The answer of `:classify`: for each example a list of labels with their scores."""
    count, width = classes.shape
    labels = [quote(label) for label in classes.labels.reshape(-1)]
    pairs = [list(pair) for pair in zip(labels, decimal_texts(classes.scores.reshape(-1)), strict=True)]
    rows = [pretty(pairs[row * width : (row + 1) * width], 2) for row in range(count)]
    # RapidJSON switches to one-line arrays before the first row, hence this half-broken layout.
    return pretty({b"results": f"[{', '.join(rows)}\n    ]"})


def encode_values(values: np.ndarray) -> str:
    """The answer of `:regress`: a list of numbers; `values` is float32 (B,)."""
    return pretty({b"results": decimal_texts(values)})


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    example = example_pb2.Example()
    for key, content in value.items():
        name = as_text(key)
        feature = feature_pb2.Feature()
        for item in content if isinstance(content, list) else [content]:
            _add(item, name, feature)
        try:
            example.features.feature[name].CopyFrom(feature)
        except (UnicodeError, ValueError):
            raise invalid("JSON Parse error: the name of a feature is not UTF-8") from None
    return example.SerializeToString()


def _add(value: Any, name: str, feature: feature_pb2.Feature) -> None:
    kind = _kind(value)
    if kind is None:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    found = feature.WhichOneof("kind")
    if found not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_NAMES[found]}")
    if kind == "bytes_list":
        feature.bytes_list.value.append(decode_base64(value) if isinstance(value, dict) else value)
    elif kind == "float_list":
        feature.float_list.value.append(as_decimal(value, "float"))
    elif value >= 2**63:
        raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    else:
        feature.int64_list.value.append(int(value))


def _kind(value: Any) -> str | None:
    """Which list of a feature holds values like this one; None if there is none."""
    if isinstance(value, bytes) or is_base64(value):
        return "bytes_list"
    if isinstance(value, int):  # also true and false, as 1 and 0
        return "int64_list"
    return "float_list" if isinstance(value, float) else None
