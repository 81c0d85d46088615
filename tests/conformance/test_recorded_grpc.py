"""gRPC answers as REST does, and refuses with the codes that were seen on a real TF Serving."""

import json
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from tests.grpc_calls import refusal, request

pytestmark = pytest.mark.serving
TEXTS = ["a nice day", "", "ünï 😀", "x" * 500]


@pytest.fixture(scope="module")
def channel(target):
    if target.grpc_address is None:
        pytest.skip("KBERT_TFS_GRPC is not set; it names the gRPC port, such as 127.0.0.1:8500")
    with grpc.insecure_channel(target.grpc_address) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def test_the_same_numbers_as_over_rest(target, prediction):
    texts = [text.encode() for text in TEXTS]
    answer = prediction.Predict(request(target.model, text=texts), timeout=30)
    body = json.dumps({"inputs": {"text": TEXTS}}).encode()
    url = f"{target.url}/v1/models/{target.model}:predict"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as reply:
        outputs = json.loads(reply.read())["outputs"]
    assert outputs.keys() == answer.outputs.keys()
    for name, values in outputs.items():
        column = tf.make_ndarray(answer.outputs[name])
        if column.dtype == object:
            assert [text.decode() for text in column.reshape(-1)] == np.array(values, object).reshape(
                -1
            ).tolist()
        else:
            np.testing.assert_allclose(column, values, rtol=1e-6)


def test_codes_of_refusals(target, prediction):
    name = target.model
    for call, code, message in (
        (request("none", text=[b"a"]), "NOT_FOUND", "Servable not found for request: Latest(none)"),
        (request(name, "zz", text=[b"a"]), "FAILED_PRECONDITION", 'Serving signature key "zz" not found.'),
        (request(name, text=b"a"), "INVALID_ARGUMENT", "not compatible with expected shape"),
        (request(name, text=[1.0]), "INVALID_ARGUMENT", "float is provided"),
        (request(name, txt=[b"a"]), "INVALID_ARGUMENT", "txt"),
        (request("", text=[b"a"]), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ):
        found = refusal(prediction.Predict, call)
        assert found[0] == code and message in found[1], found


def test_status_and_an_empty_reload(target, channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    call = get_model_status_pb2.GetModelStatusRequest()
    call.model_spec.name = target.model
    states = stub.GetModelStatus(call, timeout=30).model_version_status
    assert {state.state for state in states} >= {get_model_status_pb2.ModelVersionStatus.AVAILABLE}
    call.model_spec.name = "none"
    assert refusal(stub.GetModelStatus, call) == ("NOT_FOUND", "Could not find any versions of model none")
    code, message = refusal(stub.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest())
    assert code == "INVALID_ARGUMENT" and "Only ModelConfigList is currently supported" in message
