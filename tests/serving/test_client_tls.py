import asyncio
import shutil
import subprocess

import pytest

from kbert.errors import InputError
from kbert.serving import AsyncClient, Client, ServerError, TlsFiles
from kbert.serving.server import LocalServer

pytestmark = pytest.mark.serving


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate that vouches for itself, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the test's certificate, is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*request, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def server(tiny_export, files):
    certificate, key = files
    settings = {"ssl_cert": certificate, "ssl_key": key, "ssl_client_ca": certificate}
    with LocalServer(tiny_export, "k", rest_port=0, grpc_port=0, labels={"canary": 1}, **settings) as running:
        yield running


@pytest.fixture(params=["https", "grpcs"])
def url(request, server):
    return server.rest_url if request.param == "https" else f"grpcs://{server.grpc_address}"


def test_both_sides_show_a_certificate(url, files):
    certificate, key = files
    tls = TlsFiles(certificate, certificate, key)
    with Client(url, "k", tls=tls) as client:
        assert client.predict(["a"])[0]["num_tokens"] == 3
        assert client.predict(["ab"])[0]["num_tokens"] == 4

    async def ask():
        async with AsyncClient(url, "k", tls=tls, label="canary") as client:
            return await client.classify(["a"])

    assert asyncio.run(ask())[0].label


def test_a_server_that_nobody_vouches_for(url):
    with pytest.raises((InputError, ServerError)) as caught, Client(url, "k", max_tries=1) as client:
        client.predict(["a"])
    if url.startswith("https"):
        assert "certificate verify failed" in str(caught.value)


def test_a_client_without_a_certificate(url, files):
    tls = TlsFiles(files[0])
    with pytest.raises((InputError, ServerError)), Client(url, "k", tls=tls, max_tries=1) as client:
        client.predict(["a"])


def test_files_that_are_missing(url):
    with pytest.raises(InputError, match=r"missing\.pem"):
        Client(url, "k", tls=TlsFiles("missing.pem"))
