"""Examples in JSON: what TF Serving takes, and its words for what it does not."""

import pytest
import tensorflow as tf

from kbert.serving.json_examples import decode_examples
from kbert.serving.status import ServingError


def features_of(serialized):
    features = tf.train.Example.FromString(serialized).features.feature
    return {name: list(getattr(item, item.WhichOneof("kind")).value) for name, item in features.items()}


def test_every_kind_of_feature():
    body = """{"signature_name": "s", "examples": [
        {"text": "a", "bytes": {"b64": "Yg=="}, "many": ["c", {"b64": "ZA=="}]},
        {"whole": [1, true, -3], "decimal": [0.5, 1e3]}
    ]}"""
    call = decode_examples(body.encode())
    assert call.signature == "s"
    assert [features_of(example) for example in call.examples] == [
        {"text": [b"a"], "bytes": [b"b"], "many": [b"c", b"d"]},
        {"whole": [1, 1, -3], "decimal": [0.5, 1000.0]},
    ]


def test_features_of_the_context_are_in_each_example_that_has_not_its_own():
    call = decode_examples(b'{"context": {"a": "x", "b": 1}, "examples": [{}, {"a": ["y", "z"]}]}')
    assert [features_of(example) for example in call.examples] == [
        {"a": [b"x"], "b": [1]},
        {"a": [b"y", b"z"], "b": [1]},
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[]", "Is not object"),
        (b'{"signature_name": 1, "examples": [{}]}', "'signature_name' key must be a string value"),
        (b"{}", "key 'examples' is expected and was not found"),
        (b'{"examples": {}}', "Expecting 'examples' value to be an list/array"),
        (b'{"examples": []}', "'examples' value is an empty array"),
        (b'{"examples": ["a"]}', "Example must be JSON object but got JSON String"),
        (b'{"context": 1, "examples": [{}]}', "Example must be JSON object but got JSON Number"),
        (b'{"examples": [{"x": null}]}', "Feature: x has element with unexpected JSON type: Null"),
        (b'{"examples": [{"x": [[1]]}]}', "Feature: x has element with unexpected JSON type: Array"),
        (b'{"examples": [{"x": {"y": 1}}]}', "Feature: x has element with unexpected JSON type: Object"),
        (b'{"examples": [{"x": ["a", 1]}]}', "Unexpected element type in feature: x expecting type: bytes"),
        (b'{"examples": [{"x": [1, 0.5]}]}', "Unexpected element type in feature: x expecting type: int64"),
        (b'{"examples": [{"x": [0.5, 1]}]}', "Unexpected element type in feature: x expecting type: float"),
        (b'{"examples": [{"x": 9223372036854775808}]}', "has uint64 element. Only int64 is supported."),
        (b'{"examples": [{"x": 1e60}]}', "without loss of precision"),
        (b'{"examples": [{"x": {"b64": "?"}}]}', "Unable to base64 decode"),
        (b'{"examples": [{"\xff": "a"}]}', "the name of a feature is not UTF-8"),
    ],
)
def test_refused(body, message):
    with pytest.raises(ServingError) as caught:
        decode_examples(body)
    assert caught.value.code == "INVALID_ARGUMENT" and message in caught.value.message
