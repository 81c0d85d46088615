import asyncio
import email.utils
import errno
import os
import signal
import socket
import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kbert.errors import InputError
from kbert.serving import AsyncClient, Client, RefusedError, ServerError
from kbert.serving.client import http_connections, retries
from kbert.serving.client.rest_transport import _seconds
from kbert.serving.client.retries import RetryableError, TimeLimit, Tries
from tests.serving.scripted_server import ScriptedServer, closing, echo, reply

CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"
BUSY = reply("503 Service Unavailable", {"error": "queue full"})


class Blocking:
    """`AsyncClient` with the methods of `Client`, so that a test can have either."""

    def __init__(self, url, model, **options):
        self._make = lambda: AsyncClient(url, model, **options)

    def predict(self, *arguments):
        return self._ask("predict", *arguments)

    def classify(self, *arguments):
        return self._ask("classify", *arguments)

    def _ask(self, method, *arguments):
        async def ask():
            async with self._make() as client:
                return await getattr(client, method)(*arguments)

        return asyncio.run(ask())


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def make(request):
    return request.param


@pytest.fixture
def no_waits(monkeypatch):
    monkeypatch.setattr(retries.random, "uniform", lambda low, high: 0.0)


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(
    "steps",
    [
        [BUSY, BUSY],
        [reply("429 Too Many Requests", {"error": "too many"}), BUSY],
        [closing(), closing()],
        [closing(CUT + b"{"), closing(CUT)],
    ],
    ids=["busy", "too many", "closed before the answer", "closed within the answer"],
)
def test_what_may_pass_is_asked_again(make, steps):
    with ScriptedServer(*steps) as server:
        answers = make(server.url, "m").predict(["a", "b"])
    assert [answer["echo"] for answer in answers] == ["a", "b"]
    assert len(server.requests) == 3
    assert len({request.body for request in server.requests}) == 1


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("400 Bad Request", RefusedError),
        ("404 Not Found", RefusedError),
        ("413 Payload Too Large", RefusedError),
        ("301 Moved Permanently", RefusedError),
        ("500 Internal Server Error", ServerError),
        ("501 Not Implemented", ServerError),
        ("504 Gateway Timeout", ServerError),
    ],
)
def test_what_will_not_pass_is_asked_once(make, status, error):
    with (
        ScriptedServer(reply(status, {"error": "the server's words"})) as server,
        pytest.raises(
            error, match=f"{server.url}/v1/models/m:predict: {status[:3]} the server's words"
        ) as caught,
    ):
        make(server.url, "m").predict(["a"])
    assert caught.value.code == status[:3]
    assert len(server.requests) == 1


@pytest.mark.usefixtures("no_waits")
def test_the_number_of_tries_is_bounded(make):
    message = r"503 queue full \(3 tries\)"
    with ScriptedServer(*[BUSY] * 9) as server, pytest.raises(ServerError, match=message):
        make(server.url, "m", max_tries=3).predict(["a"])
    assert len(server.requests) == 3
    message = r"the connection broke .*\(4 tries\)"
    with ScriptedServer(*[closing()] * 9) as server, pytest.raises(ServerError, match=message):
        make(server.url, "m").predict(["a"])


class HangsUp(socketserver.BaseRequestHandler):
    """Hears the first words of TLS, and ends the connection."""

    def handle(self):
        self.server.num_connections += 1
        self.request.recv(65536)


@pytest.mark.usefixtures("no_waits")
def test_a_handshake_that_breaks_is_tried_again(make):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangsUp) as server:
        server.num_connections = 0
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(ServerError, match=r"the connection broke .*\(3 tries\)"):
            make(f"https://127.0.0.1:{server.server_address[1]}", "m", max_tries=3).predict(["a"])
        server.shutdown()
    assert server.num_connections == 3


@pytest.mark.usefixtures("no_waits")
def test_retry_after_is_honoured(make):
    busy = reply("429 Too Many Requests", {"error": "slow down"}, "Retry-After: 1")
    with ScriptedServer(busy) as server:
        started = time.monotonic()
        assert make(server.url, "m").predict(["a"])[0]["echo"] == "a"
        assert 1.0 <= time.monotonic() - started < 1.5


def test_a_wait_that_is_longer_than_the_time_is_not_begun(make):
    busy = reply("503 Service Unavailable", {"error": "slow down"}, "Retry-After: 3600")
    with ScriptedServer(busy) as server:
        started = time.monotonic()
        with pytest.raises(ServerError, match=r"503 slow down \(the time of 5 s has no room for another\)"):
            make(server.url, "m", timeout_seconds=5).predict(["a"])
        assert time.monotonic() - started < 0.5
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", ["hang", "trickle", "slow_body"])
def test_the_deadline_is_kept(make, way):
    with ScriptedServer() as server:
        server.script = [getattr(server, way)]
        started = time.monotonic()
        with pytest.raises(ServerError, match=r"no answer within 0\.5 s") as caught:
            make(server.url, "m", timeout_seconds=0.5).predict(["a"])
        assert 0.4 < time.monotonic() - started < 1.0
    assert caught.value.code == "timeout"
    assert len(server.requests) == 1


