"""A local stand-in for TF Serving: exported models behind REST and gRPC."""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from kbert.errors import InputError
from kbert.serving.certificates import read_certificate
from kbert.serving.options import ServerOptions
from kbert.serving.versions import find_latest_version

if TYPE_CHECKING:
    from kbert.serving.model_configs import ModelConfig


class LocalServer:
    """The embedded server: loads and warms up models, then answers as TF Serving would.

    Args:
        models: Folder of versions, as `export` writes them, with `name`; or several `ModelConfig`s.
        name: The model's name in requests, for a folder.
        labels: Names of its versions, for a folder: label -> version. Then all versions are loaded, else
            the newest.
        options: Addresses, limits and certificates.
        settings: Single options instead, by name.

    Raises:
        InputError: A model cannot be loaded, a port cannot be bound, or gRPC or tensorflow-text is not
            installed.
        OSError: A file of a certificate cannot be read.

    Example:
        >>> with LocalServer("saved_models/quickstart", "quickstart") as server:  # doctest: +SKIP
        ...     Client(server.rest_url, "quickstart").predict(["a nice day"])
    """

    def __init__(
        self,
        models: "str | Path | Sequence[ModelConfig]",
        name: str = "model",
        *,
        labels: Mapping[str, int] | None = None,
        options: ServerOptions | None = None,
        **settings,
    ):
        self._options = dataclasses.replace(options or ServerOptions(), **settings)
        if isinstance(models, str | Path):
            # TensorFlow takes seconds to import; a wrong folder should not have to wait for it.
            find_latest_version(models)
        # Both ports read the files again; one that is missing should not have to wait for the models.
        read_certificate(self._options)
        try:
            from kbert.serving.grpc_server import GrpcServer
            from kbert.serving.metrics import Metrics
            from kbert.serving.model_configs import ModelConfig
            from kbert.serving.model_store import ModelStore
            from kbert.serving.rest_server import RestServer
            from kbert.serving.service import Service
        except ImportError as error:
            raise InputError(f"{error}; {_remedy(error)}") from error
        if isinstance(models, str | Path):
            models = [ModelConfig(name, Path(models), latest=0 if labels else 1, labels=labels or {})]
        metrics = Metrics()
        self.store = ModelStore(models, metrics)
        service = Service(self.store, metrics, self._options)
        try:
            self._rest = RestServer(service)
            try:
                self._grpc = GrpcServer(service)
            except (InputError, OSError):
                self._rest.server_close()
                raise
        except (InputError, OSError):
            self.store.close()
            raise
        host, scheme = self._options.host, "https" if self._options.ssl_cert else "http"
        self.rest_url = f"{scheme}://{host}:{self._rest.port}"
        self.grpc_address = f"{host}:{self._grpc.port}"
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._rest.serve_forever, args=(0.05,), name="rest")]
        if self._options.poll_seconds:
            self._threads.append(threading.Thread(target=self._poll, name="versions", daemon=True))

    def start(self) -> "LocalServer":
        """Begins to answer, in threads of its own."""
        self._grpc.start()
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Answers what has been accepted, then closes ports and models."""
        self._stopping.set()
        grace = self._options.grace_seconds
        rest = threading.Thread(target=self._rest.stop, args=(grace,), name="stop")
        rest.start()
        self._grpc.stop(grace)
        rest.join()
        for thread in self._threads:
            thread.join()
        self.store.close()

    def _poll(self) -> None:
        while not self._stopping.wait(self._options.poll_seconds):
            try:
                self.store.poll()
            except Exception:
                # Whatever is wrong with a folder must not end the search for new versions.
                logging.exception("looking for new versions failed")

    def __enter__(self) -> "LocalServer":
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()


def _remedy(error: ImportError) -> str:
    if error.name == "tensorflow_text":
        return "exports need it: pip install tensorflow-text, on a system that has a wheel, and serve there"
    return "the local server needs: pip install .[serve] in the source folder"
