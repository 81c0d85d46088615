"""The HTTP side: connections, bodies in every form, and requests that mean harm."""

import gzip
import http.client
import json
import random
import socket

import pytest

from kbert.serving.server import LocalServer

pytestmark = pytest.mark.serving
PREDICT = "/v1/models/k:predict"
GOOD = b'{"instances": ["a"]}'


@pytest.fixture
def connection(server):
    connection = http.client.HTTPConnection(server.rest_url.removeprefix("http://"), timeout=30)
    yield connection
    connection.close()


def ask(connection, method="POST", path=PREDICT, body=GOOD, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def error(answer):
    return json.loads(answer[1])["error"]


def test_one_connection_carries_many_requests(connection):
    assert ask(connection)[0] == 200
    first = connection.sock
    assert ask(connection, body=b"broken")[0] == 400
    assert ask(connection, "GET", "/elsewhere", b"ignored body")[0] == 404
    assert ask(connection)[0] == 200
    assert connection.sock is first is not None


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/models/k/versions/9", 404, "Could not find version 9 of model k"),
        ("GET", "/v1/models/k/versions/9/metadata", 404, "Servable not found for request: Specific(k, 9)"),
        ("GET", "/v1/models/%6Eone/metadata", 404, "Servable not found for request: Latest(none)"),
        ("POST", "/v1/models/k/labels/zz:predict", 400, "Unrecognized servable version label: zz"),
        ("DELETE", "/v1/models/k", 400, "Malformed request: DELETE /v1/models/k"),
        ("POST", "/v1/models/k:predict/", 400, "Malformed request: POST /v1/models/k:predict/"),
        (
            "POST",
            "/v1/models/k/versions/-1:predict",
            400,
            "Malformed request: POST /v1/models/k/versions/-1:predict",
        ),
    ],
)
def test_paths_that_lead_nowhere(connection, method, path, status, message):
    answer = ask(connection, method, path)
    assert (answer[0], error(answer)) == (status, message)


def test_the_loaded_version_may_be_named_and_a_query_is_ignored(connection):
    assert ask(connection, path="/V1/models/k/Versions/1:predict?x=1")[0] == 200
    assert ask(connection, "GET", "/v1/models/k/versions/1?x", None)[0] == 200


def test_a_version_beyond_int64_has_no_body(connection):
    assert ask(connection, path=f"/v1/models/k/versions/{2**63}:predict") == (400, b"")


def test_head_has_no_body(connection):
    assert ask(connection, "HEAD", "/v1/models/k", None) == (400, b"")
    assert ask(connection)[0] == 200


def test_chunked_bodies(connection):
    chunks = iter([b'{"instances"', b': ["a"]}'])
    assert ask(connection, body=chunks)[0] == 200
    assert ask(connection)[0] == 200


def test_broken_gzip_and_broken_lengths(connection):
    answer = ask(connection, headers={"Content-Encoding": "gzip"})
    assert answer[0] == 400 and "gzip" in error(answer)
    for length in ("-5", "x", "1e3"):
        assert ask(connection, headers={"Content-Length": length})[0] == 400


def test_bodies_over_the_limit_are_answered_and_not_stored(tiny_export):
    with LocalServer(tiny_export, "k", rest_port=0, grpc_port=0, max_request_mb=10_000 / 2**20) as small:
        bomb = gzip.compress(b" " * 1_000_000)
        chunks = iter([b" " * 9_000] * 3)
        for body, headers in (
            (b" " * 200_000, {}),
            (bomb, {"Content-Encoding": "gzip"}),
            (chunks, {}),
        ):
            connection = http.client.HTTPConnection(small.rest_url.removeprefix("http://"), timeout=30)
            answer = ask(connection, body=body, headers=headers)
            assert (answer[0], error(answer)) == (413, "Request body is larger than 10000 bytes")
            connection.close()


def address_of(server):
    host, port = server.rest_url.removeprefix("http://").split(":")
    return host, int(port)


def asking_first(length):
    """The head of a request whose client waits for a word before it sends the body."""
    lines = [
        f"POST {PREDICT} HTTP/1.1",
        "Host: k",
        f"Content-Length: {length}",
        "Expect: 100-continue",
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def test_a_client_that_asks_before_it_sends_its_body(server):
    with socket.create_connection(address_of(server), timeout=10) as raw:
        for _ in range(2):
            raw.sendall(asking_first(len(GOOD)))
            assert raw.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            raw.sendall(GOOD)
            assert raw.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("length", "status"), [("10001", 413), ("x", 400)])
def test_a_client_that_asks_first_need_not_send_in_vain(tiny_export, length, status):
    with (
        LocalServer(tiny_export, "k", rest_port=0, grpc_port=0, max_request_mb=10_000 / 2**20) as small,
        socket.create_connection(address_of(small), timeout=10) as raw,
    ):
        raw.sendall(asking_first(length))
        answer = b"".join(iter(lambda: raw.recv(1000), b""))  # to the end of the connection
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) and b"\r\nConnection: close\r\n" in answer


def test_a_client_that_leaves_harms_nobody(server, connection):
    address = address_of(server)
    for start in (b"", b"POST ", b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"):
        with socket.create_connection(address, timeout=5) as raw:
            raw.sendall(start)
    assert ask(connection)[0] == 200


def test_random_requests_never_break_the_server(connection):
    source = random.Random(7)
    words = [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"instances"',
        b'"inputs"',
        b'"text"',
        b'"a"',
        b"1e9",
        b"-",
        b"null",
    ]
    words += [
        b'"signature_name"',
        b'"features"',
        b'"input_ids"',
        b'"b64"',
        b"99999999999999999999",
        b"\xff",
        b"\\u",
    ]
    for _ in range(300):
        body = b"".join(source.choices(words, k=source.randint(1, 12)))
        if source.random() < 0.5:
            body = b'{"instances":[' + body + b"]}"
        status, answer = ask(connection, body=body)
        assert status in (200, 400), (body, answer)
    assert ask(connection)[0] == 200


def test_empty_and_wrongly_nested_inputs_of_every_signature(connection):
    for signature in (
        "serving_default",
        "similarity",
        "features",
        "tag",
        "classify",
        "__saved_model_init_op",
    ):
        for value in ([], [[]], "", {}, [None], [[["a"]]], {"text": [], "text_pair": ["a"]}, 2**70, [-1]):
            for key in ("instances", "inputs"):
                body = json.dumps({"signature_name": signature, key: value}).encode()
                assert ask(connection, body=body)[0] in (200, 400), body
