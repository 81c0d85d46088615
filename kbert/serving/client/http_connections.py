"""Kept-alive HTTP connections, each request within its time limit, with the standard library alone."""

import base64
import contextlib
import io
import os
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any
from urllib import parse, request

from kbert.errors import InputError
from kbert.serving.client.retries import TimeLimit
from kbert.serving.client.transport import Address, TlsFiles

#: A connection that nobody used for so long is not used again: routers on the way may have forgotten it.
IDLE_SECONDS = 50.0

#: What a connection that the other side has ended raises, in the midst of TLS too.
BROKEN = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


@dataclass(frozen=True)
class Reply:
    """What a server sent.

    Args:
        status: HTTP status code.
        reason: The words beside it.
        headers: All of them.
        body: The document.
    """

    status: int
    reason: str
    headers: Message
    body: bytes


class HttpConnections:
    """Connections to one server, which are used again; for any number of threads.

    A process that was forked opens its own: two that share one would read each other's answers.

    The environment's proxy is used, as `urllib` finds it, but not for this machine's own servers, which it
    cannot know.

    Args:
        address: The server.
        tls: Files for https.

    Raises:
        InputError: A file of `tls` cannot be read.
    """

    def __init__(self, address: Address, tls: TlsFiles):
        self._idle: list[tuple[float, _Connection]] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._address = address
        self._context = _tls_context(tls) if address.is_secure else None
        self._proxy = _find_proxy(address)

    def __del__(self):
        self.close()

    def ask(self, method: str, path: str, body: bytes | None, limit: TimeLimit) -> Reply:
        """Sends one request and reads the whole answer.

        A connection that the server closed while nobody used it is replaced, and the request sent again.

        Args:
            method: GET or POST.
            path: Of the URL.
            body: A JSON document, or none.
            limit: The time that is left.

        Raises:
            OSError, http.client.HTTPException: As `http.client`; TimeoutError when time is over.
        """
        kept = self._take()
        if kept is not None:
            try:
                return self._exchange(kept, method, path, body, limit)
            except BROKEN:
                limit.left()  # Raises if it was us who broke it.
        return self._exchange(self._new(), method, path, body, limit)

    def close(self) -> None:
        """Closes the connections that are not in use."""
        self._leave_to_parent()
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _leave_to_parent(self) -> None:
        """After a fork, gives up what belongs to the process that was forked."""
        if self._process != os.getpid():
            # A thread of the parent's may have held the lock, and nobody here will give it back.
            idle, self._idle, self._lock = self._idle, [], threading.Lock()
            self._process = os.getpid()
            for _, connection in idle:
                connection.close()  # Of this process's hold on it alone.

    def _take(self) -> "_Connection | None":
        """The connection that was used last, if that is not long ago."""
        self._leave_to_parent()
        with self._lock:
            if not self._idle:
                return None
            since, connection = self._idle.pop()
        if time.monotonic() - since < IDLE_SECONDS:
            return connection
        connection.close()
        self.close()  # The others have waited longer.
        return None

    def _new(self) -> "_Connection":
        address, proxy = self._address, self._proxy
        host, port = (proxy.hostname or "", proxy.port or 80) if proxy else (address.host, address.port)
        if self._context is None:
            return _Connection(host, port)
        connection = _TlsConnection(host, port, context=self._context)
        if proxy:
            connection.set_tunnel(address.host, address.port, _proxy_headers(proxy))
        return connection

    def _exchange(self, connection: "_Connection", method, path, body, limit: TimeLimit) -> Reply:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._proxy and self._context is None:
            path = f"http://{self._address.host_and_port}{path}"
            headers |= _proxy_headers(self._proxy)
        connection.limit = limit
        try:
            with limit.stopping(connection.abort):
                try:
                    connection.request(method, path, body, headers)
                except (BrokenPipeError, ConnectionResetError):
                    # A server may refuse a long request before it has read all of it: let it say why.
                    if connection.sock is None:
                        raise
                response = connection.getresponse()
                reply = Reply(response.status, response.reason, response.headers, response.read())
        except BaseException:
            connection.close()
            raise
        if not response.will_close:
            with self._lock:
                self._idle.append((time.monotonic(), connection))
        return reply


class _Connection(HTTPConnection):
    """A connection whose every step keeps to the time limit of the request under way.

    `http.client` has one timeout for each operation on the socket, so a server that sends a byte now and then
    could keep a client for ever.
    """

    limit: TimeLimit

    def connect(self) -> None:
        self._create_connection = _open_socket  # instead of `socket.create_connection`
        self.timeout = self.limit.left()
        super().connect()

    def send(self, data) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.limit.left())
        super().send(data)

    def response_class(self, sock, *arguments, **options) -> HTTPResponse:
        paced: Any = _PacedSocket(sock, self.limit)
        return HTTPResponse(paced, *arguments, **options)

    def abort(self) -> None:
        """Ends reading and writing in whatever thread does it."""
        if self.sock is not None:
            with contextlib.suppress(OSError):  # It may be closed already.
                # Not the method of TLS sockets, which is not for other threads.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _PacedSocket:
    """As much of a socket as `HTTPResponse` uses."""

    def __init__(self, sock: socket.socket, limit: TimeLimit):
        self._sock = sock
        self._limit = limit

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_PacedReader(self._sock, self._limit))


class _PacedReader(io.RawIOBase):
    """Reads from a socket; each piece may take what is left of the time."""

    def __init__(self, sock: socket.socket, limit: TimeLimit):
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer):
        self._sock.settimeout(self._limit.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _open_socket(address: tuple[str, int], timeout: float, source_address=None) -> socket.socket:
    """As `socket.create_connection`, but all addresses of a name share the time."""
    limit = TimeLimit(timeout)
    failure: OSError = OSError(f"{address[0]} has no address")
    for family, kind, protocol, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(limit.left())
            sock.connect(place)
            sock.settimeout(limit.left())  # for what follows, such as the handshake of TLS
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _find_proxy(address: Address) -> parse.SplitResult | None:
    if address.is_loopback or request.proxy_bypass(address.host_and_port):
        return None
    proxy = request.getproxies().get(address.scheme)
    if not proxy:
        return None
    parts = parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme != "http" or not parts.hostname:
        raise InputError(f"{proxy}: the environment's proxy is no HTTP proxy (http://HOST:PORT)")
    return parts


def _proxy_headers(proxy: parse.SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    who = f"{parse.unquote(proxy.username)}:{parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(who.encode()).decode()}"}


def _tls_context(tls: TlsFiles) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.authorities)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(name for name in (tls.authorities, tls.certificate, tls.key) if name)
        raise InputError(f"{names}: cannot be used for TLS ({error}); expected PEM files") from error
    return context
