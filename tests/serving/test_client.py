import asyncio
import dataclasses
import functools
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from kbert.errors import InputError
from kbert.serving import AsyncClient, Client, ServerError, TlsFiles
from kbert.serving.client.rows import batches, checked_rows, choice_rows, text_rows
from kbert.serving.client.transport import Address, ModelSpec
from kbert.serving.server import LocalServer
from tests.serving.scripted_server import ScriptedServer, reply

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def ask_async(url, model, method, *arguments, **options):
    async def ask():
        async with AsyncClient(url, model, **options) as client:
            return await getattr(client, method)(*arguments)

    return asyncio.run(ask())


def ask_sync(url, model, method, *arguments, **options):
    with Client(url, model, **options) as client:
        return getattr(client, method)(*arguments)


@pytest.fixture(params=["rest", "grpc", "rest async", "grpc async"])
def ask(request, server):
    """Asks the tiny model over each of the protocols: `ask(method, *arguments, **options)`."""
    protocol, _, is_async = request.param.partition(" ")
    url = server.rest_url if protocol == "rest" else f"grpc://{server.grpc_address}"
    return functools.partial(ask_async if is_async else ask_sync, url, "k")


def rounded(value):
    """As float32: gRPC gives these numbers, REST the shortest decimals that stand for them."""
    if isinstance(value, float):
        return float(np.float32(value))
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return {name: rounded(item) for name, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.slow
@pytest.mark.serving
def test_answers_are_plain_python(server):
    (answer,) = Client(server.rest_url + "/", "k").predict(["a nice day"])
    assert sorted(answer) == ["label", "label_id", "num_tokens", "probabilities", "score", "truncated"]
    assert answer["label"] in ("negative", "neutral", "positive")
    assert answer["num_tokens"] == 12 and answer["truncated"] is False
    assert answer["score"] == max(answer["probabilities"]) == answer["probabilities"][answer["label_id"]]


@pytest.mark.serving
@pytest.mark.parametrize("texts", [['\ud83d\ude00 \u4e2d\u6587 \x00 "quoted"'], ["", "b"]])
def test_any_text_arrives_whole(server, texts):
    counts = [answer["num_tokens"] for answer in Client(server.rest_url, "k").predict(texts)]
    texts = [text.encode("utf-16", "surrogatepass").decode("utf-16") for text in texts]
    assert counts == [len(text.encode()) + 2 for text in texts]


@pytest.mark.serving
def test_the_servers_reason_reaches_the_user(server):
    with pytest.raises(InputError, match=r"404 Servable not found for request: Latest\(none\)"):
        Client(server.rest_url, "none").predict(["a"])
    with pytest.raises(InputError, match="400 .*does not have named input: text_pair"):
        Client(server.rest_url, "k").predict(["a"], ["b"])
    with pytest.raises(InputError, match="NOT_FOUND Servable not found"):
        Client(f"grpc://{server.grpc_address}", "none").predict(["a"])


def test_pairs_must_match_the_texts():
    client = Client("http://127.0.0.1:1", "k")
    with pytest.raises(InputError, match="2 texts but 1 second texts"):
        client.predict(["a", "b"], ["c"])
    with pytest.raises(InputError, match="no text"):
        client.predict([])


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8501",
        "ftp://host",
        "http://",
        "file:///etc/passwd",
        "http://host:port",
        "http://me:secret@host",
        "grpc://host:1/path",
        "http://host?x=1",
    ],
)
def test_only_addresses_of_servers(url):
    with pytest.raises(InputError, match="not a server's address"):
        Client(url, "k")


@pytest.mark.serving
def test_a_proxy_is_not_asked_about_this_machine(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert Client(server.rest_url, "k").predict(["a"])
    with pytest.raises(InputError, match="no answer"):
        Client("http://model.invalid", "k").predict(["a"])


def test_nobody_there():
    with pytest.raises(InputError, match="no answer"):
        Client("http://127.0.0.1:1", "k").predict(["a"])


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "no predictions"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"predictions": [0.5]}', "no names"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"predictions": []}', "0 answers to 1 rows"),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>", "502 Bad Gateway"),
        (b"SSH-2.0-OpenSSH\r\n", "no answer"),
    ],
)
def test_other_servers(reply, message):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(reply)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        with pytest.raises((InputError, ServerError), match=message):
            Client(f"http://127.0.0.1:{other.server_port}", "k").predict(["a"])
        thread.join()


@pytest.mark.serving
def test_every_way_gives_the_same(ask, server):
    texts = ["a nice day", "", "\u00fcn\u00ef \U0001f600", "x" * 200, "\u4e2d\u6587"]
    expected = rounded(ask_sync(server.rest_url, "k", "predict", texts))
    assert rounded(ask("predict", texts)) == expected
    for one in expected:  # Some processors add the numbers of another batch in another order.
        one |= {name: pytest.approx(one[name], rel=1e-5) for name in ("score", "probabilities")}
    assert ask("predict", texts, max_batch=2) == expected


