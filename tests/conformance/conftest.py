"""The servers that must answer alike: the local one, and any TF Serving that the environment names.

    docker run -p 8501:8501 -p 8500:8500 -v FOLDER:/models/k -e MODEL_NAME=k tensorflow/serving:2.20.0
    KBERT_TFS_URL=http://127.0.0.1:8501 python -m pytest tests/conformance

FOLDER is what `python tests/conformance/export_tiny_model.py FOLDER` writes. Any other model will do, named
by KBERT_TFS_MODEL: requests to signatures that it lacks are skipped. KBERT_TFS_GRPC=127.0.0.1:8500 adds gRPC.
"""

import os
from typing import NamedTuple

import pytest

from tests.tiny_server import server, tiny_export  # noqa: F401  fixtures

UNSET = "KBERT_TFS_URL is not set; it names a running TF Serving, such as http://127.0.0.1:8501"


class Target(NamedTuple):
    """A server under test."""

    kind: str
    url: str
    grpc_address: str | None
    model: str


@pytest.fixture(scope="session", params=["local server", "TF Serving"])
def target(request):
    if request.param == "local server":
        running = request.getfixturevalue("server")
        return Target(request.param, running.rest_url, running.grpc_address, "k")
    if "KBERT_TFS_URL" not in os.environ:
        pytest.skip(UNSET)
    environment = os.environ.get
    url = environment("KBERT_TFS_URL", "").rstrip("/")
    return Target(request.param, url, environment("KBERT_TFS_GRPC"), environment("KBERT_TFS_MODEL", "k"))
