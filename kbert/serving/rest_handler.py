"""One REST connection: reads requests in every form that HTTP knows, and writes the answers."""

import gzip
import re
import zlib
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

from absl import logging

from kbert.serving.page import CONTENT_SECURITY_POLICY
from kbert.serving.rest_api import RETRY_AFTER, Answer, answer, error_answer
from kbert.serving.status import ServingError, invalid

#: A connection on which nothing happens for so long is closed.
IDLE_SECONDS = 60

_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]+")


class _BadBody(Exception):
    """A body that cannot be read; what follows on the connection cannot be trusted."""

    def __init__(self, answer: Answer):
        super().__init__()
        self.answer = answer


class RestHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for headers and body
    server: Any  # the `RestServer`, which imports this module

    def handle_one_request(self) -> None:
        """Waits for the first byte, from which on a request is under way."""
        try:
            # A reader's buffer, whatever the class says that it inherits from.
            if not self.rfile.peek(1):  # pyright: ignore[reportAttributeAccessIssue]
                self.close_connection = True
                return
        except TimeoutError:
            self.close_connection = True
            return
        self.server.mark(self.connection, busy=True, reading=True)
        try:
            super().handle_one_request()
        finally:
            self.server.mark(self.connection, busy=False)

    def handle_expect_100(self) -> bool:
        """Answers a client that sends its body only when it is asked for it: asks, or refuses its size."""
        try:
            self._check_size(self._announced_size(), discard=False)
        except _BadBody as bad:
            self.close_connection = True
            self._send(bad.answer)
            self._discard()  # Some send their body all the same.
            return False
        asks = super().handle_expect_100()
        self.wfile.flush()  # Else it stays in the buffer until the answer, which needs the body.
        return asks

    def _handle(self) -> None:
        try:
            body = self._read_body()
            self.server.mark(self.connection, busy=True)
            path = self.path.partition("?")[0].encode("latin-1").decode("utf-8", "surrogateescape")
            reply = answer(self.server.service, self.command, path, body, self.headers.get("Origin", ""))
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
        if reply.content_type.startswith("text/html"):
            self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        if reply.status in (429, 503):
            self.send_header("Retry-After", str(RETRY_AFTER))
        if self.server.draining:
            self.close_connection = True
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
            size = self._announced_size()
            self._check_size(size)
            body = self._read(size)
        return self._gunzip(body) if self.headers.get("Content-Encoding", "").lower() == "gzip" else body

    def _announced_size(self) -> int:
        length = self.headers.get("Content-Length", "0").strip()
        if not (length.isascii() and length.isdigit()):
            raise _BadBody(error_answer(invalid(f"Content-Length is not a number: {length}")))
        # No body has a length of 20 digits, and Python refuses to read thousands of them.
        return int(length.lstrip("0")[:20] or "0")

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise EOFError("the client left in the middle of its request")
        return data

    def _read_chunks(self) -> bytes:
        chunks, total = [], 0
        while True:
            line = self.rfile.readline(100).partition(b";")[0].strip()
            # `int` would take a sign, "0x" and "_" as well, of which a proxy in front may think otherwise.
            if not _CHUNK_SIZE.fullmatch(line):
                raise _BadBody(error_answer(invalid("Chunked body with a malformed chunk size")))
            size = int(line, 16)
            total += size
            self._check_size(total)
            if size == 0:
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

    def _check_size(self, size: int, discard: bool = True) -> None:
        limit = self.server.max_request_bytes
        if size > limit:
            if discard:
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
        """Keeps quiet about single requests, unless asked."""
        logging.debug("%s " + format, self.client_address, *args)
