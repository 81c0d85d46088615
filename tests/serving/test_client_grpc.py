import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kbert.errors import InputError
from kbert.serving import AsyncClient, Client, RefusedError, ServerError
from kbert.serving.client import grpc_transport, retries


class Scripted(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers with these codes, and then with an echo."""

    def __init__(self):
        self.codes: list[str] = []
        self.num_calls = 0
        self.rows: list[int] = []
        self.width = 1
        self.is_ending = threading.Event()

    def Predict(self, request, context):
        self.num_calls += 1
        code = self.codes.pop(0) if self.codes else "OK"
        if code == "hang":
            self.is_ending.wait(10)
        if code not in ("OK", "hang"):
            context.abort(grpc.StatusCode[code], "the server's words")
        texts = tf.make_ndarray(request.inputs["text"])
        self.rows.append(len(texts))
        answer = predict_pb2.PredictResponse()
        answer.outputs["echo"].CopyFrom(tf.make_tensor_proto(texts))
        answer.outputs["echo_bytes"].CopyFrom(tf.make_tensor_proto([text + b"\xff" for text in texts]))
        answer.outputs["many"].CopyFrom(tf.make_tensor_proto(np.ones([len(texts), self.width], np.float32)))
        return answer


@pytest.fixture
def scripted():
    service, server = Scripted(), grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    service.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield service
    service.is_ending.set()
    server.stop(0).wait()


def sync(url, texts, **options):
    with Client(url, "m", **options) as client:
        return client.predict(texts)


def with_asyncio(url, texts, **options):
    async def ask():
        async with AsyncClient(url, "m", **options) as client:
            return await client.predict(texts)

    return asyncio.run(ask())


@pytest.fixture(params=[sync, with_asyncio])
def ask(request, monkeypatch):
    monkeypatch.setattr(retries.random, "uniform", lambda low, high: 0.0)
    return request.param


def test_what_may_pass_is_asked_again(ask, scripted):
    scripted.codes = ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    (answer,) = ask(scripted.url, ["中😀"])
    assert (answer["echo"], answer["echo_bytes"]) == ("中😀", "中😀".encode() + b"\xff")
    assert scripted.num_calls == 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("INVALID_ARGUMENT", RefusedError),
        ("NOT_FOUND", RefusedError),
        ("FAILED_PRECONDITION", RefusedError),
        ("DEADLINE_EXCEEDED", ServerError),
        ("INTERNAL", ServerError),
    ],
)
def test_what_will_not_pass_is_asked_once(ask, scripted, code, error):
    scripted.codes = [code]
    with pytest.raises(error, match=f"{scripted.url}: m: {code} the server's words") as caught:
        ask(scripted.url, ["a"])
    assert (caught.value.code, scripted.num_calls) == (code, 1)


def test_the_number_of_tries_is_bounded(ask, scripted):
    scripted.codes = ["UNAVAILABLE"] * 9
    with pytest.raises(ServerError, match=r"UNAVAILABLE the server's words \(3 tries\)"):
        ask(scripted.url, ["a"], max_tries=3)
    assert scripted.num_calls == 3


def test_the_deadline_is_kept(ask, scripted):
    ask(scripted.url, ["a"])
    scripted.codes = ["UNAVAILABLE", "hang"]
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"no answer within 0\.6 s") as caught:
        ask(scripted.url, ["a"], timeout_seconds=0.6)
    assert 0.5 < time.monotonic() - started < 1.1
    assert caught.value.code == "timeout"


def test_long_lists_are_split(ask, scripted):
    texts = [str(number) for number in range(11)]
    assert [answer["echo"] for answer in ask(scripted.url, texts, max_batch=4)] == texts
    assert sorted(scripted.rows) == [3, 4, 4]


def test_a_request_larger_than_the_server_takes_is_sent_once(ask, scripted, monkeypatch):
    tries = []
    failure = grpc_transport._Messages.failure
    monkeypatch.setattr(
        grpc_transport._Messages, "failure", lambda *arguments: tries.append(1) or failure(*arguments)
    )
    message = r"RESOURCE_EXHAUSTED .*larger than max.*; send fewer or shorter texts at once$"
    with pytest.raises(RefusedError, match=message) as caught:
        ask(scripted.url, ["a" * 5_000_000])  # gRPC's own limit is 4 MiB.
    assert (caught.value.code, len(tries), scripted.num_calls) == ("RESOURCE_EXHAUSTED", 1, 0)


def test_answers_larger_than_grpcs_own_limit(ask, scripted):
    scripted.width = 2**21
    assert len(ask(scripted.url, ["a"])[0]["many"]) == 2**21


def test_nobody_there(ask):
    with pytest.raises(
        InputError, match=r"no answer \(UNAVAILABLE .*is the server running there\? \(4 tries\)"
    ):
        ask("grpc://127.0.0.1:1", ["a"], timeout_seconds=10)


def test_a_proxy_is_not_asked_about_this_machine(ask, scripted, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert ask(scripted.url, ["a"])[0]["echo"] == "a"


def test_inputs_that_grpc_cannot_carry(scripted):
    with Client(scripted.url, "m") as client:
        with pytest.raises(InputError, match="input text: 3; over gRPC inputs are text"):
            client.predict_rows([{"text": 3}])
        with pytest.raises(InputError, match="input text: rows of different length"):
            client.predict_rows([{"text": ["a"]}, {"text": ["a", "b"]}])


def test_a_cancelled_call_ends_at_once(scripted):
    scripted.codes = ["hang"]

    async def ask():
        async with AsyncClient(scripted.url, "m", max_concurrency=1) as client:
            call = asyncio.ensure_future(client.predict(["a"]))
            while not scripted.num_calls:
                await asyncio.sleep(0.01)
            started = time.monotonic()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (await client.predict(["b"]))[0]["echo"] == "b"
            return time.monotonic() - started

    assert asyncio.run(ask()) < 0.5
