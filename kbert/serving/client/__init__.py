"""The client of a served model: raw text in, plain Python answers or typed results out.

It works against TF Serving and against the local server. Over REST it needs nothing but Python's standard
library: neither TensorFlow nor NumPy is imported. A call goes through

    client.py, async_client.py   `Client` and `AsyncClient`: a method for each task
    rows.py, settings.py         checks and batches; what the client was told
    retries.py                   the time limit of a call, and what is tried again
    transport.py                 what rest_transport.py and grpc_transport.py have in common
    threaded_transport.py        a transport in threads, for `AsyncClient`
    http_connections.py          HTTP connections that are kept and keep to the time limit
    answer_kinds.py              what the model is, and from its outputs to the classes of results.py
    entities.py                  tags of any scheme to spans of the text
"""

from kbert.serving.client.async_client import AsyncClient
from kbert.serving.client.client import Client
from kbert.serving.client.retries import RefusedError, ServerError
from kbert.serving.client.transport import TlsFiles

__all__ = ["AsyncClient", "Client", "RefusedError", "ServerError", "TlsFiles"]
