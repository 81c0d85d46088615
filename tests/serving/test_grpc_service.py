import re
import shutil

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kbert.serving.client import Client
from kbert.serving.server import LocalServer
from tests.grpc_calls import refusal, request

pytestmark = pytest.mark.serving


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def test_predict_fills_the_typed_fields_as_tf_serving_does(prediction):
    answer = prediction.Predict(request(text=["a nice day", "b"], version=1), timeout=30)
    assert answer.model_spec.signature_name == "serving_default"
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("k", 1)
    assert len(answer.outputs["probabilities"].float_val) == 6
    assert list(answer.outputs["num_tokens"].int_val) == [12, 3]
    assert [dim.size for dim in answer.outputs["probabilities"].tensor_shape.dim] == [2, 3]
    assert set(answer.outputs["label"].string_val) <= {b"negative", b"neutral", b"positive"}


def test_grpc_and_rest_give_the_same_numbers(server):
    texts = ["a nice day", "", "ünï 😀", "x" * 200]
    over_grpc = Client(f"grpc://{server.grpc_address}", "k").predict(texts)
    over_rest = Client(server.rest_url, "k").predict(texts)
    assert len(over_grpc) == 4
    for one, other in zip(over_grpc, over_rest, strict=True):
        np.testing.assert_array_equal(
            np.float32(one.pop("probabilities")), np.float32(other.pop("probabilities"))
        )
        assert np.float32(one.pop("score")) == np.float32(other.pop("score"))
        assert one == other


def test_output_filter(prediction):
    call = request(text=["a"])
    call.output_filter.append("score")
    assert list(prediction.Predict(call, timeout=30).outputs) == ["score"]


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (request(name="", signature="x"), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (request(name="none", text=["a"]), "NOT_FOUND", "Servable not found for request: Latest(none)"),
        (request(version=-9, text=["a"]), "NOT_FOUND", "Servable not found for request: Specific(k, -9)"),
        (request(label="zz", text=["a"]), "INVALID_ARGUMENT", "Unrecognized servable version label: zz"),
        (request(signature="z", text=["a"]), "FAILED_PRECONDITION", 'Serving signature key "z" not found.'),
        (request(text=[1.5]), "INVALID_ARGUMENT", "Expects arg[0] to be string but float is provided"),
    ],
)
def test_refusals(prediction, call, code, message):
    assert refusal(prediction.Predict, call) == (code, message)


@pytest.mark.parametrize("sizes", [[2**40], [-1], [3]])
def test_a_tensor_that_contradicts_itself_is_refused(prediction, sizes):
    call = request(text=["a", "b", "c", "d"])
    del call.inputs["text"].tensor_shape.dim[:]
    for size in sizes:
        call.inputs["text"].tensor_shape.dim.add(size=size)
    code, message = refusal(prediction.Predict, call)
    assert code == "INVALID_ARGUMENT" and message.startswith("Tensor text")


def test_wrong_rank_and_unequal_batches(prediction):
    assert refusal(prediction.Predict, request(text="a"))[0] == "INVALID_ARGUMENT"
    call = request(signature="similarity", text=["a", "b"], text_pair=["c"])
    assert refusal(prediction.Predict, call)[0] == "INVALID_ARGUMENT"


def test_long_messages_are_cut(prediction):
    assert len(refusal(prediction.Predict, request(signature="z" * 5000, text=["a"]))[1]) == 1024


def test_a_text_of_nine_megabytes(prediction):
    answer = prediction.Predict(request(text=["x" * 9_000_000]), timeout=60)
    assert answer.outputs["num_tokens"].int_val[0] == 9_000_002


def test_metadata(prediction):
    call = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    call.model_spec.name = "k"
    answer = prediction.GetModelMetadata(call, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def["similarity"].inputs) == {"text", "text_pair"}
    assert answer.model_spec.version.value == 1
    call.metadata_field[:] = []
    assert refusal(prediction.GetModelMetadata, call)[0] == "INVALID_ARGUMENT"