@pytest.mark.serving
def test_typed_results(ask):
    first, second = ask("classify", ["a nice day", "b"])
    assert first.label == ("negative", "neutral", "positive")[first.label_id]
    assert first.score == max(first.probabilities) == first.probabilities[first.label_id]
    assert (len(second.probabilities), second.truncated) == (3, False)
    assert ask("labels") == ("negative", "neutral", "positive")

    short, long = ask("tag", ["b", "in New York"], signature="tag")
    assert [len(short.words), len(long.words)] == [1, 3]
    assert [word.text for word in long.words] == ["in", "New", "York"]
    assert [entity.label for entity in ask("find_entities", ["b"], signature="tag")[0]] == ["PER"]

    (answer,) = ask("answer", ["who?"], ["\u4e2d\u6587"], signature="answer")
    assert (answer.text, answer.start, answer.probability) == ("\u4e2d\u6587", 0, None)
    (embedding,) = ask("embed", ["a"], signature="embed")
    assert len(embedding.vector) == 32
    (score,) = ask("score", ["a"], ["b"], signature="similarity")
    assert 0 < score.value < 1
    (filled,) = ask("fill_mask", ["a b c"], signature="fill_mask")
    assert [[candidate.token for candidate in mask] for mask in filled.masks] == [["##x"] * 5]


@pytest.mark.serving
def test_ask_gives_what_the_task_gives(ask):
    (asked,) = ask("ask", [{"text": "a nice day"}])
    assert asked == ask("classify", ["a nice day"])[0]
    assert dataclasses.is_dataclass(asked)
    (asked,) = ask("ask", [{"question": "who?", "context": "b"}], signature="answer")
    assert asked.text == "b"


@pytest.mark.serving
def test_a_model_for_another_method(ask):
    with pytest.raises(InputError, match=r"no model for embed\(\): .* and gives label, .*; use classify\(\)"):
        ask("embed", ["a"])
    with pytest.raises(InputError, match="has no signature nbest; it has answer, classify, embed, "):
        ask("answer", ["a"], ["b"], 3)
    with pytest.raises(InputError, match=r"but text, text_pair came"):
        ask("classify", ["a"], ["b"])
    with pytest.raises(InputError, match="has no signature none"):
        ask("ask", [{"text": "a"}], signature="none")


@pytest.mark.serving
def test_versions_and_labels(ask):
    assert ask("predict", ["a"], version=1)[0]["num_tokens"] == 3
    assert ask("classify", ["a"], version=1)[0].label
    with pytest.raises(InputError, match=r"Servable not found for request: Specific\(k, 7\)"):
        ask("predict", ["a"], version=7)
    with pytest.raises(InputError, match="Unrecognized servable version label: canary"):
        ask("predict", ["a"], label="canary")


@pytest.mark.serving
def test_bytes_and_named_inputs(ask):
    example = b"\n\x0e\n\x0c\n\x04text\x12\x04\n\x02\n\x00"
    (classes,) = ask("predict_rows", [{"inputs": example}], signature="classify")
    assert classes["classes"] == ["negative", "neutral", "positive"]


def test_bytes_and_numbers_that_are_none():
    body = b'{"predictions": [{"echo_bytes": [{"b64": "/wA="}], "x": [NaN, -Infinity, 0.5], "y": "\xff"}]}'
    with ScriptedServer(reply("200 OK", body)) as server:
        (answer,) = ask_sync(server.url, "k", "predict_rows", [{"text": b"\xff"}])
        assert b'{"b64": "/w=="}' in server.requests[0].body
    assert answer["echo_bytes"] == [b"\xff\x00"] and answer["y"] == "\ufffd"
    assert np.isnan(answer["x"][0]) and answer["x"][1:] == [-np.inf, 0.5]


def test_the_path_names_version_label_and_signature():
    with ScriptedServer() as server:
        ask_sync(server.url, "a/b", "predict", ["x"], label="c d")
        ask_sync(server.url + "/behind/", "m", "predict", ["x"], version=3, signature="other")
        assert [request.path for request in server.requests] == [
            "/v1/models/a%2Fb/labels/c%20d:predict",
            "/behind/v1/models/m/versions/3:predict",
        ]
        assert b'"signature_name": "other"' in server.requests[1].body


