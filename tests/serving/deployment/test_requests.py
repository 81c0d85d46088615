"""Every command of the README, run against the local server, which answers as TF Serving does."""

import json
import re
import shlex
import shutil
import subprocess

import grpc
import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from tensorflow_serving.apis import predict_pb2

from kbert.serving.deployment.plan import Choices, make_plan
from kbert.serving.deployment.rendering import render_deployment
from kbert.serving.deployment.sample_requests import grpc_predict, sample_row
from kbert.serving.model_configs import read_model_configs
from kbert.serving.server import LocalServer
from tests.serving.deployment.conftest import AWKWARD, TINY_SIGNATURES, describe, write_description
from tests.serving.deployment.test_alerts import METRICS

pytestmark = pytest.mark.serving


@pytest.fixture(scope="module")
def deployment(served_export):
    plan = make_plan(served_export, Choices(labels="stable:1,canary:2"))
    return render_deployment(plan)


@pytest.fixture(scope="module")
def labelled_server(deployment, served_export, tmp_path_factory):
    """The local server under the configuration that was written, but for the container's path."""
    config = tmp_path_factory.mktemp("config") / "models.config"
    text = deployment["config/models.config"].decode()
    config.write_text(text.replace('"/models/k"', f'"{served_export}"'), encoding="utf-8")
    with LocalServer(read_model_configs(str(config)), rest_port=0, grpc_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def pool(deployment):
    """The messages of the descriptor set, read as grpcurl reads them."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(deployment["tensorflow_serving.protoset"]).file:
        pool.Add(file)
    return pool


def commands(files, program):
    lines = files["README.md"].decode().splitlines()
    return [line for line in lines if line.startswith(f"{program} ")]


def ask(line, server, curl):
    """Runs a curl line in a shell, and gives status and body."""
    line = line.replace("http://localhost:8501", server.rest_url)
    assert server.rest_url in line
    command = f"{curl} --noproxy '*' -s -w '\\n%{{http_code}}' {line.removeprefix('curl ')}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.fixture(scope="module")
def curl():
    found = shutil.which("curl")
    if found is None or shutil.which("bash") is None:
        pytest.skip("needs curl and bash")
    return found


def test_every_curl_line_is_answered(deployment, labelled_server, curl):
    lines = commands(deployment, "curl")
    for line in lines:
        status, body = ask(line, labelled_server, curl)
        assert status == 200, f"{line}\n{body}"
    text = "\n".join(lines)
    for part in (":predict", ":classify", ":regress", '"instances"', '"inputs"', "/versions/2:",
                 "/labels/stable:", "/labels/canary:", "/metadata", "/monitoring/"):  # fmt: skip
        assert part in text
    for signature in TINY_SIGNATURES:
        assert signature == "serving_default" or f'"signature_name": "{signature}"' in text


def test_the_sample_arrives_as_it_is(deployment, labelled_server, curl):
    line = next(line for line in commands(deployment, "curl") if '"tag"' in line)
    _, body = ask(line, labelled_server, curl)
    assert json.loads(body)["predictions"][0]["words"] == f"{AWKWARD} text".split()


def test_the_local_server_and_the_alerts_agree_on_metrics(deployment, labelled_server, curl):
    lines = commands(deployment, "curl")
    ask(lines[-2], labelled_server, curl)
    _, page = ask(lines[-1], labelled_server, curl)
    found = dict(re.findall(r"^(:tensorflow:serving:\w+)\{(.*)\}", page, re.M))
    shared = found.keys() & METRICS.keys()
    assert {":tensorflow:serving:request_count", ":tensorflow:serving:request_latency_bucket"} <= shared
    for name in shared:
        assert set(re.findall(r'(\w+)="', found[name])) == METRICS[name]
    assert re.search(r'request_latency_count\{.*API="(?i:predict)"', page)


def call(line, pool, address):
    """What grpcurl does: JSON to the message of the method, and the answer back."""
    words = shlex.split(line.replace("localhost:8500", address))
    assert words[:4] == ["grpcurl", "-plaintext", "-protoset", "tensorflow_serving.protoset"]
    assert words[4] == "-d" and words[6] == address and len(words) == 8
    service, name = words[7].split("/")
    method = pool.FindServiceByName(service).FindMethodByName(name)
    request, answer = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    with grpc.insecure_channel(address) as channel:
        send = channel.unary_unary(
            f"/{words[7]}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        return send(json_format.Parse(words[5], request(), descriptor_pool=pool), timeout=60)


def test_every_grpcurl_line_is_answered(deployment, labelled_server, pool):
    lines = commands(deployment, "grpcurl")
    asked = set()
    for line in lines:
        answer = call(line, pool, labelled_server.grpc_address)
        json_format.MessageToDict(answer, descriptor_pool=pool)  # with the Any of the metadata
        asked.add(line.split("/")[-1])
    assert asked == {"Predict", "Classify", "Regress", "Check", "GetModelStatus", "GetModelMetadata"}


def test_versions_and_labels_over_grpc_are_those_that_are_named(deployment, labelled_server, pool):
    lines = [line for line in commands(deployment, "grpcurl") if '"version' in line]
    found = [call(line, pool, labelled_server.grpc_address).model_spec.version.value for line in lines]
    assert found == [2, 1, 2]  # --version 2, stable, canary


def test_grpcurl_lines_are_predict_requests(deployment):
    for line in commands(deployment, "grpcurl"):
        if line.endswith("/Predict"):
            request = json_format.Parse(shlex.split(line)[5], predict_pb2.PredictRequest())
            inputs, _ = TINY_SIGNATURES[request.model_spec.signature_name]
            for name in inputs.split():
                assert tf.make_ndarray(request.inputs[name]).tolist() == [f"{AWKWARD} {name}".encode()]


def test_the_health_check_of_compose_tells_a_ready_server(deployment, labelled_server):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    service = yaml.safe_load(deployment["docker-compose.yml"])["services"]["tensorflow-serving"]
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"
    port = labelled_server.rest_url.rpartition(":")[2]
    for path, healthy in (("models/k/", True), ("models/none/", False)):
        script = command[-1].replace("/8501", f"/{port}").replace("models/k/", path)
        done = subprocess.run([*command[:-1], script], timeout=30)
        assert (done.returncode == 0) == healthy
    script = command[-1].replace("/8501", "/1")
    assert subprocess.run([*command[:-1], script], capture_output=True, timeout=30).returncode != 0


def test_bytes_and_lists_are_sent_as_what_they_are(tmp_path):
    """A row that is no text is shown only where there is no other."""
    samples = [
        {
            "signature": "serving_default",
            "inputs": {"text": [{"b64": "//4="}], "choices": [["a", {"b64": "/w=="}]]},
        }
    ]
    signatures = {"serving_default": ("text choices", "choice")}
    write_description(tmp_path / "m/1", describe(signatures, samples=samples, rank=2))
    (tmp_path / "m/1/saved_model.pb").touch()
    version = make_plan(tmp_path / "m", Choices()).newest
    assert sample_row(version, "serving_default") == {
        "text": {"b64": "//4="},
        "choices": ["a", {"b64": "/w=="}],
    }
    body = shlex.split(grpc_predict(version, "m", "serving_default"))[5]
    request = json_format.Parse(body, predict_pb2.PredictRequest())
    assert tf.make_ndarray(request.inputs["text"]).tolist() == [b"\xff\xfe"]
    np.testing.assert_array_equal(
        tf.make_ndarray(request.inputs["choices"]), np.array([[b"a", b"\xff"]], object)
    )


@pytest.mark.slow
def test_a_real_export_is_asked_with_its_own_samples(make_module, tmp_path, curl):
    from kbert.export import export

    export(make_module(pair=True), tmp_path / "pairs")
    files = render_deployment(make_plan(tmp_path / "pairs", Choices()))
    lines = [line for line in commands(files, "curl") if "/v1/" in line]
    assert sum("A short sentence." in line for line in lines) >= 4
    assert re.search(r'"text_pair": "[^"]+"', "\n".join(lines))
    with LocalServer(tmp_path / "pairs", "pairs", rest_port=0, grpc_port=0) as server:
        for line in lines:
            status, body = ask(line, server, curl)
            assert status == 200, f"{line}\n{body}"
