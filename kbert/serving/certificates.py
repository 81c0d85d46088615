"""The files of TLS: read once, checked before a port is opened."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from kbert.errors import InputError
from kbert.serving.options import ServerOptions


@dataclass(frozen=True)
class Certificate:
    """What a TLS server needs.

    Args:
        chain: Its certificate and those that lead to its root, PEM.
        key: Its private key, PEM.
        client_authorities: Those whose clients are let in, PEM; None for any client.
        context: The same for Python's sockets.
    """

    chain: bytes
    key: bytes
    client_authorities: bytes | None
    context: ssl.SSLContext


def read_certificate(options: ServerOptions) -> Certificate | None:
    """The certificate that the options name; None without one.

    Raises:
        InputError: A file holds no PEM of its kind, or key and certificate differ.
        OSError: A file cannot be read.
    """
    if not options.ssl_cert or not options.ssl_key:
        return None
    chain, key = Path(options.ssl_cert).read_bytes(), Path(options.ssl_key).read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password callback OpenSSL would ask on the terminal.
        context.load_cert_chain(options.ssl_cert, options.ssl_key, password=lambda: b"")
    except ssl.SSLError as error:
        raise InputError(
            f"{options.ssl_cert} and {options.ssl_key}: not a PEM certificate with its unencrypted key: "
            f"{error.reason or error}"
        ) from error
    authorities = None
    if options.ssl_client_ca:
        # Before OpenSSL reads it, whose error of a missing file does not name it.
        authorities = Path(options.ssl_client_ca).read_bytes()
        try:
            context.load_verify_locations(options.ssl_client_ca)
        except ssl.SSLError as error:
            raise InputError(
                f"{options.ssl_client_ca}: no PEM certificates: {error.reason or error}"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return Certificate(chain, key, authorities, context)
