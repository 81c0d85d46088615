"""The gRPC side of the local server: TF Serving's prediction and model services, and gRPC's health."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

import functools
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kbert.errors import InputError
from kbert.serving.example_apis import classify, regress
from kbert.serving.model_store import DEFAULT_SIGNATURE, ModelStore
from kbert.serving.protos import read_examples, read_inputs, write_tensor
from kbert.serving.status import ServingError, invalid

#: gRPC carries messages in a header, which TF Serving cuts at this length (characters).
MAX_MESSAGE = 1024

#: Requests that run at once; more wait. TF Serving's default is 4 per CPU.
NUM_THREADS = 16

#: The services whose health TF Serving reports; "" is the server as a whole.
HEALTH_SERVICES = ("", "PredictionService", "ModelService")

#: The methods that a task of MultiInference can ask for.
_CLASSIFY, _REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


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
        self._tell(response.model_spec, request.model_spec)
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
        self._require(request)
        response = classification_pb2.ClassificationResponse()
        self._tell(response.model_spec, request.model_spec)
        response.result.CopyFrom(self._classified(request.model_spec, request.input))
        return response

    @_answering
    def Regress(self, request):
        self._require(request)
        response = regression_pb2.RegressionResponse()
        self._tell(response.model_spec, request.model_spec)
        response.result.CopyFrom(self._regressed(request.model_spec, request.input))
        return response

    @_answering
    def MultiInference(self, request):
        if not request.tasks:
            raise invalid("ModelSpec has no name specified.")
        response = inference_pb2.MultiInferenceResponse()
        seen = set()
        for task in request.tasks:
            if not task.model_spec.name:
                raise invalid("Found ModelSpec with an empty model name.")
            if task.model_spec.name != request.tasks[0].model_spec.name:
                raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
            self._require(task)
            signature = task.model_spec.signature_name or DEFAULT_SIGNATURE
            if signature in seen:
                raise invalid(f"Duplicate evaluation of signature: {signature}")
            seen.add(signature)
            result = response.results.add()
            self._tell(result.model_spec, task.model_spec)
            if task.method_name == _CLASSIFY:
                result.classification_result.CopyFrom(self._classified(task.model_spec, request.input))
            elif task.method_name == _REGRESS:
                result.regression_result.CopyFrom(self._regressed(task.model_spec, request.input))
            else:
                message = f"Unsupported signature method_name: {task.method_name}"
                raise ServingError("UNIMPLEMENTED", message)
        return response

    def _tell(self, spec, asked) -> None:
        """Says which model and signature answered."""
        spec.name, spec.signature_name = self._model.name, asked.signature_name or DEFAULT_SIGNATURE
        spec.version.value = self._model.version

    def _classified(self, spec, source):
        classes = classify(self._model, spec.signature_name, read_examples(source))
        result = classification_pb2.ClassificationResult()
        for labels, scores in zip(classes.labels, classes.scores, strict=True):
            listed = result.classifications.add()
            for label, score in zip(labels, scores, strict=True):
                listed.classes.add(label=label.decode("utf-8", "replace"), score=score)
        return result

    def _regressed(self, spec, source):
        result = regression_pb2.RegressionResult()
        for value in regress(self._model, spec.signature_name, read_examples(source)):
            result.regressions.add(value=value)
        return result


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
        message = "HandleReloadConfigRequest is not implemented by kbert's local server; start it again"
        raise ServingError("UNIMPLEMENTED", message)
