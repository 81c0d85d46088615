"""Serving: the client of an exported model, and a local server that speaks TF Serving's two protocols.

    client.py, grpc_client.py   raw text in, plain Python answers out; works against TF Serving and against
                                the local server. `Client` needs neither TensorFlow nor grpcio.
    server.py                   `LocalServer`: the REST API and the gRPC services of TF Serving over one
                                exported model, for machines without TF Serving.

A request to the local server goes through

    rest_server.py   sockets and HTTP
    rest_api.py      URLs, status and metadata
    json_*.py        JSON <-> arrays
    grpc_service.py  protobuf <-> arrays, instead of the three above
    versions.py      the newest version below a folder
    model_store.py   arrays -> session.run -> arrays, loaded the way TF Serving loads

The local server is for development: it binds the loopback address, and production is TF Serving itself.
What it must answer is recorded from a running TF Serving and replayed by the tests.
"""

from kbert.serving.client import Client

__all__ = ["Client"]
