"""What the server does with more than it can or will take: queue, deadlines, sizes, slow clients, the end."""

import http.client
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kbert.errors import InputError
from kbert.serving import rest_server
from kbert.serving.client import Client
from kbert.serving.options import ServerOptions
from kbert.serving.server import LocalServer

pytestmark = pytest.mark.serving


class Busy(tf.Module):
    """Computes for as many seconds as the text says."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def predict(self, text):
        text = tf.ensure_shape(text, [None])
        end = tf.timestamp() + tf.strings.to_number(text[0], tf.float64)
        (rounds,) = tf.while_loop(lambda n: tf.timestamp() < end, lambda n: [n + 1], [0])
        return {"rounds": tf.fill(tf.shape(text), rounds), "echo": text}


@pytest.fixture(scope="module")
def busy_export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("busy")
    module = Busy()
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": module.predict})
    return folder


def serve(folder, **settings):
    return LocalServer(folder, "k", rest_port=0, grpc_port=0, **settings)


def connect(server):
    return http.client.HTTPConnection(server.rest_url.removeprefix("http://"), timeout=30)


def ask(server, *texts):
    connection = connect(server)
    try:
        body = json.dumps({"instances": list(texts)})
        connection.request("POST", "/v1/models/k:predict", body)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), json.loads(answer.read())
    finally:
        connection.close()


def answers(server):
    try:
        return ask(server, "a")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def ask_grpc(server, text, timeout):
    call = predict_pb2.PredictRequest()
    call.model_spec.name = "k"
    call.inputs["text"].CopyFrom(tf.make_tensor_proto(np.array([text.encode()], object)))
    with grpc.insecure_channel(server.grpc_address) as channel:
        try:
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(call, timeout=timeout)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


@pytest.mark.slow
def test_a_full_queue_refuses_at_once(busy_export):
    with serve(busy_export, max_running=1, max_waiting=1) as server, ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(ask, server, "3") for _ in range(2)]
        time.sleep(1)
        started = time.monotonic()
        status, headers, answer = ask(server, "0")
        assert (status, headers["Retry-After"]) == (429, "1")
        assert answer == {"error": "Too many requests: 1 run and 1 wait; try again later"}
        assert ask_grpc(server, "0", 10) == "RESOURCE_EXHAUSTED"
        assert time.monotonic() - started < 2
        assert [future.result()[0] for future in slow] == [200, 200]
        assert ask(server, "0")[0] == 200
        text = metrics(server)
        assert ':tensorflow:serving:request_count{model_name="k",status="OK"} 3' in text
        assert ':tensorflow:serving:request_count{model_name="k",status="RESOURCE_EXHAUSTED"} 2' in text


def metrics(server):
    connection = connect(server)
    connection.request("GET", "/monitoring/prometheus/metrics")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain")
    text = answer.read().decode()
    connection.close()
    return text


def test_deadlines_end_the_computation_too(busy_export):
    with serve(busy_export, max_running=1, timeout_seconds=0.5) as server:
        started = time.monotonic()
        assert ask(server, "20")[0] == 504
        assert ask_grpc(server, "20", 0.2) == "DEADLINE_EXCEEDED"
        assert ask_grpc(server, "20", 10) == "DEADLINE_EXCEEDED"
        assert ask(server, "0")[0] == 200
        assert time.monotonic() - started < 10


def test_rows_and_texts_have_limits(tiny_export):
    with serve(tiny_export, max_rows=3, max_text_mb=1e-5) as server:
        assert ask(server, "a", "b", "c")[0] == 200
        status, _, answer = ask(server, "a", "b", "c", "d")
        assert (status, answer["error"]) == (400, "Input text has 4 rows; at most 3 are taken at once")
        status, _, answer = ask(server, "01234567890")
        assert (status, answer["error"]) == (
            400,
            "A text of input text has 11 bytes; at most 10 are taken",
        )


def test_too_many_connections_are_told_so(tiny_export):
    with serve(tiny_export, max_connections=2) as server:
        kept = [connect(server) for _ in range(2)]
        for connection in kept:
            connection.request("GET", "/v1/models/k")
            assert connection.getresponse().read()
        host, port = server.rest_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as third:
            answer = b"".join(iter(lambda: third.recv(4096), b""))  # to its end
        assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nConnection: close\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"].startswith("Too many connections")
        for connection in kept:
            connection.close()
        deadline = time.monotonic() + 10
        while not answers(server):
            assert time.monotonic() < deadline


def test_a_client_that_dribbles_is_cut_off(tiny_export, monkeypatch):
    monkeypatch.setattr(rest_server, "READ_SECONDS", 0.5)
    with serve(tiny_export) as server:
        host, port = server.rest_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as slow:
            started = time.monotonic()
            try:
                for byte in b"POST /v1/models/k:predict HTTP/1.1\r\nContent-Length: 1000\r\n" * 10:
                    slow.sendall(bytes([byte]))
                    time.sleep(0.05)
                    assert time.monotonic() - started < 8
            except OSError:
                pass  # closed by the server, as it should be
            else:
                pytest.fail("the connection stayed open")


def test_stopping_under_load_loses_nothing_that_was_accepted(busy_export):
    server = serve(busy_export, max_running=2).start()
    lost, answered, stopped = [], [], threading.Event()

    def client():
        while not stopped.is_set():
            connection = connect(server)
            try:
                connection.connect()
            except OSError:
                return
            try:
                connection.request("POST", "/v1/models/k:predict", '{"instances": ["0.02"]}')
                answered.append(connection.getresponse().status)
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)
            finally:
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(12)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    before = len(answered)
    server.stop()
    stopped.set()
    for thread in threads:
        thread.join(30)
    assert not lost
    assert before > 10 and len(answered) > before and set(answered) == {200}


def test_stopping_waits_for_calls_over_grpc(busy_export):
    server = serve(busy_export, max_running=1).start()
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(ask_grpc, server, "1", 20) for _ in range(3)]
        time.sleep(1.5)
        server.stop()
        assert [call.result() for call in calls] == ["OK"] * 3


def test_tls_on_both_ports(tiny_export, certificate, monkeypatch):
    files = {"ssl_cert": str(certificate / "cert.pem"), "ssl_key": str(certificate / "key.pem")}
    with serve(tiny_export, **files) as server:
        assert server.rest_url.startswith("https://")
        monkeypatch.setenv("SSL_CERT_FILE", files["ssl_cert"])
        assert Client(server.rest_url, "k").predict(["a"])[0]["num_tokens"] == 3
        credentials = grpc.ssl_channel_credentials((certificate / "cert.pem").read_bytes())
        with grpc.secure_channel(server.grpc_address, credentials) as channel:
            call = predict_pb2.PredictRequest()
            call.model_spec.name = "k"
            call.inputs["text"].CopyFrom(tf.make_tensor_proto([b"a"]))
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert stub.Predict(call, timeout=20).outputs["num_tokens"].int_val == [3]
        # A client that speaks no TLS, or says nothing, holds up nobody.
        host, port = server.rest_url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert Client(server.rest_url, "k").predict(["a"])


def test_clients_without_a_certificate_are_shut_out_where_one_is_asked(tiny_export, certificate):
    files = {"ssl_cert": str(certificate / "cert.pem"), "ssl_key": str(certificate / "key.pem")}
    authorities = {"ssl_client_ca": files["ssl_cert"]}
    with serve(tiny_export, **files, **authorities) as server, pytest.raises(InputError, match="no answer"):
        Client(server.rest_url, "k", timeout_seconds=5).predict(["a"])


def test_certificates_that_are_none(tiny_export, tmp_path):
    (tmp_path / "cert.pem").write_text("no certificate")
    (tmp_path / "key.pem").write_text("no key")
    files = {"ssl_cert": str(tmp_path / "cert.pem"), "ssl_key": str(tmp_path / "key.pem")}
    with pytest.raises(InputError, match=r"cert\.pem and .*key\.pem: not a PEM certificate"):
        serve(tiny_export, **files)
    with pytest.raises(FileNotFoundError):
        serve(tiny_export, **files | {"ssl_key": str(tmp_path / "none.pem")})


def test_authorities_that_are_none(tmp_path, tiny_export, certificate):
    files = {"ssl_cert": str(certificate / "cert.pem"), "ssl_key": str(certificate / "key.pem")}
    with pytest.raises(FileNotFoundError) as caught:
        serve(tiny_export, **files, ssl_client_ca="none.pem")
    assert caught.value.filename == "none.pem"
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(InputError, match=r"none\.pem: no PEM certificates"):
        serve(tiny_export, **files, ssl_client_ca=str(tmp_path / "none.pem"))


def test_a_certificate_is_looked_at_before_any_model(certificate, monkeypatch, tiny_export):
    monkeypatch.setattr(
        "kbert.serving.model_store.ModelStore.__init__", lambda *_: pytest.fail("models are loaded")
    )
    files = {"ssl_cert": str(certificate / "cert.pem"), "ssl_key": "none.pem"}
    with pytest.raises(FileNotFoundError):
        serve(tiny_export, **files)


def test_as_many_run_at_once_as_there_are_cores_for_this_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {4, 7, 9}, raising=False)
    assert (ServerOptions().num_running, ServerOptions(max_running=5).num_running) == (3, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rest_port": 70000}, "rest_port is 70000; a port is a number"),
        ({"max_waiting": -1}, "max_waiting is -1; give 0 or more"),
        ({"timeout_seconds": 0.0}, "timeout_seconds is 0.0; give more than 0"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds is nan"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds is inf; give at most 1000000$"),
        ({"grace_seconds": 1e10}, "grace_seconds is 10000000000.0; give at most 1000000$"),
        ({"poll_seconds": float("inf")}, r"poll_seconds is inf; give at most 1000000 \(0 = never\)"),
        ({"max_request_mb": float("inf")}, "max_request_mb is inf; give less than 2048"),
        ({"max_request_mb": 2048.0}, "max_request_mb is 2048.0; give less than 2048"),
        ({"max_text_mb": float("inf")}, "max_text_mb is inf; give less than 2048"),
        ({"ssl_cert": "a"}, "go together"),
        ({"ssl_client_ca": "a"}, "needs ssl_cert"),
    ],
)
def test_options_out_of_range(settings, message):
    with pytest.raises(InputError, match=message):
        ServerOptions(**settings)


def test_the_largest_options_are_taken(tiny_export):
    largest = {name: 1_000_000.0 for name in ("timeout_seconds", "grace_seconds", "poll_seconds")}
    with serve(tiny_export, max_request_mb=2047.99, max_text_mb=2047.99, **largest) as server:
        assert ask(server, "a")[0] == 200
        assert ask_grpc(server, "a", None) == "OK"
