import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kbert.errors import InputError
from kbert.serving.client import Client
from kbert.serving.grpc_client import GrpcClient


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
        GrpcClient(server.grpc_address, "none").predict(["a"])


def test_pairs_must_match_the_texts():
    client = Client("http://127.0.0.1:1", "k")
    with pytest.raises(InputError, match="2 texts but 1 second texts"):
        client.predict(["a", "b"], ["c"])
    with pytest.raises(InputError, match="no text"):
        client.predict([])


@pytest.mark.parametrize("url", ["127.0.0.1:8501", "ftp://host", "http://", "file:///etc/passwd"])
def test_only_http_urls(url):
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
        with pytest.raises(InputError, match=message):
            Client(f"http://127.0.0.1:{other.server_port}", "k").predict(["a"])
        thread.join()
