"""What the local server can be told: addresses, limits, certificates."""

import os
from dataclasses import dataclass

from kbert.errors import InputError

#: Twelve days. Systems count what they wait for in milliseconds, some of them in 32 bits.
LONGEST_SECONDS = 1_000_000

#: gRPC has 31 bits for the size of a message.
_MOST_BYTES = 2**31 - 1


@dataclass(frozen=True)
class ServerOptions:
    """Settings of `LocalServer`; each is a flag of `serve.py`.

    TF Serving knows no limit of the size of a request; here there are some, so that a wrong file or a crowd
    of clients cannot take the machine's memory.

    Args:
        host: Address to bind; 0.0.0.0 opens the server to the network.
        rest_port: Port of the REST API; 0 = a free one.
        grpc_port: Port of gRPC; 0 = a free one.
        max_running: Requests that are computed at once; 0 = one for each processor.
        max_waiting: Requests that may wait for their turn; more are refused (429, RESOURCE_EXHAUSTED).
        timeout_seconds: How long a request may take, waiting included; a client's deadline can be earlier.
        grace_seconds: How long accepted requests may still take when the server stops.
        poll_seconds: How often the folders are looked at for new versions; 0 = never.
        max_request_mb: Largest request, in MiB, after decompression.
        max_rows: Largest batch of one request.
        max_text_mb: Largest text, in MiB.
        max_connections: REST connections that are open at once.
        ssl_cert: File of the server's certificate and those that lead to its root, PEM; for both ports.
        ssl_key: File of its private key, PEM.
        ssl_client_ca: File of the authorities whose clients are let in, PEM; without it anyone is.

    Raises:
        InputError: A number is out of its range, or only one of certificate and key is given.
    """

    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    max_running: int = 0
    max_waiting: int = 256
    timeout_seconds: float = 30.0
    grace_seconds: float = 30.0
    poll_seconds: float = 1.0
    max_request_mb: float = 64.0
    max_rows: int = 4096
    max_text_mb: float = 16.0
    max_connections: int = 1024
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_client_ca: str | None = None

    def __post_init__(self) -> None:
        for name in ("rest_port", "grpc_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise InputError(f"{name} is {getattr(self, name)}; a port is a number from 0 to 65535")
        for name in ("max_running", "max_waiting", "grace_seconds", "poll_seconds"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}; give 0 or more")
        for name in ("timeout_seconds", "max_request_mb", "max_rows", "max_text_mb", "max_connections"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; give more than 0")
        self._check_upper_ends()
        if bool(self.ssl_cert) != bool(self.ssl_key):
            raise InputError("ssl_cert and ssl_key go together; give both or none")
        if self.ssl_client_ca and not self.ssl_cert:
            raise InputError("ssl_client_ca needs ssl_cert and ssl_key")

    def _check_upper_ends(self) -> None:
        for name in ("timeout_seconds", "grace_seconds", "poll_seconds"):
            if getattr(self, name) > LONGEST_SECONDS:
                never = " (0 = never)" if name == "poll_seconds" else ""
                raise InputError(f"{name} is {getattr(self, name)}; give at most {LONGEST_SECONDS}{never}")
        for name in ("max_request_mb", "max_text_mb"):
            if getattr(self, name) * 2**20 > _MOST_BYTES:
                raise InputError(f"{name} is {getattr(self, name)}; give less than 2048")

    @property
    def num_running(self) -> int:
        """`max_running`, or the processors that are this process's own: of a container's, or of taskset's."""
        if self.max_running:
            return self.max_running
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def max_request_bytes(self) -> int:
        """The largest request in bytes."""
        return round(self.max_request_mb * 2**20)

    @property
    def max_text_bytes(self) -> int:
        """The largest text in bytes."""
        return round(self.max_text_mb * 2**20)
