import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from kbert.errors import InputError
from kbert.serving.client import Client
from kbert.serving.server import LocalServer

pytestmark = pytest.mark.serving


def test_sixteen_clients_at_once_get_their_own_answers(server):
    def ask(number):
        if number % 2:
            client = Client(server.rest_url, "k")
        else:
            client = Client(f"grpc://{server.grpc_address}", "k")
        texts = ["x" * number, "y" * (number + 1)]
        return [client.predict(texts) for _ in range(10)]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    for number, rounds in enumerate(answers):
        for first, second in rounds:
            assert (first["num_tokens"], second["num_tokens"]) == (number + 2, number + 3)


def test_a_used_port_is_an_input_error_and_frees_the_other(server, tiny_export):
    used_rest = int(server.rest_url.rpartition(":")[2])
    used_grpc = int(server.grpc_address.rpartition(":")[2])
    with pytest.raises(InputError, match=f":{used_rest}: cannot listen for REST"):
        LocalServer(tiny_export, "k", rest_port=used_rest, grpc_port=0)
    with pytest.raises(InputError, match=f":{used_grpc}: cannot listen for gRPC"):
        LocalServer(tiny_export, "k", rest_port=0, grpc_port=used_grpc)
    with pytest.raises(InputError, match="cannot listen"):
        LocalServer(tiny_export, "k", host="203.0.113.1", rest_port=0, grpc_port=0)


def test_stopping_closes_both_ports(tiny_export):
    with LocalServer(tiny_export, "k", rest_port=0, grpc_port=0) as short:
        client = Client(short.rest_url, "k")
        assert client.predict(["a"])[0]["num_tokens"] == 3
    with pytest.raises(InputError, match="no answer"):
        client.predict(["a"])
    with pytest.raises(InputError, match="UNAVAILABLE"):
        Client(f"grpc://{short.grpc_address}", "k", timeout_seconds=5).predict(["a"])


@pytest.mark.parametrize(
    ("package", "remedy"), [("tensorflow_text", "install tensorflow-text"), ("grpc", r"install .\[serve\]")]
)
def test_a_missing_package_is_told_with_the_remedy_for_it(monkeypatch, package, remedy):
    for name in [name for name in sys.modules if name.startswith("kbert.serving.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"{package}.*{remedy}"):
        LocalServer([])
