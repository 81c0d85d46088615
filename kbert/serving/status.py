"""The one exception of the local server: a canonical status code with TF Serving's message."""

#: Canonical codes in the order of their numbers; TensorFlow, gRPC and TF Serving share both.
CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


class ServingError(Exception):
    """A request that cannot be answered; REST and gRPC each put it into their own form.

    Args:
        code: One of `CODES`.
        message: What a client reads. Bytes of a request that are not UTF-8 stand in it as surrogate
            escapes, so that they can be sent back unchanged.

    Example:
        >>> str(ServingError("NOT_FOUND", "Could not find any versions of model m"))
        'NOT_FOUND: Could not find any versions of model m'
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """An INVALID_ARGUMENT: by far the most frequent answer to a wrong request."""
    return ServingError("INVALID_ARGUMENT", message)