def test_the_deadline_is_for_all_tries_together(make):
    with ScriptedServer() as server:
        server.script = [BUSY, BUSY, server.hang]
        started = time.monotonic()
        with pytest.raises(ServerError):
            make(server.url, "m", timeout_seconds=1.2).predict(["a"])
        assert time.monotonic() - started < 1.7


def test_the_message_says_how_far_a_long_list_came(make):
    with ScriptedServer() as server:
        server.script = [echo, server.hang]
        options = {"max_concurrency": 1} if make is Blocking else {}
        with pytest.raises(ServerError, match="2 rows were answered before"):
            make(server.url, "m", max_batch=2, timeout_seconds=0.5, **options).predict(["a", "b", "c"])


def test_a_server_that_does_not_take_the_connection(make):
    with socket.socket() as full:
        # Nobody accepts: the first connections wait in the queue, and then no further one is made.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for other in waiting:
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        started = time.monotonic()
        with pytest.raises(ServerError, match="no answer within"):
            make(f"http://127.0.0.1:{port}", "m", timeout_seconds=0.4).predict(["a"])
        assert time.monotonic() - started < 0.9
        for other in waiting:
            other.close()


def test_long_lists_are_split_and_joined_in_order(make):
    texts = [str(number) for number in range(75)]
    with ScriptedServer() as server:
        answers = make(server.url, "m").predict(texts)
    assert [answer["echo"] for answer in answers] == texts
    assert [answer["rows"] for answer in answers] == [32] * 64 + [11] * 11
    assert len(server.requests) == 3


def test_connections_are_kept_and_opened_again():
    with ScriptedServer() as server, Client(server.url, "m") as client:
        for _ in range(3):
            client.predict(["a"])
        assert {request.connection for request in server.requests} == {1}
        server.script = [closing(echo_of("x"))]
        assert client.predict(["x"])[0]["echo"] == "x"
        # The server has closed behind its answer, as it does with connections that nobody used for long.
        assert client.predict(["y"])[0]["echo"] == "y"
        assert [request.connection for request in server.requests] == [1, 1, 1, 1, 2]


def test_connections_that_rested_for_long_are_not_used_again(monkeypatch):
    monkeypatch.setattr(http_connections, "IDLE_SECONDS", 0.0)
    with ScriptedServer() as server, Client(server.url, "m") as client:
        client.predict(["a"])
        client.predict(["b"])
        assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the server's threads stay in this process
def test_a_forked_process_opens_its_own_connection():
    with ScriptedServer() as server, Client(server.url, "m", timeout_seconds=5) as client:
        client.predict(["a"])
        with client._transport._connections._lock:  # as another thread may, which the fork does not copy
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                try:
                    os._exit(0 if client.predict(["b"])[0]["echo"] == "b" else 2)
                finally:
                    os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert client.predict(["c"])[0]["echo"] == "c"
        assert [request.connection for request in server.requests] == [1, 2, 1]


def echo_of(text):
    return reply("200 OK", {"predictions": [{"echo": text, "rows": 1}]})


def test_many_threads_share_a_client():
    with ScriptedServer() as server, Client(server.url, "m") as client:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: client.predict([str(number)] * 2), range(200)))
        assert [rows[0]["echo"] for rows in answers] == [str(number) for number in range(200)]
        assert server.num_connections <= 8


def test_concurrency_of_an_async_client_is_bounded():
    running, seen, lock = [], [], threading.Lock()

    def slow_echo(request):
        with lock:
            running.append(1)
            seen.append(len(running))
        time.sleep(0.02)
        with lock:
            running.pop()
        return echo(request)

    async def ask(url):
        async with AsyncClient(url, "m", max_batch=1, max_concurrency=3) as client:
            return await asyncio.gather(*(client.predict([str(n), "x"]) for n in range(8)))

    with ScriptedServer() as server:
        server.answer = slow_echo
        answers = asyncio.run(ask(server.url))
    assert [rows[0]["echo"] for rows in answers] == [str(n) for n in range(8)]
    assert max(seen) == 3


def test_a_cancelled_call_ends_at_once_and_frees_its_thread():
    async def ask(url, server):
        async with AsyncClient(url, "m", max_concurrency=1, timeout_seconds=20) as client:
            call = asyncio.ensure_future(client.predict(["a"]))
            while not server.requests:
                await asyncio.sleep(0.01)
            started = time.monotonic()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            # The only thread is free again for the next one.
            assert (await client.predict(["b"]))[0]["echo"] == "b"
            return time.monotonic() - started

    with ScriptedServer() as server:
        server.script = [server.hang]
        assert asyncio.run(ask(server.url, server)) < 0.5


