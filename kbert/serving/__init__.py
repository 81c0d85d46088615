"""Serving: the client of an exported model, and a local server that speaks TF Serving's two protocols.

    client/     asks TF Serving or the local server; from Python's standard library alone over REST
    server.py   `LocalServer`: the REST API and the gRPC services of TF Serving over exported models, for
                machines without TF Serving. Its settings: options.py.
    page/       what a browser shows of it, handed out by page.py
    deployment/ the files that TF Serving needs in production

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

from kbert.serving.client import AsyncClient, Client, RefusedError, ServerError, TlsFiles

__all__ = ["AsyncClient", "Client", "RefusedError", "ServerError", "TlsFiles"]
