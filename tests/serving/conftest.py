"""The tiny model and its server, for all tests of serving, and a certificate."""

import shutil
import subprocess

import pytest

from tests.tiny_server import server, tiny_export  # noqa: F401  fixtures


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A folder with `cert.pem`, which vouches for itself, and its `key.pem`."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the test's certificate, is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*request, *names, *files], check=True, capture_output=True)
    return folder
