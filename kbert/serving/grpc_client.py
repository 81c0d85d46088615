"""The client over gRPC, for servers whose REST port is closed; needs TensorFlow and the extra `serve`."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kbert.errors import InputError
from kbert.serving.client import instances
from kbert.serving.protos import write_tensor


class GrpcClient:
    """Asks a model over gRPC.

    Args:
        address: Host and port, such as `127.0.0.1:8500`.
        model: The model's name on that server.
        timeout_seconds: How long one request may take.
    """

    def __init__(self, address: str, model: str, *, timeout_seconds: float = 30.0):
        self._address = address
        self._model = model
        self._timeout_seconds = timeout_seconds

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Sends all texts as one batch.

        Args:
            texts: Raw texts.
            pairs: The second text of each pair, for models of text pairs.

        Returns:
            For each text the model's outputs by name.

        Raises:
            InputError: The server cannot be reached or refuses the request.
        """
        examples = instances(texts, pairs)
        call = predict_pb2.PredictRequest()
        call.model_spec.name = self._model
        for name in examples[0]:
            strings = np.array([example[name].encode() for example in examples], object)
            call.inputs[name].CopyFrom(write_tensor(strings))
        # gRPC's own limit of 4 MB is too small for the embeddings of a batch.
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self._address, options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                answer = stub.Predict(call, timeout=self._timeout_seconds)
            except grpc.RpcError as error:
                raise InputError(f"{self._address}: {error.code().name} {error.details()}") from None
        columns = {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}
        return [{name: _plain(column[row]) for name, column in columns.items()} for row in range(len(texts))]


def _plain(value: Any) -> Any:
    """Python numbers, strings and lists, as JSON would have given them."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list) else value
