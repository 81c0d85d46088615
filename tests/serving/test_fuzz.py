"""Malformed requests by the thousand: none may end the server, make it fail inwardly, or fill its memory.

Each request is made by a seeded generator, so that a failure can be repeated. The server is a process of its
own, as users start it: a crash would be seen, and its log tells of every exception that it did not expect.
"""

import contextlib
import itertools
import json
import random
import re
import socket
from collections.abc import Iterator

import grpc
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import model_management_pb2, predict_pb2

from tests.serving.malformed import BODIES, body_request, bytes_request, head_request, tensor_request
from tests.serving.server_process import ServerProcess, server_process

pytestmark = pytest.mark.serving
PREDICT = "/tensorflow.serving.PredictionService/Predict"
METHODS = [
    PREDICT,
    *(f"/tensorflow.serving.PredictionService/{name}" for name in ("Classify", "Regress", "MultiInference")),
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/grpc.health.v1.Health/Check",
]
#: What gRPC itself says of bytes that are no message, in C++ as in Python.
UNREADABLE = "Exception deserializing request!"
GRPC_LOG = re.compile(r"Exception deserializing message!\nTraceback.*?DecodeError: [^\n]*\n", re.S)

#: What the server's memory may grow by over any number of requests, after the first hundred (MiB).
GROWTH = 96
LIMIT_MB = 4


def ask(victim: ServerProcess, request: bytes) -> bytes:
    """All that comes back; nothing if the server hangs up on us."""
    with socket.create_connection((victim.host, victim.port), timeout=20) as connection:
        with contextlib.suppress(OSError):  # It may have read enough; its answer is still to be read.
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1 << 16):
                answer += data
        return answer


def assert_well(victim: ServerProcess) -> None:
    """It runs, answers over both protocols, and has met nothing that it did not expect."""
    assert victim.process.poll() is None, victim.told()[-3000:]
    body = BODIES[0]
    head = b"POST /v1/models/k:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = json.loads(ask(victim, head + body).partition(b"\r\n\r\n")[2])
    assert [row["num_tokens"] for row in answer["predictions"]] == [20, 3]
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "k"
    tensor = request.inputs["text"]
    tensor.dtype, tensor.string_val[:] = types_pb2.DT_STRING, [b"b"]
    tensor.tensor_shape.dim.add(size=1)
    with grpc.insecure_channel(victim.grpc_address) as channel:
        reply = channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=20)
    assert predict_pb2.PredictResponse.FromString(reply).outputs["num_tokens"].int_val == [3]
    log = GRPC_LOG.sub("", victim.told())
    assert "Traceback" not in log, log[-3000:]


@pytest.fixture(scope="module")
def victim(tiny_export, tmp_path_factory):
    with server_process(
        tiny_export, tmp_path_factory.mktemp("victim"), f"--max_request_mb={LIMIT_MB}"
    ) as running:
        yield running


def replies(answer: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Status, headers and body of each answer of a connection; an answer of HTTP/0.9 has no form."""
    while answer.startswith(b"HTTP/1."):
        head, _, answer = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.M)
        # An answer to HEAD tells a length, but is followed by the next one.
        size = int(length[1]) if length and not answer.startswith((b"HTTP/1.", b"<!DOCTYPE")) else 0
        yield int(head.split()[1]), head.decode("latin-1"), answer[:size]
        answer = answer[size:]


def attack(victim: ServerProcess, make, count: int, fault_of) -> None:
    """`count` requests of `make`; memory is compared with that after the first hundred of others.

    Args:
        victim: The server.
        make: A request from a source of random numbers.
        count: How many.
        fault_of: What is wrong with the server's answer to a request, if anything is.
    """
    faults, before = [], 0.0
    for number in range(-100, count):
        if number == 0:
            before = victim.megabytes()
        name = f"{make.__name__} {number}"
        request = make(random.Random(name))
        fault = fault_of(request)
        if fault:
            faults.append(f"{name}, {request[:300]!r}: {fault}")
    assert not faults, "\n".join([f"{len(faults)} requests:", *faults[:20]])
    assert_well(victim)
    assert victim.megabytes() - before < GROWTH


COUNTS = [pytest.param(150, id="few"), pytest.param(2500, id="many", marks=pytest.mark.slow)]


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("make", [body_request, head_request])
def test_requests_over_rest(victim, make, count):
    def fault_of(request):
        # A request that ends too early has no answer.
        for status, headers, body in replies(ask(victim, request)):
            if status in (500, 502, 504):
                return f"{status} {body[:300]!r}"
            if body and "application/json" in headers:
                try:
                    json.loads(body.decode("utf-8", "replace"))
                except json.JSONDecodeError as error:
                    return f"{status}, {error} in {body[:300]!r}"
        return None

    attack(victim, make, count, fault_of)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("make", [bytes_request, tensor_request])
def test_requests_over_grpc(victim, make, count):
    methods = itertools.cycle(METHODS if make is bytes_request else METHODS[:1])
    with grpc.insecure_channel(victim.grpc_address) as channel:

        def fault_of(request):
            method = next(methods)
            try:
                channel.unary_unary(method)(request, timeout=20)
            except grpc.RpcError as error:
                code, details = error.code().name, error.details()
                unread = code == "INTERNAL" and details == UNREADABLE
                if code in ("UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL") and not unread:
                    return f"{method} {code} {details}"
            return None

        attack(victim, make, count, fault_of)


CHUNKED = b"POST /v1/models/k:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n%s\r\n0\r\n\r\n"
SIZED = b"POST /v1/models/k:predict HTTP/1.1\r\nContent-Length: %s\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /v1/models/k/versions/%s HTTP/1.1\r\n\r\n" % (b"9" * 5000), 400),
        (b"GET /v1/models/k/versions/%s1 HTTP/1.1\r\n\r\n" % (b"0" * 5000), 200),
        (SIZED % (b"0" * 5000), 400),
        (SIZED % (b"0" * 20 + b"99999999999"), 413),
        (SIZED % (b"0" * 20 + b"%d" % len(BODIES[0])) + BODIES[0], 200),
        (CHUNKED % (b"2a", BODIES[0]), 200),
        *((CHUNKED % (size, BODIES[0]), 400) for size in (b"-2a", b"+2a", b"0x2a", b"2_a", b"")),
    ],
    ids="version version length length length chunk - + 0x _ nothing".split(),
)
def test_numbers_that_python_would_take_or_choke_on(victim, request_, status):
    assert next(replies(ask(victim, request_)))[0] == status
    assert_well(victim)


def test_a_few_bytes_cannot_fill_the_memory(victim):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "k"
    for number in range(20):
        tensor = request.inputs[f"input {number}"]
        tensor.dtype, tensor.double_val[:] = types_pb2.DT_DOUBLE, [1.0]
        tensor.tensor_shape.dim.add(size=2**24)
    before = victim.megabytes("VmHWM")
    with grpc.insecure_channel(victim.grpc_address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=60)
    assert refused.value.code().name == "INVALID_ARGUMENT"
    assert victim.megabytes("VmHWM") - before < 2.5 * 8 * 2**24 / 2**20  # one such tensor, and its copy
    assert_well(victim)


def test_a_folder_that_cannot_be_one_changes_nothing(victim, tiny_export):
    request = model_management_pb2.ReloadConfigRequest()
    for name, path in (("k", str(tiny_export)), ("other", "/a\0b")):
        request.config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
    method = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
    with grpc.insecure_channel(victim.grpc_address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(request.SerializeToString(), timeout=60)
    assert refused.value.code().name == "INVALID_ARGUMENT"
    assert_well(victim)