def test_a_refused_part_ends_an_async_call():
    async def ask(url):
        async with AsyncClient(url, "m", max_batch=1, max_concurrency=2, timeout_seconds=20) as client:
            await client.predict(["a", "b", "c"])

    with ScriptedServer() as server:
        server.script = [server.hang, reply("400 Bad Request", {"error": "no"})]
        started = time.monotonic()
        with pytest.raises(RefusedError, match="400 no"):
            asyncio.run(ask(server.url))
        assert time.monotonic() - started < 1.0


@pytest.mark.usefixtures("no_waits")
def test_nobody_there_is_asked_again_and_then_an_input_error(make):
    with pytest.raises(
        InputError, match=r"no answer \(Connection refused\); is the server running there\? \(4 tries\)"
    ):
        make("http://127.0.0.1:1", "k").predict(["a"])


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(
    "failure",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        OSError(errno.ETIMEDOUT, "Connection timed out"),
    ],
    ids=["name", "route", "the system's own time limit"],
)
def test_a_server_that_cannot_be_reached_for_a_moment(make, failure, monkeypatch):
    tries, open_socket = [], http_connections._open_socket

    def fail_twice(*arguments):
        tries.append(arguments)
        if len(tries) < 3:
            raise failure
        return open_socket(*arguments)

    monkeypatch.setattr(http_connections, "_open_socket", fail_twice)
    with ScriptedServer() as server:
        assert make(server.url, "m").predict(["a"])[0]["echo"] == "a"
        tries.clear()
        with pytest.raises(InputError, match=rf"no answer \({failure.strerror}\); .* \(2 tries\)"):
            make(server.url, "m", max_tries=2).predict(["a"])


def test_a_server_that_comes_up_late(make):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = None

    def start():
        nonlocal server
        time.sleep(0.15)
        server = ScriptedServer(port=port).__enter__()

    thread = threading.Thread(target=start)
    thread.start()
    try:
        assert make(f"http://127.0.0.1:{port}", "m", max_tries=50).predict(["a"])[0]["echo"] == "a"
    finally:
        thread.join()
        server.__exit__()


def answered(**outputs):
    return reply("200 OK", {"predictions": [outputs]})


def test_labels_of_another_version_are_not_put_to_the_numbers(make):
    described = {
        "serving_default": {"inputs": {"text": {}}, "outputs": {"probabilities": {}, "predicted": {}}},
        "classify": {"inputs": {"inputs": {}}, "outputs": {"classes": {}, "scores": {}}},
    }
    metadata = reply("200 OK", {"metadata": {"signature_def": {"signature_def": described}}})
    old, new = (answered(classes=classes, scores=[0, 0]) for classes in (["bad", "good"], ["good", "bad"]))
    said = answered(probabilities=[0.1, 0.9], predicted=[False, True])
    said_by_new = answered(probabilities=[0.8, 0.2], predicted=[True, False])
    with ScriptedServer(metadata, old, said, old) as server:
        assert make(server.url, "m").classify(["a"])[0].labels == ("good",)
    with ScriptedServer(metadata, old, said, new, said_by_new, new) as server:
        (found,) = make(server.url, "m").classify(["a"])
        assert found.labels == ("good",) and found.probabilities == {"good": 0.8, "bad": 0.2}
    with ScriptedServer(metadata, old, said, new, said, old) as server:
        with pytest.raises(ServerError, match="m: the labels change from request to request"):
            make(server.url, "m").classify(["a"])
        assert len(server.requests) == 6


def test_waits_are_random_grow_and_end(monkeypatch):
    drawn = []
    monkeypatch.setattr(retries.random, "uniform", lambda low, high: drawn.append((low, high)) or high)
    tries = Tries(TimeLimit(100), most=8)
    failed = RetryableError("busy", "503", after=0.5)
    waits = [tries.wait_after(failed) for _ in range(7)]
    assert drawn == [(0, 0.2), (0, 0.4), (0, 0.8), (0, 1.6), (0, 3.2), (0, 5.0), (0, 5.0)]
    assert waits == [0.5 + high for _, high in drawn]
    with pytest.raises(ServerError, match=r"busy \(8 tries\)"):
        tries.wait_after(failed)


def test_retry_after_is_seconds_or_a_date():
    assert _seconds("7") == 7.0
    assert 55 < _seconds(email.utils.formatdate(time.time() + 60, usegmt=True)) <= 60
    assert _seconds(email.utils.formatdate(time.time() - 60)) == 0.0
    assert [_seconds(header) for header in (None, "", "soon", "-1", "²")] == [0.0] * 5


def test_time_can_be_ended_early():
    limit, stopped = TimeLimit(60), []
    with limit.stopping(lambda: stopped.append(1)):
        limit.cancel()
    limit.cancel()
    assert stopped == [1] and limit.is_over
    with pytest.raises(TimeoutError):
        limit.left()
