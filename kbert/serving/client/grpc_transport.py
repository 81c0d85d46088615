"""gRPC from the client's side, with threads and with asyncio; needs TensorFlow and the extra `serve`."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from kbert.errors import InputError
from kbert.serving.client.retries import RefusedError, RetryableError, ServerError, TimeLimit
from kbert.serving.client.transport import Address, ModelSpec, Row, Signature, TlsFiles
from kbert.serving.protos import write_tensor

_TOO_BUSY = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
#: The request is to blame; any other code is the server's failure.
_REFUSALS = (
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
)
#: How gRPC's own RESOURCE_EXHAUSTED reads where the request is too large, and always will be.
_TOO_LARGE = ("message larger than max", "message exceeds maximum size")
#: How gRPC's own UNAVAILABLE reads where no server was reached.
_NOBODY = ("failed to connect", "connection refused", "name resolution", "dns resolution", "resolver")


class GrpcTransport:
    """A `Transport` over gRPC; its channel stays open.

    Args:
        address: The server.
        model: Which of its models.
        tls: Files for grpcs.

    Raises:
        InputError: The files cannot be used.
    """

    def __init__(self, address: Address, model: ModelSpec, tls: TlsFiles):
        self._messages = _Messages(address, model)
        self._channel = _open_channel(grpc, address, tls)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def predict(self, rows: Sequence[Row], signature: str, limit: TimeLimit) -> list[dict[str, Any]]:
        """As `Transport.predict`."""
        request = self._messages.predict_request(rows, signature)
        return self._messages.read_answer(self._call(self._stub.Predict, request, limit), len(rows))

    def signatures(self, limit: TimeLimit) -> dict[str, Signature]:
        """As `Transport.signatures`."""
        request = self._messages.metadata_request()
        return self._messages.read_signatures(self._call(self._stub.GetModelMetadata, request, limit))

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _call(self, method, request, limit: TimeLimit):
        try:
            return method(request, timeout=self._messages.seconds(limit))
        except grpc.RpcError as error:
            raise self._messages.failure(error, limit) from None


class AsyncGrpcTransport:
    """An `AsyncTransport` over gRPC, for the event loop in which it is first used.

    Args:
        address: The server.
        model: Which of its models.
        tls: Files for grpcs.
    """

    def __init__(self, address: Address, model: ModelSpec, tls: TlsFiles):
        self._messages = _Messages(address, model)
        self._settings = (address, tls)
        self._channel: Any = None
        self._stub: Any = None

    async def predict(self, rows: Sequence[Row], signature: str, limit: TimeLimit) -> list[dict[str, Any]]:
        """As `Transport.predict`."""
        request = self._messages.predict_request(rows, signature)
        return self._messages.read_answer(await self._call("Predict", request, limit), len(rows))

    async def signatures(self, limit: TimeLimit) -> dict[str, Signature]:
        """As `Transport.signatures`."""
        request = self._messages.metadata_request()
        return self._messages.read_signatures(await self._call("GetModelMetadata", request, limit))

    async def close(self) -> None:
        """Closes the channel."""
        if self._channel is not None:
            await self._channel.close()

    async def _call(self, method: str, request, limit: TimeLimit):
        if self._channel is None:
            # Not earlier: a channel belongs to the event loop that runs when it is made.
            self._channel = _open_channel(grpc.aio, *self._settings)
            self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        try:
            return await getattr(self._stub, method)(request, timeout=self._messages.seconds(limit))
        except grpc.RpcError as error:
            raise self._messages.failure(error, limit) from None


class _Messages:
    """Requests, answers and errors of one model as protocol buffers."""

    def __init__(self, address: Address, model: ModelSpec):
        self._where = f"{address.scheme}://{address.host_and_port}: {model.name}"
        self._model = model

    def predict_request(self, rows: Sequence[Row], signature: str):
        request = predict_pb2.PredictRequest()
        self._fill(request.model_spec)
        request.model_spec.signature_name = signature
        for name in rows[0]:
            values = [_encoded(name, row[name]) for row in rows]
            try:
                array = np.array(values, object)
                if len({np.shape(value) for value in values}) > 1:
                    raise ValueError("rows of different length")
            except ValueError as error:
                raise InputError(f"input {name}: {error}; give all rows as many values") from None
            request.inputs[name].CopyFrom(write_tensor(array))
        return request

    def metadata_request(self):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill(request.model_spec)
        return request

    def read_answer(self, answer, count: int) -> list[dict[str, Any]]:
        columns = {}
        for name, proto in answer.outputs.items():
            array = tf.make_ndarray(proto)
            if array.ndim == 0 or len(array) != count:
                raise InputError(f"{self._where}: output {name} has not one value for each of {count} rows")
            values = array.tolist()
            is_text = array.dtype.hasobject and not name.endswith("_bytes")
            columns[name] = _decoded(values) if is_text else values
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def read_signatures(self, answer) -> dict[str, Signature]:
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return {
            name: Signature(frozenset(each.inputs), frozenset(each.outputs))
            for name, each in found.signature_def.items()
        }

    def seconds(self, limit: TimeLimit) -> float:
        try:
            return limit.left()
        except TimeoutError:
            raise limit.expired(self._where) from None

    def failure(self, error, limit: TimeLimit) -> Exception:
        code, details = error.code().name, error.details() or ""
        message = f"{self._where}: {code} {details}"
        if code == "DEADLINE_EXCEEDED" and limit.is_over:
            return limit.expired(self._where)
        if code == "RESOURCE_EXHAUSTED" and any(words in details.lower() for words in _TOO_LARGE):
            return RefusedError(f"{message}; send fewer or shorter texts at once", code)
        if code in _TOO_BUSY:
            if code == "UNAVAILABLE" and any(words in details.lower() for words in _NOBODY):
                said = f"{self._where}: no answer ({code} {details}); is the server running there?"
                return RetryableError(said, None)
            return RetryableError(message, code)
        return RefusedError(message, code) if code in _REFUSALS else ServerError(message, code)

    def _fill(self, spec) -> None:
        spec.name = self._model.name
        if self._model.version is not None:
            spec.version.value = self._model.version
        if self._model.label is not None:
            spec.version_label = self._model.label


def _open_channel(library, address: Address, tls: TlsFiles):
    """A channel of `grpc` or `grpc.aio`."""
    options = [
        # gRPC's own limit of 4 MB is too small for the embeddings of a batch.
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # Else a try within the first second after a failure would not look again.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if address.is_loopback:
        # A proxy from the environment cannot know this machine's own servers.
        options.append(("grpc.enable_http_proxy", 0))
    if not address.is_secure:
        return library.insecure_channel(address.host_and_port, options=options)
    files = (tls.authorities, tls.key, tls.certificate)
    try:
        credentials = grpc.ssl_channel_credentials(*(Path(f).read_bytes() if f else None for f in files))
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; expected a PEM file") from error
    return library.secure_channel(address.host_and_port, credentials, options=options)


def _encoded(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    if isinstance(value, list | tuple):
        return [_encoded(name, item) for item in value]
    raise InputError(f"input {name}: {value!r}; over gRPC inputs are text, numbers go over REST")


def _decoded(value: Any) -> Any:
    """Text for bytes, also within lists; strings of a model need not be UTF-8."""
    return [_decoded(item) for item in value] if isinstance(value, list) else value.decode("utf-8", "replace")