def test_status(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    call = get_model_status_pb2.GetModelStatusRequest()
    call.model_spec.name = "k"
    (status,) = stub.GetModelStatus(call, timeout=30).model_version_status
    assert (status.version, status.state, status.status.error_code) == (1, status.AVAILABLE, 0)
    call.model_spec.version.value = 9
    assert refusal(stub.GetModelStatus, call) == ("NOT_FOUND", "Could not find version 9 of model k")


def examples(*texts, context=None):
    def example(text):
        made = tf.train.Example()
        if text is not None:
            made.features.feature["text"].bytes_list.value.append(text)
        return made

    source = input_pb2.Input()
    if context is None:
        source.example_list.examples.extend(map(example, texts))
    else:
        source.example_list_with_context.examples.extend(map(example, texts))
        source.example_list_with_context.context.CopyFrom(example(context))
    return source


def asking(kind, signature, source, name="k"):
    call = kind(input=source)
    call.model_spec.name, call.model_spec.signature_name = name, signature
    return call


def probabilities_of(prediction, texts):
    answer = prediction.Predict(request(text=texts), timeout=30)
    return tf.make_ndarray(answer.outputs["probabilities"])


def test_classify_gives_labels_with_their_scores(prediction):
    call = asking(classification_pb2.ClassificationRequest, "classify", examples(b"a nice day", b"b"))
    answer = prediction.Classify(call, timeout=30)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("k", 1)
    rows = [row.classes for row in answer.result.classifications]
    assert [[one.label for one in row] for row in rows] == [["negative", "neutral", "positive"]] * 2
    scores = [[one.score for one in row] for row in rows]
    np.testing.assert_allclose(scores, probabilities_of(prediction, ["a nice day", "b"]), rtol=1e-6)


def test_regress_takes_what_an_example_lacks_from_the_context(prediction):
    source = examples(None, b"b", context=b"a nice day")
    answer = prediction.Regress(asking(regression_pb2.RegressionRequest, "regress", source), timeout=30)
    values = [one.value for one in answer.result.regressions]
    np.testing.assert_allclose(values, probabilities_of(prediction, ["a nice day", "b"])[:, 0], rtol=1e-6)


def multi(*tasks, source=None):
    call = inference_pb2.MultiInferenceRequest(input=source or examples(b"a"))
    for signature, method, name in tasks:
        task = call.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = name, signature
    return call


def test_multi_inference_is_both_on_the_same_examples(prediction):
    source = examples(b"a", b"bc")
    both = multi(("classify", "classify", "k"), ("regress", "regress", "k"), source=source)
    classes, values = prediction.MultiInference(both, timeout=30).results
    one = asking(classification_pb2.ClassificationRequest, "classify", source)
    assert classes.classification_result == prediction.Classify(one, timeout=30).result
    other = asking(regression_pb2.RegressionRequest, "regress", source)
    assert values.regression_result == prediction.Regress(other, timeout=30).result
    assert (values.model_spec.signature_name, values.model_spec.version.value) == ("regress", 1)


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([], "INVALID_ARGUMENT", "no name"),
        ([("classify", "classify", "")], "INVALID_ARGUMENT", "empty model name"),
        ([("classify", "classify", "k"), ("regress", "regress", "j")], "INVALID_ARGUMENT", "same model name"),
        ([("classify", "classify", "k")] * 2, "INVALID_ARGUMENT", "Duplicate evaluation of signature"),
        ([("classify", "predict", "k")], "UNIMPLEMENTED", "tensorflow/serving/predict"),
        ([("classify", "classify", "j")], "NOT_FOUND", "Servable not found"),
    ],
)
def test_wrong_tasks_are_refused(prediction, tasks, code, message):
    found = refusal(prediction.MultiInference, multi(*tasks))
    assert found[0] == code and message in found[1]


@pytest.mark.parametrize(
    ("signature", "source", "code", "message"),
    [
        ("classify", examples(), "INVALID_ARGUMENT", "Input is empty."),
        ("classify", examples(None), "INVALID_ARGUMENT", "text .* is required"),
        ("", examples(b"a"), "INVALID_ARGUMENT", "one or two output Tensors, found 6"),
        ("similarity", examples(b"a"), "INVALID_ARGUMENT", "Expected one input Tensor."),
        ("none", examples(b"a"), "INVALID_ARGUMENT", "No signature was found with the name: none"),
        ("regress", examples(b"a"), "INVALID_ARGUMENT", 'at least one of "classes" or "scores"'),
    ],
)
def test_classify_refuses(prediction, signature, source, code, message):
    found = refusal(prediction.Classify, asking(classification_pb2.ClassificationRequest, signature, source))
    assert found[0] == code and re.search(message, found[1]), found


def test_regress_refuses_other_signatures(prediction):
    call = asking(regression_pb2.RegressionRequest, "classify", examples(b"a"))
    assert refusal(prediction.Regress, call) == ("INVALID_ARGUMENT", "Expected one output Tensor.")
    call = asking(regression_pb2.RegressionRequest, "regress", examples(b"a"), name="j")
    assert refusal(prediction.Regress, call)[0] == "NOT_FOUND"
    assert refusal(prediction.Regress, regression_pb2.RegressionRequest())[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("service", ["", "PredictionService", "ModelService"])
def test_health(channel, service):
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def reload_request(*models):
    call = model_management_pb2.ReloadConfigRequest()
    for name, folder, versions, labels in models:
        config = call.config.model_config_list.config.add(
            name=name, base_path=str(folder), model_platform="tensorflow"
        )
        config.model_version_policy.specific.versions.extend(versions)
        config.version_labels.update(labels)
    return call


def test_reload_moves_a_label_and_adds_a_model(tiny_export, tmp_path):
    for version in ("1", "2"):
        shutil.copytree(tiny_export / "1", tmp_path / "k" / version)
    with (
        LocalServer(tmp_path / "k", "k", labels={"stable": 1}, rest_port=0, grpc_port=0) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        manage = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

        def version_of(label, name="k"):
            return predict(request(name, label=label, text=["a"]), timeout=30).model_spec.version.value

        assert version_of("stable") == 1
        answer = manage(reload_request(("k", tmp_path / "k", [1, 2], {"stable": 2, "old": 1})), timeout=60)
        assert answer.status.error_code == 0
        assert (version_of("stable"), version_of("old")) == (2, 1)

        wrong = reload_request(("k", tmp_path / "k", [1, 2], {"stable": 3}))
        code, message = refusal(manage, wrong)
        assert code == "FAILED_PRECONDITION" and "not currently available for inference" in message
        wrong = reload_request(("k", tmp_path / "k", [1], {}), ("k", tmp_path / "k", [1], {}))
        assert "multiple times" in refusal(manage, wrong)[1]
        assert version_of("stable") == 2

        both = reload_request(("k", tmp_path / "k", [2], {}), ("more", tiny_export, [1], {"x": 1}))
        assert refusal(manage, both)[0] == "FAILED_PRECONDITION"  # a label on what is not loaded yet
        both = reload_request(("k", tmp_path / "k", [2], {}), ("more", tiny_export, [1], {}))
        manage(both, timeout=60)
        assert predict(request("more", text=["a"]), timeout=30).model_spec.version.value == 1
        assert refusal(predict, request("k", version=1, text=["a"]))[0] == "NOT_FOUND"


def test_reload_without_a_list_is_refused(channel):
    manage = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
    code, message = refusal(manage, model_management_pb2.ReloadConfigRequest())
    assert (code, message) == (
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    )
