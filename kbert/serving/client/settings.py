"""What the clients are told when they are made."""

from dataclasses import dataclass

from kbert.errors import InputError
from kbert.serving.client.retries import TimeLimit
from kbert.serving.client.transport import Address, ModelSpec, TlsFiles

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class ClientSettings:
    """Settings of `Client` and `AsyncClient`, whose documentation explains them.

    Args:
        address: The server.
        model: Which of its models.
        signature: Which of its signatures.
        timeout_seconds: For a call.
        max_batch: Rows of one request.
        max_tries: Of one request.
        tls: Files for https and grpcs.

    Raises:
        InputError: A number is out of its range, or files are given for a connection without TLS.
    """

    address: Address
    model: ModelSpec
    signature: str
    timeout_seconds: float
    max_batch: int
    max_tries: int
    tls: TlsFiles

    def __post_init__(self) -> None:
        if not 0 < self.timeout_seconds < float("inf"):
            raise InputError(f"timeout_seconds={self.timeout_seconds}; give more than 0, and an end")
        for name in ("max_batch", "max_tries"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; give 1 or more")
        if self.tls != TlsFiles() and not self.address.is_secure:
            scheme = self.address.scheme
            raise InputError(
                f"{scheme}:// has no TLS, but files for it are given; write https:// or grpcs://"
            )

    @property
    def is_grpc(self) -> bool:
        """Whether the server is asked over gRPC."""
        return self.address.scheme in ("grpc", "grpcs")

    @property
    def where(self) -> str:
        """The model, for messages."""
        return f"{self.address.scheme}://{self.address.host_and_port}: {self.model.name}"

    def new_limit(self) -> TimeLimit:
        """The time for a call that begins now."""
        return TimeLimit(self.timeout_seconds)


def missing_package(error: ImportError) -> InputError:
    """The error for gRPC without its packages."""
    return InputError(f"{error}; gRPC needs: pip install .[serve] in the source folder")
