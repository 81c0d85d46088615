"""Requests to a server over gRPC, and what it refuses."""

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2


def request(name="k", signature="", version=None, label=None, **inputs):
    call = predict_pb2.PredictRequest()
    call.model_spec.name = name
    call.model_spec.signature_name = signature
    if version is not None:
        call.model_spec.version.value = version
    if label is not None:
        call.model_spec.version_label = label
    for key, value in inputs.items():
        call.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return call


def refusal(method, call):
    with pytest.raises(grpc.RpcError) as caught:
        method(call, timeout=30)
    return caught.value.code().name, caught.value.details()
