"""Serving: the client of an exported model, and a local server that speaks TF Serving's two protocols.

    client.py, async_client.py  raw text in, plain Python answers or typed results out; works against TF
                                Serving and against the local server. Over REST it needs nothing but
                                Python's standard library.
    server.py                   `LocalServer`: the REST API and the gRPC services of TF Serving over exported
                                models, for machines without TF Serving. Its settings: options.py.

A request of the client goes through

    rows.py, settings.py    checks and batches; what the client was told
    retries.py              the time limit of a call, and what is tried again
    transport.py            what rest_transport.py and grpc_transport.py have in common
    http_connections.py     HTTP connections that are kept and keep to the time limit
    answer_kinds.py         what the model is, and from its outputs to the classes of results.py

A request to the local server goes through

    rest_server.py, rest_handler.py   sockets and HTTP
    rest_api.py, json_*.py            URLs, status and metadata; JSON <-> arrays
    grpc_server.py, grpc_service.py   gRPC and protobuf <-> arrays, instead of the above
    service.py, admission.py          its place in the queue, its deadline, its limits; metrics.py counts
    model_store.py, versions.py       which version is meant; versions come and go while requests run
    loaded_model.py                   arrays -> session.run -> arrays, loaded the way TF Serving loads

The local server is for development: it binds the loopback address, and production is TF Serving itself.
What it must answer is recorded from a running TF Serving and replayed by the tests.
"""

from kbert.serving.async_client import AsyncClient
from kbert.serving.client import Client
from kbert.serving.retries import RefusedError, ServerError
from kbert.serving.transport import TlsFiles

__all__ = ["AsyncClient", "Client", "RefusedError", "ServerError", "TlsFiles"]
