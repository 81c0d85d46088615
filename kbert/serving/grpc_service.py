"""The gRPC side of the local server: TF Serving's prediction and model services, and gRPC's health."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

import functools
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kbert.errors import InputError
from kbert.serving.model_store import DEFAULT_SIGNATURE, ModelStore
from kbert.serving.protos import read_inputs, write_tensor
from kbert.serving.status import ServingError, invalid

#: gRPC carries messages in a header, which TF Serving cuts at this length (characters).
MAX_MESSAGE = 1024

#: Requests that run at once; more wait. TF Serving's default is 4 per CPU.
NUM_THREADS = 16

#: The services whose health TF Serving reports; "" is the server as a whole.
HEALTH_SERVICES = ("", "PredictionService", "ModelService")


class GrpcServer:
    """The gRPC services of one model, listening from construction on.

    Args:
        model: The loaded model.
        host: Address to bind.
        port: Port to bind; 0 for a free one.
        max_request_bytes: Larger messages are refused.

    Raises:
        InputError: The port cannot be bound.
    """

    def __init__(self, model: ModelStore, host: str, port: int, max_request_bytes: int):
        options = [
            ("grpc.max_receive_message_length", max_request_bytes),
            ("grpc.max_send_message_length", -1),
            # With port sharing, gRPC's default, a second server on a used port would start without complaint.
            ("grpc.so_reuseport", 0),
        ]
        self._threads = ThreadPoolExecutor(NUM_THREADS)
        self._server = grpc.server(self._threads, options=options)
        self._health = health.HealthServicer()
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(model), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(model), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError:
            self.port = 0
        if self.port == 0:
            raise InputError(
                f"{host}:{port}: cannot listen for gRPC; the port is in use or the address is not ours"
            )

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()
        for service in HEALTH_SERVICES:
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_seconds: float) -> None:
        """Reports itself unhealthy, refuses new calls and waits for those that run.

        Args:
            grace_seconds: How long calls may still run.
        """
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        self._threads.shutdown()


def _answering(method):
    """Turns a `ServingError` of a service method into the status of its call."""

    @functools.wraps(method)
    def answer(self, request, context):
        try:
            return method(self, request)
        except ServingError as error:
            message = error.message.encode("utf-8", "replace").decode()
            context.abort(grpc.StatusCode[error.code], message[:MAX_MESSAGE])

    return answer


def _asked_for(request) -> tuple[str, int | None, str | None]:
    """Name, version and label of a request's model spec."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    return spec.name, version, spec.version_label if choice == "version_label" else None


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model: ModelStore):
        self._model = model

    def _require(self, request) -> None:
        name, version, label = _asked_for(request)
        if not name:
            raise invalid("ModelSpec has no name specified.")
        self._model.require(name, version, label)

    @_answering
    def Predict(self, request):
        self._require(request)
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        outputs = self._model.predict(signature, read_inputs(request.inputs), request.output_filter)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = self._model.name
        response.model_spec.version.value = self._model.version
        response.model_spec.signature_name = signature
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(write_tensor(array))
        return response

    @_answering
    def GetModelMetadata(self, request):
        _asked_for(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        self._require(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in self._model.signature_defs.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = self._model.name
        response.model_spec.version.value = self._model.version
        response.metadata["signature_def"].Pack(signatures)
        return response

    @_answering
    def Classify(self, request):
        raise _not_here("Classify")

    @_answering
    def Regress(self, request):
        raise _not_here("Regress")

    @_answering
    def MultiInference(self, request):
        raise _not_here("MultiInference")


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, model: ModelStore):
        self._model = model

    @_answering
    def GetModelStatus(self, request):
        name, version, _ = _asked_for(request)
        self._model.require_status(name, version)
        response = get_model_status_pb2.GetModelStatusResponse()
        status = response.model_version_status.add()
        status.version = self._model.version
        status.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        status.status.SetInParent()
        return response

    @_answering
    def HandleReloadConfigRequest(self, request):
        raise _not_here("HandleReloadConfigRequest")


def _not_here(method: str) -> ServingError:
    return ServingError("UNIMPLEMENTED", f"{method} is not implemented by kbert's local server; use Predict")
