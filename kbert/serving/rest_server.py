"""The REST API on a socket: HTTP/1.1 with kept-alive connections, one thread per connection."""

import gzip
import socket
import socketserver
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

from absl import logging

from kbert.errors import InputError
from kbert.serving.model_store import ModelStore
from kbert.serving.rest_api import Answer, answer, error_answer
from kbert.serving.status import ServingError, invalid

#: A connection on which nothing happens for so long is closed.
IDLE_SECONDS = 60


class RestServer(ThreadingHTTPServer):
    """The REST API of one model; `serve_forever` answers until `stop`.

    Args:
        model: The loaded model.
        host: Address to bind.
        port: Port to bind; 0 for a free one.
        max_request_bytes: Larger bodies are answered by 413.

    Raises:
        InputError: The port cannot be bound.
    """

    # Threads that are still answering are waited for in `stop`.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, model: ModelStore, host: str, port: int, max_request_bytes: int):
        self.model = model
        self.max_request_bytes = max_request_bytes
        self._connections: set = set()
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise InputError(
                f"{host}:{port}: cannot listen for REST: {error.strerror}; choose another"
            ) from error
        except OverflowError as error:
            raise InputError(f"{host}:{port}: a port is a number from 0 to 65535") from error
        self.port = self.server_address[1]

    def server_bind(self) -> None:
        """Binds without the name lookup of `HTTPServer`, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request, client_address) -> None:
        """Remembers the connection and hands it to a new thread."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        """Closes a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """Logs what went wrong with one connection, such as a client that left."""
        logging.debug("connection of %s failed", client_address, exc_info=True)

    def stop(self) -> None:
        """Stops listening, lets running requests finish and closes all connections."""
        self.shutdown()
        for connection in tuple(self._connections):
            # Nothing more is read, but an answer that is being computed can still be sent.
            try:
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                logging.debug("connection was closed by its client")
        self.server_close()


class _BadBody(Exception):
    """A body that cannot be read; what follows on the connection cannot be trusted."""

    def __init__(self, answer: Answer):
        super().__init__()
        self.answer = answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for headers and body
    server: RestServer

    def _handle(self) -> None:
        try:
            body = self._read_body()
            path = self.path.partition("?")[0].encode("latin-1").decode("utf-8", "surrogateescape")
            reply = answer(self.server.model, self.command, path, body, self.headers.get("Origin", ""))
        except _BadBody as bad:
            self.close_connection = True
            reply = bad.answer
        except (OSError, EOFError):
            raise
        except Exception:
            # A defect of ours must not cost a client its connection, nor us the trace.
            logging.exception("%s %s failed", self.command, self.path)
            reply = error_answer(ServingError("INTERNAL", "Internal error; the server's log has the details"))
        self._send(reply)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = _handle

    def _send(self, reply: Answer) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            body = self._read_chunks()
        else:
            length = self.headers.get("Content-Length", "0").strip()
            if not (length.isascii() and length.isdigit()):
                raise _BadBody(error_answer(invalid(f"Content-Length is not a number: {length}")))
            self._check_size(int(length[:20]))
            body = self._read(int(length))
        return self._gunzip(body) if self.headers.get("Content-Encoding", "").lower() == "gzip" else body

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise EOFError("the client left in the middle of its request")
        return data

    def _read_chunks(self) -> bytes:
        chunks, total = [], 0
        while True:
            line = self.rfile.readline(100).partition(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                raise _BadBody(error_answer(invalid("Chunked body with a malformed chunk size"))) from None
            total += size
            self._check_size(total)
            if size <= 0:
                break
            chunks.append(self._read(size))
            self.rfile.readline(3)
        while self.rfile.readline(8192).strip():
            pass  # trailing headers
        return b"".join(chunks)

    def _gunzip(self, body: bytes) -> bytes:
        limit = self.server.max_request_bytes
        try:
            with gzip.open(BytesIO(body)) as unpacked:
                data = unpacked.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise _BadBody(error_answer(invalid(f"Cannot decompress the gzip body: {error}"))) from error
        self._check_size(len(data))
        return data

    def _check_size(self, size: int) -> None:
        limit = self.server.max_request_bytes
        if size > limit:
            self._discard()
            problem = error_answer(
                ServingError("INVALID_ARGUMENT", f"Request body is larger than {limit} bytes")
            )
            raise _BadBody(Answer(413, problem.body))

    def _discard(self) -> None:
        """Reads on for a moment: closing with unread data would destroy the answer on its way."""
        self.connection.settimeout(1)
        try:
            for _ in range(64):
                if not self.rfile.read1(2**20):
                    break
        except OSError:
            logging.debug("nothing more to discard")

    def log_message(self, format: str, *args) -> None:
        logging.debug("%s " + format, self.client_address, *args)
