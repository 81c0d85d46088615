"""An HTTP server that does what a test tells it: what TF Serving never does, or not when a test wants it."""

import json
import socketserver
import threading
from dataclasses import dataclass
from email.message import Message
from http.client import parse_headers


@dataclass
class Request:
    method: str
    path: str
    headers: Message
    body: bytes
    connection: int


def reply(status, document, *headers):
    """The bytes of an answer on a connection that stays open."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "\r\n"]).encode() + body


def echo(request):
    """What the server answers when it was told nothing: the inputs, one answer a row."""
    if request.method == "GET":
        return reply("404 Not Found", {"error": "no metadata"})
    rows = json.loads(request.body)["instances"]
    return reply("200 OK", {"predictions": [{"echo": row["text"], "rows": len(rows)} for row in rows]})


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Answers on loopback by a script; each step answers one request.

    A step is bytes to send; or `echo`; or a function of the socket, behind which the connection is closed.
    Requests behind the script's end get `answer(request)`.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *script, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = echo
        self.script = list(script)
        self.requests: list[Request] = []
        self.num_connections = 0
        self.is_ending = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.is_ending.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # A client that left.

    def hang(self, connection):
        """A step: no answer until the test is over."""
        self.is_ending.wait(20)

    def trickle(self, connection):
        """A step: a header that never ends, a byte now and then."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.is_ending.wait(0.02):
            connection.sendall(b"x")

    def slow_body(self, connection):
        """A step: a body that never ends, a byte now and then."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not self.is_ending.wait(0.02):
            connection.sendall(b" ")


def closing(sent=b""):
    """A step that sends something and closes the connection."""

    def then_close(connection):
        connection.sendall(sent)

    return then_close


class _Handler(socketserver.StreamRequestHandler):
    server: ScriptedServer

    def handle(self):
        self.server.num_connections += 1
        number = self.server.num_connections
        while line := self.rfile.readline().decode():
            method, path, _ = line.split()
            headers = parse_headers(self.rfile)
            body = self.rfile.read(int(headers.get("Content-Length", 0)))
            request = Request(method, path, headers, body, number)
            self.server.requests.append(request)
            step = self.server.script.pop(0) if self.server.script else self.server.answer
            if isinstance(step, bytes):
                self.wfile.write(step)
            elif step in (echo, self.server.answer):
                self.wfile.write(step(request))
            else:
                step(self.connection)
                return
