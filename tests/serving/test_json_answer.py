import numpy as np
import pytest

from kbert.serving.json_answer import decimal_texts, encode_error, encode_outputs, encode_predictions
from kbert.serving.json_writer import pretty, quote, to_bytes
from kbert.serving.status import ServingError


def strings(*values):
    return np.array([value.encode() for value in values], object)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.2, "0.2"),
        (9e6, "9e+06"),
        (1234567, "1234567.0"),
        (-0.0, "-0.0"),
        (1e20, "1e+20"),
        (16777216, "16777216.0"),
        (np.nan, "NaN"),
        (-np.inf, "-Infinity"),
        (3.4028235e38, "3.40282347e+38"),
    ],
)
def test_float32(number, text):
    assert decimal_texts(np.array([number], np.float32)) == [text]


def test_float64_takes_up_to_17_digits():
    assert decimal_texts(np.array([0.1, 1 / 3, 2.0])) == ["0.1", "0.33333333333333331", "2.0"]


def test_several_outputs_make_rows_of_objects():
    answer = encode_predictions({"label": strings("a", "b"), "p": np.array([[0.5, 1], [0, 2]], np.float32)})
    assert answer == (
        '{\n    "predictions": [\n'
        '        {\n            "label": "a",\n            "p": [0.5, 1.0]\n        },\n'
        '        {\n            "label": "b",\n            "p": [0.0, 2.0]\n        }\n'
        "    ]\n}"
    )


def test_one_output_makes_bare_values():
    assert encode_predictions({"n": np.array([1, 2])}) == '{\n    "predictions": [1, 2\n    ]\n}'
    assert encode_outputs({"n": np.array([1, 2])}) == '{\n    "outputs": [\n        1,\n        2\n    ]\n}'
    assert encode_outputs({"n": np.array(True)}) == '{\n    "outputs": true\n}'


def test_bytes_go_out_as_base64_by_the_name_of_the_output():
    answer = encode_outputs({"x_bytes": np.array([b"\xff"], object), "x": np.array([b"\xff\x02"], object)})
    assert to_bytes(answer) == (
        b'{\n    "outputs": {\n        "x_bytes": [\n            {\n                "b64": "/w=="\n'
        b'            }\n        ],\n        "x": [\n            "\xff\\u0002"\n        ]\n    }\n}'
    )


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"a": np.array(1)}, "Tensor name: a has no shape information "),
        (
            {"a": np.array([1]), "b": np.array([1, 2])},
            "Tensor name: b has inconsistent batch size: 2 expecting: 1",
        ),
        ({"a": np.array([1], np.float16)}, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_what_has_no_row_form(outputs, message):
    with pytest.raises(ServingError) as caught:
        encode_predictions(outputs)
    assert caught.value.message == message


def test_errors_escape_what_json_forbids():
    assert encode_error('a "b"\n\t\\ \udcff') == '{\n    "error": "a \\"b\\"\\n\\t\\\\ \udcff"\n}'


def test_objects_inside_one_line_arrays_are_indented_by_all_open_levels():
    assert pretty({b"a": [{b"b": []}, {}]}) == '{\n    "a": [{\n            "b": []\n        }, {}]\n}'


def test_quote_keeps_other_characters():
    assert quote("é/😀\x7f".encode()) == '"é/😀\x7f"'
