"""The REST API from the client's side, with nothing but the standard library."""

import base64
import email.utils
import errno
import json
import socket
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from http.client import HTTPException, IncompleteRead
from typing import Any

from kbert.errors import InputError
from kbert.serving.client.http_connections import BROKEN, HttpConnections, Reply
from kbert.serving.client.retries import RefusedError, RetryableError, ServerError, TimeLimit
from kbert.serving.client.transport import Address, ModelSpec, Row, Signature, TlsFiles

_TOO_BUSY = (429, 503)

#: What the system says of a server that is gone, such as a pod whose address still stands in the routing.
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT)


class RestTransport:
    """A `Transport` over REST.

    Args:
        address: The server.
        model: Which of its models.
        tls: Files for https.

    Raises:
        InputError: The files cannot be used.
    """

    def __init__(self, address: Address, model: ModelSpec, tls: TlsFiles):
        self._connections = HttpConnections(address, tls)
        self._server = f"{address.scheme}://{address.host_and_port}"
        self._path = address.path + model.path

    def predict(self, rows: Sequence[Row], signature: str, limit: TimeLimit) -> list[dict[str, Any]]:
        """As `Transport.predict`."""
        path = f"{self._path}:predict"
        asked = {"signature_name": signature, "instances": rows}
        try:
            document = json.dumps(asked, default=_encoded_bytes).encode()
        except TypeError as error:
            raise InputError(f"{error}; inputs are text, lists of text, numbers, or bytes") from None
        body = self._answer("POST", path, document, limit)
        where = self._server + path
        try:
            # Strings of a model need not be UTF-8, and servers write their bytes as they are.
            predictions = json.loads(body.decode("utf-8", "replace"))["predictions"]
            count = len(predictions)
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{where}: the answer holds no predictions; is this a model server?") from None
        if not all(isinstance(prediction, dict) for prediction in predictions):
            raise InputError(f"{where}: the outputs have no names; this is not a model that kbert exported")
        if count != len(rows):
            raise InputError(f"{where}: {count} answers to {len(rows)} rows; is this a model server?")
        return [
            {name: _decoded(value) if name.endswith("_bytes") else value for name, value in row.items()}
            for row in predictions
        ]

    def signatures(self, limit: TimeLimit) -> dict[str, Signature]:
        """As `Transport.signatures`."""
        path = f"{self._path}/metadata"
        body = self._answer("GET", path, None, limit)
        try:
            found = json.loads(body)["metadata"]["signature_def"]["signature_def"]
            return {
                name: Signature(frozenset(each.get("inputs", ())), frozenset(each.get("outputs", ())))
                for name, each in found.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{self._server}{path}: the answer holds no signatures; is this a model server?"
            ) from None

    def close(self) -> None:
        """Closes the connections that are not in use."""
        self._connections.close()

    def _answer(self, method: str, path: str, document: bytes | None, limit: TimeLimit) -> bytes:
        where = self._server + path
        try:
            reply = self._connections.ask(method, path, document, limit)
        except ConnectionRefusedError as error:
            raise RetryableError(_nobody(where, error), None) from error
        except (*BROKEN, IncompleteRead) as error:
            raise RetryableError(f"{where}: the connection broke ({error})") from error
        except (HTTPException, OSError) as error:
            if limit.is_over:
                raise limit.expired(where) from error
            if isinstance(error, socket.gaierror) or getattr(error, "errno", None) in _UNREACHABLE:
                raise RetryableError(_nobody(where, error), None) from error
            raise InputError(_nobody(where, error)) from error
        if reply.status == 200:
            return reply.body
        raise _failure(where, reply)


def _nobody(where: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error).strip()
    return f"{where}: no answer ({reason}); is the server running there?"


def _failure(where: str, reply: Reply) -> Exception:
    code = str(reply.status)
    message = f"{where}: {code} {_reason(reply)}"
    if reply.status in _TOO_BUSY:
        return RetryableError(message, code, _seconds(reply.headers.get("Retry-After")))
    if 300 <= reply.status < 400:
        return RefusedError(f"{message}; the server is at {reply.headers.get('Location')}", code)
    return RefusedError(message, code) if reply.status < 500 else ServerError(message, code)


def _reason(reply: Reply) -> str:
    """The message in a model server's error, else the HTTP reason."""
    try:
        return str(json.loads(reply.body.decode("utf-8", "replace"))["error"])
    except (ValueError, KeyError, TypeError):
        return reply.reason


def _seconds(header: str | None) -> float:
    """What a `Retry-After` asks for: seconds, or a date; 0 where it is neither."""
    if header is None:
        return 0.0
    header = header.strip()
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        date: datetime = email.utils.parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, date.timestamp() - time.time())


def _encoded_bytes(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _decoded(value: Any) -> Any:
    """Bytes for `{"b64": ...}`, also within lists."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict) and value.keys() == {"b64"}:
        return base64.b64decode(value["b64"])
    return value
