"""What the clients need of a connection to a server, whatever the protocol."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from kbert.errors import InputError
from kbert.serving.client.retries import TimeLimit

#: One example: its inputs by name. One answer: the outputs by name.
Row = Mapping[str, Any]

_DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 8500, "grpcs": 8500}


@dataclass(frozen=True)
class Address:
    """A server's address, taken apart.

    Args:
        scheme: http, https, grpc or grpcs.
        host: Name or number, without brackets.
        port: Its port.
        path: What stands before `/v1/models`, for servers behind a gateway; mostly empty.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Takes a URL apart.

        Raises:
            InputError: It is none of a model server.

        Example:
            >>> Address.parse("grpc://127.0.0.1:8500")
            Address(scheme='grpc', host='127.0.0.1', port=8500, path='')
        """
        expected = "give one such as http://127.0.0.1:8501 or grpc://127.0.0.1:8500"
        try:
            parts = urlsplit(url)
            port = parts.port
            # As it is looked up; what is no name, such as one with an empty part, is told here.
            host = (parts.hostname or "").encode("idna").decode()
        except ValueError as error:  # UnicodeError is one.
            raise InputError(f"{url}: not a server's address ({error}); {expected}") from None
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise InputError(f"{url}: not a server's address; {expected}")
        # HTTP has no other characters than these; what is escaped already is left.
        path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
        if (
            parts.username is not None
            or parts.query
            or parts.fragment
            or (path and parts.scheme.startswith("grpc"))
        ):
            raise InputError(f"{url}: not a server's address: only scheme, host and port count; {expected}")
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("https", "grpcs")

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine; a proxy could not reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def host_and_port(self) -> str:
        """As both stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class ModelSpec:
    """Which model of a server.

    Args:
        name: Its name.
        version: Its version; None for the newest, or the label's.
        label: A label that the server gave to a version, such as `canary`.

    Raises:
        InputError: Version and label are given both, or the version is no version.
    """

    name: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise InputError(f"version={self.version} and label={self.label!r}; give one of them")
        if self.version is not None and self.version < 0:
            raise InputError(f"version={self.version}; a version is a whole number from 0")

    @property
    def path(self) -> str:
        """Of the REST API.

        Example:
            >>> ModelSpec("mine", label="canary").path
            '/v1/models/mine/labels/canary'
        """
        path = f"/v1/models/{quote(self.name, safe='')}"
        if self.version is not None:
            return f"{path}/versions/{self.version}"
        return path if self.label is None else f"{path}/labels/{quote(self.label, safe='')}"


@dataclass(frozen=True)
class TlsFiles:
    """Files for https and grpcs, all PEM.

    Args:
        authorities: Certificates of those who may vouch for the server; None for the system's.
        certificate: The client's own certificate, for servers that ask for one.
        key: Its private key.

    Raises:
        InputError: Only one of certificate and key is given.
    """

    authorities: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InputError("a client's certificate and its key go together; give both or none")


@dataclass(frozen=True)
class Signature:
    """What one signature of a model takes and gives.

    Args:
        inputs: Names.
        outputs: Names.
    """

    inputs: frozenset[str]
    outputs: frozenset[str]


class Transport(Protocol):
    """Carries requests to one model and answers back; one try each, for any number of threads."""

    def predict(self, rows: Sequence[Row], signature: str, limit: TimeLimit) -> list[dict[str, Any]]:
        """Sends rows as one batch.

        Args:
            rows: All with the same names.
            signature: Its name.
            limit: The time that is left.

        Returns:
            The outputs of each row by name: numbers, strings, lists; bytes where the name ends in `_bytes`.

        Raises:
            InputError: The request is wrong, or there is no model server.
            ServerError: The server fails.
            RetryableError: One of the two, but another try may succeed.
        """
        ...

    def signatures(self, limit: TimeLimit) -> dict[str, Signature]:
        """The model's signatures by name; errors as of `predict`."""
        ...

    def close(self) -> None:
        """Closes what is open."""
        ...


class AsyncTransport(Protocol):
    """The same, awaited; arguments, answers and errors as of `Transport`."""

    async def predict(self, rows: Sequence[Row], signature: str, limit: TimeLimit) -> list[dict[str, Any]]:
        """Sends rows as one batch."""
        ...

    async def signatures(self, limit: TimeLimit) -> dict[str, Signature]:
        """The model's signatures by name."""
        ...

    async def close(self) -> None:
        """Closes what is open."""
        ...
