import shutil

import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.serving.loaded_model import LoadedModel
from kbert.serving.status import ServingError

pytestmark = pytest.mark.serving


@pytest.fixture(scope="module")
def model(tiny_export):
    store = LoadedModel(tiny_export / "1", "k")
    yield store
    store.close()


def texts(*values):
    return {"text": np.array([value.encode() for value in values], object)}


def test_a_damaged_export_is_an_input_error(tmp_path, tiny_export):
    shutil.copytree(tiny_export / "1", tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(InputError, match="cannot be loaded"):
        LoadedModel(tmp_path / "1", "k")
    shutil.copy(tiny_export / "1" / "saved_model.pb", tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "variables")
    with pytest.raises(InputError, match="cannot be loaded"):
        LoadedModel(tmp_path / "1", "k")


@pytest.mark.slow
def test_gives_the_answers_of_the_exported_function(model, tiny_export):
    expected = tf.saved_model.load(str(tiny_export / "1")).signatures["serving_default"]
    inputs = texts("a nice day", "", "x" * 300)
    found = model.predict("", inputs)
    for name, tensor in expected(text=tf.constant(inputs["text"])).items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


def test_computes_only_what_the_filter_names(model):
    assert list(model.predict("serving_default", texts("a"), ["score"])) == ["score"]


@pytest.mark.parametrize(
    ("signature", "inputs", "output_filter", "code", "message"),
    [
        ("zz", texts("a"), [], "FAILED_PRECONDITION", 'Serving signature key "zz" not found.'),
        (
            "",
            {"text": np.array(b"a", object)},
            [],
            "INVALID_ARGUMENT",
            "Shape of tensor _arg_serving_default_text_0_0 [] is not compatible with expected shape [?].",
        ),
        (
            "features",
            {name: np.zeros([2], np.int32) for name in ("input_ids", "input_mask", "segment_ids")},
            [],
            "INVALID_ARGUMENT",
            "Shape of tensor _arg_features_input_ids_0_0 [2] is not compatible with expected shape [?,?].",
        ),
        (
            "",
            {"text": np.zeros([1], np.float32)},
            [],
            "INVALID_ARGUMENT",
            "Expects arg[0] to be string but float is provided",
        ),
        (
            "similarity",
            texts("a"),
            [],
            "INVALID_ARGUMENT",
            "input size does not match signature: 1!=2 len({text}) != len({text,text_pair}). "
            "Sent extra: {}. Missing but required: {text_pair}.",
        ),
        (
            "",
            {"txt": texts("a")["text"]},
            [],
            "INVALID_ARGUMENT",
            "input tensor alias not found in signature: txt. Inputs expected to be in the set {text}.",
        ),
        (
            "tokenize",
            texts("a"),
            ["zz"],
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: zz Outputs expected to be in the set "
            "{input_ids,num_tokens,tokens,truncated}.",
        ),
        ("", texts("a"), ["score", "score"], "INVALID_ARGUMENT", "duplicate output tensor alias: score"),
    ],
)
def test_refuses_what_does_not_fit_the_signature(model, signature, inputs, output_filter, code, message):
    with pytest.raises(ServingError) as caught:
        model.predict(signature, inputs, output_filter)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_unequal_batches_are_refused_by_the_graph(model):
    with pytest.raises(ServingError) as caught:
        model.predict("similarity", {**texts("a", "b"), "text_pair": texts("c")["text"]})
    assert caught.value.code == "INVALID_ARGUMENT"
    assert "unequal batches" in caught.value.message
    assert ".py" not in caught.value.message  # no Python traceback goes to clients
