"""Every recorded request of a real TF Serving, sent again to each server."""

import gzip
import http.client
import json
import re
import urllib.request
from collections import Counter

import numpy as np
import pytest

from kbert.serving.json_answer import decimal_texts
from tests.tiny_server import RECORDED

pytestmark = [pytest.mark.golden, pytest.mark.serving]

NAMES = [  # fmt: skip
    "status missing model",
    "status label",
    "status no name",
    "status slash",
    "metadata",
    "metadata missing",
    "metadata ver",
    "bad path",
    "unknown verb",
    "get predict",
    "put",
    "options",
    "case path",
    "instances plain",
    "inputs named",
    "inputs named scalar",
    "b64",
    "b64 named",
    "b64 bad",
    "b64 invalid utf8",
    "raw invalid utf8",
    "lone surrogate",
    "empty body",
    "not json",
    "trailing",
    "array top",
    "no key",
    "instances empty",
    "inputs empty",
    "number for string",
    "null",
    "nested",
    "ragged rank",
    "extra key",
    "wrong key",
    "inputs extra key",
    "sig unknown",
    "sig not string",
    "sig empty",
    "model unknown",
    "version unknown",
    "pair named",
    "pair plain",
    "pair inputs",
    "pair inputs missing",
    "tag",
    "tag inputs",
    "fill",
    "embed",
    "features",
    "features float",
    "features ragged",
    "features oob id",
    "classify",
    "classify default sig",
    "classify ctx",
    "regress ctx",
    "classify missing feat",
    "classify wrong type",
    "classify none",
    "classify nokey",
    "classify on predict sig",
    "predict on classify sig",
    "gzip",
    "options origin",
]
# The recording names these two without their requests.
UNWRITTEN = {
    "gzip": ("POST", gzip.compress(b'{"instances": ["a nice day"]}'), {"Content-Encoding": "gzip"}),
    "options origin": ("OPTIONS", b"", {"Origin": "https://example.org"}),
}


@pytest.fixture(scope="module")
def recording(shared):
    return json.loads((shared / "golden" / "serving" / "rest.json").read_text())


def test_no_recorded_request_is_left_out(recording):
    assert set(NAMES) == set(recording)


@pytest.fixture(scope="module")
def signatures(target):
    """What the served model offers: signature -> names of its inputs."""
    with urllib.request.urlopen(f"{target.url}/v1/models/{target.model}/metadata", timeout=30) as answer:
        metadata = json.loads(answer.read())["metadata"]["signature_def"]["signature_def"]
    return {name: set(signature["inputs"]) for name, signature in metadata.items()}


@pytest.mark.parametrize("name", NAMES)
def test_answers_like_tf_serving(target, recording, signatures, name):
    case = recording[name]
    missing = needed(case) - signatures.keys()
    if missing:
        pytest.skip(f"the served model has no signature {missing.pop()}")
    if "metadata" in name and target.kind != "local server":
        pytest.skip("what TF Serving says of a signature depends on how its model was saved")
    status, content_type, answer = send(target, name, case)
    answer = answer.replace(f'"{target.model}"', '"k"') if target.model != "k" else answer
    assert (status, content_type) == (case["status"], case["headers"]["content-type"])
    if status == 200 and answer:
        assert skeleton(json.loads(answer)) == skeleton(json.loads(case["answer"]))
        assert layout(answer) == layout(case["answer"])
    else:
        assert without_nodes(answer) == without_nodes(case["answer"])


def test_numbers_are_written_as_recorded(recording):
    answers = [
        case["answer"] for name, case in recording.items() if case["status"] == 200 and "meta" not in name
    ]
    numbers = re.findall(r"(?<=[ \[])-?\d+(?:\.\d+(?:e-\d+)?|e-\d+)(?=[,\]\n])", "\n".join(answers))
    assert len(numbers) > 80 and "4.0376075e-05" in numbers and "0.0" in numbers
    assert decimal_texts(np.array(numbers, np.float64).astype(np.float32)) == numbers


def needed(case):
    """The signatures that a request names, and the default one where it predicts."""
    body = case.get("body") or ""
    found = set(
        re.findall(r'"signature_name": ?"([^"]*)"', body if isinstance(body, str) else json.dumps(body))
    )
    # Names that no model has are part of what is asked.
    return {name or "serving_default" for name in found} & {"serving_default", *RECORDED}


def send(target, name, case):
    method, body, headers = UNWRITTEN.get(name) or (case["method"], case["body"], {})
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode("latin-1")
    path = re.sub("/models/k(?=[:/]|$)", f"/models/{target.model}", case.get("path", "/v1/models/k:predict"))
    connection = http.client.HTTPConnection(target.url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def skeleton(value):
    """Keys, nesting, lengths and types."""
    if isinstance(value, dict):
        return {key: skeleton(item) for key, item in value.items()}
    if isinstance(value, list):
        return [skeleton(item) for item in value]
    return type(value).__name__


def layout(text):
    """How often each line occurs, values masked; the order of keys is random in TF Serving."""
    text = re.sub(r'"(?:Stateful)?PartitionedCall(_\d+)?:\d+"', "CALL", text)
    if "model_spec" not in text:
        text = re.sub(r'"(?:[^"\\]|\\.)*"(:?)', lambda found: found[0] if found[1] else "STRING", text)
        text = re.sub(r"-?\d[\d.e+-]*", "NUMBER", text)
        text = re.sub("true|false", "FLAG", text)
    return Counter(line.rstrip(",") for line in text.split("\n"))


def without_nodes(text):
    """An error without the names of graph nodes that it quotes or that follow TensorFlow's message."""
    text = re.sub(r"PartitionedCall(_\d+)?:\d+", "CALL", text)
    return re.sub(r"\\n\\t \[\[.*\]\]", "", text)
