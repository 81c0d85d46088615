import numpy as np
import pytest

from kbert.serving.json_request import decode_predict
from kbert.serving.status import ServingError

SIGNATURES = {
    "": {"text": "string"},
    "pair": {"a": "string", "b": "string"},
    "ids": {"ids": "int32"},
    "small": {"x": "uint8"},
    "float": {"x": "float"},
    "double": {"x": "double"},
    "flags": {"x": "bool"},
    "half": {"x": "half"},
    "brain": {"x": "bfloat16"},
    "none": {},
}


def decode(body):
    return decode_predict(body, SIGNATURES.__getitem__)


def error_of(body):
    with pytest.raises(ServingError) as caught:
        decode(body)
    assert caught.value.code in ("INVALID_ARGUMENT", "UNIMPLEMENTED")
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "name", "array"),
    [
        (b'{"instances": ["a", {"b64": "Yg=="}]}', "text", np.array([b"a", b"b"], object)),
        (b'{"instances": [{"text": "a\\u0000"}]}', "text", np.array([b"a\0"], object)),
        (b'{"inputs": "a"}', "text", np.array(b"a", object)),
        (b'{"inputs": {"b64": "Yg"}}', "text", np.array(b"b", object)),
        (b'{"inputs": []}', "text", np.array([], object)),
        (b'{"instances": [[]]}', "text", np.empty([1, 0], object)),
        (
            b'{"signature_name": "ids", "instances": [[1, 2], [3, -4]]}',
            "ids",
            np.array([[1, 2], [3, -4]], np.int32),
        ),
        (b'{"signature_name": "small", "inputs": [255, 256]}', "x", np.array([255, 0], np.uint8)),
        (b'{"signature_name": "float", "inputs": [1, 0.1]}', "x", np.array([1, 0.1], np.float32)),
        (b'{"signature_name": "double", "inputs": [[0.1]]}', "x", np.array([[0.1]])),
        (b'{"signature_name": "flags", "inputs": [true]}', "x", np.array([True])),
    ],
)
def test_decodes(body, name, array):
    found = decode(body).inputs[name]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tolist() == array.tolist()


def test_rows_of_named_inputs_keep_their_order():
    call = decode(b'{"signature_name": "pair", "instances": [{"a": "1", "b": "2"}, {"b": "4", "a": "3"}]}')
    assert call.rows and call.signature == "pair"
    assert {name: array.tolist() for name, array in call.inputs.items()} == {
        "a": [b"1", b"3"],
        "b": [b"2", b"4"],
    }


ELEMENT = "Failed to process element: "


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"signature_name": "none", "inputs": 1}', "Failed to get input map for signature: none"),
        (
            b'{"instances": "a"}',
            'JSON Value: {\n    "instances": "a"\n} Excepting \'instances\' to be an list/array',
        ),
        (
            b'{"instances": [1], "inputs": 2}',
            'JSON Value: {\n    "instances": [1],\n    "inputs": 2\n} '
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        (
            b'{"instances": ["a", {"text": "b"}]}',
            "Expecting value/list but got object at item 1 of input list",
        ),
        (b'{"instances": [{"text": "b"}, "a"]}', "Expecting object but got list at item 1 of input list"),
        (
            b'{"signature_name": "pair", "instances": [{"a": "x"}]}',
            ELEMENT + '0 of \'instances\' list. JSON object: {\n    "a": "x"\n} keys must be equal to: a,b',
        ),
        (
            b'{"signature_name": "pair", "inputs": ["a"]}',
            "inputs is a plain value/list, but expecting an object as multiple input tensors required "
            "as per tensorinfo_map",
        ),
        (b'{"inputs": ["a", ["b"]]}', "Encountered list at unexpected level: 1 expected < 1"),
        (
            b'{"inputs": [["a"], ["b", "c"]]}',
            "Encountered list at unexpected size: 2 at level: 1 expected size: 1",
        ),
        (
            b'{"inputs": [["a"], "b"]}',
            'JSON Value: "b" found at incorrect level: 2 in the JSON DOM. Expected at level: 2',
        ),
        (
            b'{"inputs": [{"b64": 1}]}',
            'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data',
        ),
        (b'{"inputs": [true]}', "JSON Value: true Type: True is not of expected type: string"),
        (
            b'{"signature_name": "ids", "inputs": [2147483648]}',
            "JSON Value: 2147483648 Type: Number is not of expected type: int32",
        ),
        (
            b'{"signature_name": "ids", "inputs": [1e2]}',
            "JSON Value: 100.0 Type: Number is not of expected type: int32",
        ),
        (
            b'{"signature_name": "ids", "inputs": [NaN]}',
            "JSON Value: NaN Type: Number is not of expected type: int32",
        ),
        (
            b'{"signature_name": "ids", "inputs": [true]}',
            "JSON Value: true Type: True is not of expected type: int32",
        ),
        (
            b'{"signature_name": "float", "inputs": [16777217]}',
            "Cannot convert JSON value: 16777217 to float without loss of precision.",
        ),
        (
            b'{"signature_name": "float", "inputs": [1e39]}',
            "Cannot convert JSON value: 1e+39 to float without loss of precision.",
        ),
        (b'{"signature_name": "half", "inputs": [1]}', "Conversion of JSON Value: 1 to type: half"),
        (b'{"signature_name": "brain", "inputs": []}', "Conversion of JSON Value: [] to type: bfloat16"),
    ],
)
def test_refuses_in_tf_servings_words(body, message):
    assert error_of(body) == message


@pytest.mark.parametrize("depth", [65, 99])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_more_dimensions_than_arrays_have(key, depth):
    def nested(depth):
        return f'{{"{key}": {"[" * depth}"a"{"]" * depth}}}'.encode()

    assert decode(nested(64)).inputs["text"].shape == (1,) * 64
    shape = ",".join("1" * depth)
    expected = "is not compatible with expected shape of at most 64 dimensions."
    assert error_of(nested(depth)) == f"Shape of tensor text [{shape}] {expected}"


def test_invalid_bytes_come_back_in_the_error_unchanged():
    message = error_of(b'{"signature_name": "ids", "inputs": ["\xff"]}')
    assert message.encode("utf-8", "surrogateescape").startswith(b'JSON Value: "\xff" Type: String')
