"""The gRPC side of the local server: TF Serving's prediction and model services."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

import functools

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kbert.serving.example_apis import classify, regress
from kbert.serving.loaded_model import DEFAULT_SIGNATURE
from kbert.serving.model_configs import model_configs
from kbert.serving.protos import read_examples, read_inputs, write_tensor
from kbert.serving.service import Request, Servable, Service
from kbert.serving.status import CODES, ServingError, invalid

#: gRPC carries messages in a header, which TF Serving cuts at this length (characters).
MAX_MESSAGE = 1024

#: The methods that a task of MultiInference can ask for.
_CLASSIFY, _REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def add_services(service: Service, server: grpc.Server) -> None:
    """Lets a server answer Predict, Classify, Regress, MultiInference, metadata, status and reloads.

    Args:
        service: The served models.
        server: It has not been started yet.
    """
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_PredictionService(service), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(service), server)


def _answering(method):
    """Turns a `ServingError` of a service method into the status of its call."""

    @functools.wraps(method)
    def answer(self, message, context):
        try:
            return method(self, message, context)
        except ServingError as error:
            text = error.message.encode("utf-8", "replace").decode()
            context.abort(grpc.StatusCode[error.code], text[:MAX_MESSAGE])

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
    def __init__(self, service: Service):
        self._service = service

    def _request(self, api: str, spec, context):
        return self._service.request(spec.name, api, "GRPC", context.time_remaining())

    @_answering
    def Predict(self, message, context):
        with self._request("Predict", message.model_spec, context) as request:
            model = _open(request, message)
            inputs = read_inputs(message.inputs)
            outputs = model.predict(message.model_spec.signature_name, inputs, message.output_filter)
            response = predict_pb2.PredictResponse()
            _tell(response.model_spec, model, message.model_spec)
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(write_tensor(array))
            return response

    @_answering
    def GetModelMetadata(self, message, context):
        _asked_for(message)
        if not message.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in message.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        with self._service.store.using(*_named(message)) as model:
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in model.signature_defs.items():
                signatures.signature_def[name].CopyFrom(signature)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = model.name
            response.model_spec.version.value = model.version
            response.metadata["signature_def"].Pack(signatures)
            return response

    @_answering
    def Classify(self, message, context):
        with self._request("Classify", message.model_spec, context) as request:
            model = _open(request, message)
            response = classification_pb2.ClassificationResponse()
            _tell(response.model_spec, model, message.model_spec)
            response.result.CopyFrom(_classified(model, message.model_spec, message.input))
            return response

    @_answering
    def Regress(self, message, context):
        with self._request("Regress", message.model_spec, context) as request:
            model = _open(request, message)
            response = regression_pb2.RegressionResponse()
            _tell(response.model_spec, model, message.model_spec)
            response.result.CopyFrom(_regressed(model, message.model_spec, message.input))
            return response

    @_answering
    def MultiInference(self, message, context):
        if not message.tasks:
            raise invalid("ModelSpec has no name specified.")
        response = inference_pb2.MultiInferenceResponse()
        seen = set()
        first = message.tasks[0].model_spec
        with self._request("MultiInference", first, context) as request:
            for task in message.tasks:
                if not task.model_spec.name:
                    raise invalid("Found ModelSpec with an empty model name.")
                if task.model_spec.name != first.name:
                    raise invalid(
                        "All ModelSpecs in a MultiInferenceRequest must access the same model name."
                    )
                model = _open(request, task)
                signature = task.model_spec.signature_name or DEFAULT_SIGNATURE
                if signature in seen:
                    raise invalid(f"Duplicate evaluation of signature: {signature}")
                seen.add(signature)
                _infer(model, task, message.input, response.results.add())
        return response


def _named(message) -> tuple[str, int | None, str | None]:
    name, version, label = _asked_for(message)
    if not name:
        raise invalid("ModelSpec has no name specified.")
    return name, version, label


def _open(request: Request, message) -> Servable:
    return request.open(*_named(message))


def _tell(spec, model: Servable, asked) -> None:
    """Says which model and signature answered."""
    spec.name, spec.signature_name = model.name, asked.signature_name or DEFAULT_SIGNATURE
    spec.version.value = model.version


def _infer(model: Servable, task, source, result) -> None:
    """Answers one task of MultiInference."""
    _tell(result.model_spec, model, task.model_spec)
    if task.method_name == _CLASSIFY:
        result.classification_result.CopyFrom(_classified(model, task.model_spec, source))
    elif task.method_name == _REGRESS:
        result.regression_result.CopyFrom(_regressed(model, task.model_spec, source))
    else:
        raise ServingError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")


def _classified(model: Servable, spec, source):
    classes = classify(model, spec.signature_name, read_examples(source))
    result = classification_pb2.ClassificationResult()
    for labels, scores in zip(classes.labels, classes.scores, strict=True):
        listed = result.classifications.add()
        for label, score in zip(labels, scores, strict=True):
            listed.classes.add(label=label.decode("utf-8", "replace"), score=score)
    return result


def _regressed(model: Servable, spec, source):
    result = regression_pb2.RegressionResult()
    for value in regress(model, spec.signature_name, read_examples(source)):
        result.regressions.add(value=value)
    return result


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: Service):
        self._service = service

    @_answering
    def GetModelStatus(self, message, context):
        # A label plays no part here: TF Serving answers for every version.
        name, version, _ = _asked_for(message)
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, state in self._service.store.states(name, version).items():
            status = response.model_version_status.add()
            status.version = number
            status.state = get_model_status_pb2.ModelVersionStatus.State.Value(state.state)
            status.status.SetInParent()
            status.status.error_code = CODES.index(state.code)
            status.status.error_message = state.message
        return response

    @_answering
    def HandleReloadConfigRequest(self, message, context):
        if message.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest."
                " Only ModelConfigList is currently supported"
            )
        self._service.store.reload(model_configs(message.config))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response