def test_a_proxy_is_asked_about_other_machines(monkeypatch):
    with ScriptedServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:pass@"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert ask_sync("http://model.invalid:8501", "m", "predict", ["a"])[0]["echo"] == "a"
        (request,) = proxy.requests
        assert request.path == "http://model.invalid:8501/v1/models/m:predict"
        assert request.headers["Proxy-Authorization"] == "Basic bWU6cGFzcw=="
        assert request.headers["Host"] == "model.invalid:8501"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 1, "label": "x"}, "give one of them"),
        ({"version": -1}, "version=-1"),
        ({"timeout_seconds": 0}, "timeout_seconds=0"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds=nan"),
        ({"max_batch": 0}, "max_batch=0"),
        ({"max_tries": 0}, "max_tries=0"),
        ({"tls": TlsFiles("a.pem")}, "has no TLS"),
    ],
)
def test_settings_out_of_their_range(options, message):
    for client in (Client, AsyncClient):
        with pytest.raises(InputError, match=message):
            client("http://127.0.0.1:1", "k", **options)
    with pytest.raises(InputError, match="max_concurrency=0"):
        AsyncClient("http://127.0.0.1:1", "k", max_concurrency=0)
    with pytest.raises(InputError, match="give both or none"):
        TlsFiles(certificate="a.pem")
    with pytest.raises(InputError, match="missing.pem: cannot be used"):
        Client("https://127.0.0.1:1", "k", tls=TlsFiles("missing.pem"))


def test_rows_that_cannot_be_sent():
    for rows, message in [
        ([], "no text"),
        ([{"text": "a"}, {"text": "a", "text_pair": "b"}], "row 2 has the inputs text, text_pair; the first"),
        ([{"text": "a"}, "b"], "row 2: 'b'; expected inputs by name"),
        ([{"text": "a\ud83d"}], "row 1 has half a character"),
    ]:
        with pytest.raises(InputError, match=message):
            checked_rows(rows)
    with pytest.raises(InputError, match="text is a single string"):
        text_rows("abc")
    with pytest.raises(InputError, match="text is a dict"):
        text_rows({"text": "abc"})
    assert text_rows(text for text in ("a", "b")) == text_rows(["a", "b"])
    with pytest.raises(InputError, match="1 texts but 2 questions and 1 lists of choices"):
        choice_rows(["a"], ["b", "c"], [["d"]])
    assert checked_rows([{"choices": ["\ud83d\ude00"]}]) == [{"choices": ["\U0001f600"]}]


def test_choices_are_filled_up_in_their_batch():
    rows = [{"choices": ["a"]}, {"choices": ["b", "c"]}, {"choices": ["d"]}]
    assert list(batches(rows, 2)) == [[{"choices": ["a", ""]}, {"choices": ["b", "c"]}], [{"choices": ["d"]}]]
    assert rows[0] == {"choices": ["a"]}


def test_addresses():
    assert Address.parse("http://[::1]:8501/").host_and_port == "[::1]:8501"
    for host in ("localhost", "127.0.0.9", "[::1]"):
        assert Address.parse(f"http://{host}").is_loopback
    assert not Address.parse("http://a.b").is_loopback
    assert Address.parse("http://bücher.example/wörter%20a/ b").path == "/w%C3%B6rter%20a/%20b"
    assert Address.parse("http://bücher.example").host == "xn--bcher-kva.example"
    assert ModelSpec("m", version=0).path == "/v1/models/m/versions/0"


@pytest.mark.parametrize("url", ["http://127.0..1:1", f"http://{'a' * 64}.example", "grpc://.:1"])
def test_what_is_no_name_of_a_server(url):
    with pytest.raises(InputError, match=re.escape(f"{url}: not a server's address (")) as caught:
        Client(url, "k")
    assert "give one such as http://127.0.0.1:8501" in str(caught.value)


@pytest.mark.serving
def test_a_path_of_any_characters():
    with ScriptedServer() as scripted:
        Client(f"{scripted.url}/wörter", "k").predict(["a"])
    assert {request.path for request in scripted.requests} == {"/w%C3%B6rter/v1/models/k:predict"}


@pytest.mark.serving
def test_rest_needs_nothing_but_python(server):
    program = (
        "import sys; from kbert.serving import Client; "
        f"assert Client({server.rest_url!r}, 'k').classify(['a']); "
        "sys.exit(len({'tensorflow', 'grpc', 'numpy', 'absl'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, env=ENVIRONMENT).returncode == 0


def test_grpc_without_its_package():
    program = (
        "import sys; sys.modules['grpc'] = None\n"
        "from kbert.serving import AsyncClient, Client\n"
        "for client in (Client, AsyncClient):\n"
        "    try: client('grpc://127.0.0.1:1', 'k')\n"
        "    except ValueError as error: assert 'pip install .[serve]' in str(error)\n"
        "    else: sys.exit('no error')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, env=ENVIRONMENT).returncode == 0


@pytest.mark.serving
def test_a_label_of_a_version(tiny_export):
    with LocalServer(tiny_export, "k", rest_port=0, grpc_port=0, labels={"canary": 1}) as labelled:
        for url in (labelled.rest_url, f"grpc://{labelled.grpc_address}"):
            assert ask_sync(url, "k", "classify", ["a"], label="canary")[0].label_id in range(3)
            assert ask_async(url, "k", "predict", ["a"], label="canary")[0]["num_tokens"] == 3
