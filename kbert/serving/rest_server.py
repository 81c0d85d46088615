"""The REST API on a socket: HTTP/1.1 with kept-alive connections, one thread per connection."""

import contextlib
import socket
import socketserver
import threading
import time
from http.server import ThreadingHTTPServer
from typing import Any

from absl import logging

from kbert.errors import InputError
from kbert.serving.certificates import read_certificate
from kbert.serving.rest_handler import RestHandler
from kbert.serving.service import Service

#: A request of which the last byte has not come so long after the first is given up.
READ_SECONDS = 60

#: When the server stops: how long nothing may happen on any connection before the last ones are closed.
QUIET_SECONDS = 0.3

_FULL_BODY = b'{ "error": "Too many connections; try again later" }'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_FULL_BODY), _FULL_BODY)
)


class RestServer(ThreadingHTTPServer):
    """The REST API; `serve_forever` answers until `stop`.

    Args:
        service: The served models.

    Raises:
        InputError: The port cannot be bound, or a certificate cannot be read.
    """

    # Threads that are still answering are waited for in `stop`.
    daemon_threads = False
    request_queue_size = 1024

    def __init__(self, service: Service):
        self.service = service
        options = service.options
        self.max_request_bytes = options.max_request_bytes
        self.draining = False
        self._connections: set = set()
        # Connection -> when the first byte of its request came, until it is answered.
        self._busy: dict[socket.socket, tuple[float, bool]] = {}
        self._lock = threading.Lock()
        certificate = read_certificate(options)
        self._tls = certificate.context if certificate else None
        address = f"{options.host}:{options.rest_port}"
        try:
            super().__init__((options.host, options.rest_port), RestHandler)
        except OSError as error:
            raise InputError(
                f"{address}: cannot listen for REST: {error.strerror}; choose another"
            ) from error
        self.port = self.server_address[1]

    def server_bind(self) -> None:
        """Binds without the name lookup of `HTTPServer`, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def get_request(self):
        """Takes a connection; the handshake of TLS is left to its thread, which has a time limit."""
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address) -> None:
        """Remembers the connection and hands it to a new thread, if there are not too many."""
        if len(self._connections) >= self.service.options.max_connections:
            self._refuse(request)
            return
        self._connections.add(request)
        super().process_request(request, client_address)

    def _refuse(self, connection: socket.socket) -> None:
        if not self._tls:
            connection.settimeout(1)
            connection.sendall(_FULL)
        self.shutdown_request(connection)

    def shutdown_request(self, request) -> None:
        """Closes a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """Logs what went wrong with one connection, such as a client that left."""
        logging.debug("connection of %s failed", client_address, exc_info=True)

    def mark(self, connection: socket.socket, busy: bool, reading: bool = False) -> None:
        """Notes that a request has begun, that it has been read, or that it has been answered."""
        with self._lock:
            if busy:
                self._busy[connection] = (time.monotonic(), reading)
            else:
                self._busy.pop(connection, None)

    def service_actions(self) -> None:
        """Ends requests that come too slowly; called by `serve_forever` several times a second."""
        limit = time.monotonic() - READ_SECONDS
        with self._lock:
            slow = [each for each, (since, reading) in self._busy.items() if reading and since < limit]
        for connection in slow:
            _shut(connection, socket.SHUT_RDWR)

    def stop(self, grace_seconds: float) -> None:
        """Answers what has been sent, then closes; every answer from now on closes its connection.

        Args:
            grace_seconds: How long requests may still take.
        """
        self.draining = True
        self.shutdown()
        self._accept_the_rest()
        end = time.monotonic() + grace_seconds
        quiet_since = time.monotonic()
        while time.monotonic() < min(end, quiet_since + QUIET_SECONDS):
            if self._busy:
                quiet_since = time.monotonic()
            time.sleep(0.02)
        for connection in tuple(self._connections):
            # Nothing more is read, but an answer that is being computed can still be sent.
            _shut(connection, socket.SHUT_RD)
        self.server_close()

    def _accept_the_rest(self) -> None:
        """Takes the connections that wait in the system's queue, which closing would reset."""
        self.socket.setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                connection, address = self.get_request()
                connection.setblocking(True)
                self.process_request(connection, address)
        self.socket.close()


def _shut(connection: socket.socket, how: int) -> None:
    try:
        # Not the method of a TLS socket, which would say good-bye to a peer that does not listen.
        socket.socket.shutdown(connection, how)
    except OSError:
        logging.debug("connection was closed by its client")
