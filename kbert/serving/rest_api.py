"""TF Serving's REST API as a function: method, path and body in; status and answer out. No sockets here.

    POST /v1/models/NAME[/versions/N|/labels/L]:predict     answers from a signature
    POST /v1/models/NAME[/versions/N|/labels/L]:classify    labels and scores of tf.train.Examples
    POST /v1/models/NAME[/versions/N|/labels/L]:regress     a number for each tf.train.Example
    GET  /v1/models/NAME[/versions/N|/labels/L]             is it loaded?
    GET  /v1/models/NAME[/versions/N|/labels/L]/metadata    its signatures
    GET  /monitoring/prometheus/metrics                     counts and times

and, beyond TF Serving, a page to try the models at / with /models.json, the list of them.

Reference:
    https://www.tensorflow.org/tfx/serving/api_rest and recorded answers of TF Serving.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import unquote

from google.protobuf import json_format

from kbert.serving.example_apis import classify, regress
from kbert.serving.json_answer import encode_error, encode_outputs, encode_predictions
from kbert.serving.json_examples import decode_examples, encode_classes, encode_values
from kbert.serving.json_request import decode_predict
from kbert.serving.json_writer import to_bytes
from kbert.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel
from kbert.serving.metrics import METRICS_PATH
from kbert.serving.model_store import AVAILABLE
from kbert.serving.page import find_page
from kbert.serving.service import Request, Servable, Service
from kbert.serving.status import ServingError, invalid

JSON = "application/json"
#: Where TF Serving's answer has no place for it, a client is told when to come again (seconds).
RETRY_AFTER = 1

HTTP_STATUS = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}

_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<verb>classify|regress|predict)", re.I | re.A)
_STATUS = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<part>metadata))?", re.I | re.A)
_NOT_FOUND_PAGE = (
    b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
)


@dataclass(frozen=True)
class Answer:
    """What goes back to an HTTP client.

    Args:
        status: HTTP status code.
        body: The document.
        content_type: Its type.
    """

    status: int
    body: bytes
    content_type: str = JSON


def error_answer(error: ServingError) -> Answer:
    """The JSON form of a failure."""
    return Answer(HTTP_STATUS.get(error.code, 500), to_bytes(encode_error(error.message)))


def answer(service: Service, method: str, path: str, body: bytes, origin: str = "") -> Answer:
    """Answers one request.

    Args:
        service: The served models.
        method: HTTP method, upper case.
        path: Path of the URL without the query, bytes that are not UTF-8 as surrogate escapes.
        body: The request's document, decompressed.
        origin: The header of that name, which browsers send.

    Returns:
        The answer; whatever is wrong with the request is an answer too.
    """
    if not path.lower().startswith("/v1/"):
        return _beside_the_api(service, method, path)
    if method == "OPTIONS":
        # A browser's question before a cross-origin call; the type is libevent's default.
        allowed = re.search("https?://", origin)
        return Answer(200 if allowed else 400, b"", "text/html; charset=ISO-8859-1")
    try:
        call = _CALL.fullmatch(path) if method == "POST" else None
        status = _STATUS.fullmatch(path) if method == "GET" else None
        found = call or status
        digits = found["version"] if found else None
        # No version has 20 digits, and Python refuses to read thousands of them.
        version = int(digits.lstrip("0")[:20] or "0") if digits else None
        if version is not None and version >= 2**63:
            return Answer(400, b"")
        # The path may be written in any case, the verb may not: so it is with TF Serving.
        if call and call["verb"] in _VERBS:
            with service.request(_name(call), call["verb"], "REST") as request:
                asked = (_name(call), version, _label(call))
                return Answer(200, to_bytes(_VERBS[call["verb"]](request, asked, body)))
        if status:
            return Answer(200, to_bytes(_status(service, status, version)))
        raise invalid(f"Malformed request: {method} {path}")
    except ServingError as error:
        return error_answer(error)


def _beside_the_api(service: Service, method: str, path: str) -> Answer:
    if method in ("GET", "HEAD"):
        if path == METRICS_PATH:
            return Answer(200, to_bytes(service.metrics.text() + "\n"), "text/plain")
        if path == "/models.json":
            return Answer(200, to_bytes(_list(service)))
        page = find_page(path)
        if page:
            return Answer(200, *page)
    return Answer(404, _NOT_FOUND_PAGE, "text/html")


def _list(service: Service) -> str:
    """The models with their versions and labels, for the page."""
    models = []
    for name in service.store.names():
        try:
            states = service.store.states(name)
        except ServingError:
            states = {}
        versions = [version for version, state in states.items() if state.state == AVAILABLE]
        models.append({"name": name, "versions": versions, "labels": service.store.labels(name)})
    return json.dumps({"models": models}, ensure_ascii=False)


def _name(found: re.Match) -> str:
    return unquote(found["name"], errors="surrogateescape")


def _label(found: re.Match) -> str | None:
    return unquote(found["label"], errors="surrogateescape") if found["label"] else None


#: Name, version and label of the model that is asked for.
_Asked = tuple[str, int | None, str | None]


def _classify(request: Request, asked: _Asked, body: bytes) -> str:
    examples = decode_examples(body)
    return encode_classes(classify(request.open(*asked), examples.signature, examples.examples))


def _regress(request: Request, asked: _Asked, body: bytes) -> str:
    examples = decode_examples(body)
    return encode_values(regress(request.open(*asked), examples.signature, examples.examples))


def _predict(request: Request, asked: _Asked, body: bytes) -> str:
    opened: list[Servable] = []

    def find_inputs(signature: str) -> dict[str, str]:
        opened.append(request.open(*asked))
        signature = signature or DEFAULT_SIGNATURE
        types = opened[0].input_types(signature)
        if types is None:
            raise invalid(f'Serving signature name: "{signature}" not found in signature def')
        return types

    call = decode_predict(body, find_inputs)
    outputs = opened[0].predict(call.signature, call.inputs)
    return encode_predictions(outputs) if call.rows else encode_outputs(outputs)


_VERBS = {"predict": _predict, "classify": _classify, "regress": _regress}


def _status(service: Service, found: re.Match, version: int | None) -> str:
    if not found["name"]:
        raise invalid("Missing model name in request.")
    name = _name(found)
    if found["part"] == "metadata":
        with service.store.using(name, version, _label(found)) as model:
            return _metadata(model)
    # A label plays no part here: TF Serving answers for every version.
    states = [
        {
            "version": str(number),
            "state": state.state,
            "status": {"error_code": state.code, "error_message": state.message},
        }
        for number, state in service.store.states(name, version).items()
    ]
    return json.dumps({"model_version_status": states}, indent=1, ensure_ascii=False) + "\n"


def _metadata(model: LoadedModel) -> str:
    spec = {"name": model.name, "version": str(model.version), "signature_name": ""}
    signatures = {
        name: json_format.MessageToDict(
            signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, signature in model.signature_defs.items()
    }
    # TF Serving glues two printed messages together, hence the uneven indentation.
    printed_spec = json.dumps(spec, indent=1, ensure_ascii=False)
    printed_map = json.dumps({"signature_def": signatures}, indent=1, ensure_ascii=False)
    return f'{{\n"model_spec":{printed_spec}\n,\n"metadata": {{"signature_def": {printed_map}\n}}\n}}\n'
