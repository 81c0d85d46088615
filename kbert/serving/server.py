"""A local stand-in for TF Serving: one exported model behind REST and gRPC."""

import threading
from pathlib import Path

from absl import logging

from kbert.errors import InputError
from kbert.serving.versions import find_latest_version

#: TF Serving knows no limit; a development server should survive a wrong file.
MAX_REQUEST_BYTES = 64 * 2**20

#: How long running requests may take to finish when the server stops.
GRACE_SECONDS = 5


class LocalServer:
    """The embedded server: loads and warms up a model, then answers as TF Serving would.

    Args:
        folder: Contains one subfolder per version, as `export` writes them.
        name: The model's name in requests.
        host: Address to bind.
        rest_port: Port of the REST API; 0 for a free one.
        grpc_port: Port of gRPC; 0 for a free one.

    Raises:
        InputError: The model cannot be loaded, a port cannot be bound, or gRPC is not installed.

    Example:
        >>> with LocalServer("saved_models/quickstart", "quickstart") as server:  # doctest: +SKIP
        ...     Client(server.rest_url, "quickstart").predict(["a nice day"])
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        *,
        host: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int = 8500,
    ):
        version = find_latest_version(folder)
        # TensorFlow takes seconds to import; a wrong folder should not have to wait for it.
        try:
            from kbert.serving.grpc_service import GrpcServer
            from kbert.serving.model_store import ModelStore
            from kbert.serving.rest_server import RestServer
            from kbert.serving.warmup import run_warmup
        except ImportError as error:
            raise InputError(f"{error}; the local server needs: pip install kbert[serve]") from error
        self.model = ModelStore(version, name)
        try:
            requests = run_warmup(self.model)
            logging.info("%s: loaded, %d warm-up requests run", self.model.path, requests)
            self._rest = RestServer(self.model, host, rest_port, MAX_REQUEST_BYTES)
            try:
                self._grpc = GrpcServer(self.model, host, grpc_port, MAX_REQUEST_BYTES)
            except InputError:
                self._rest.server_close()
                raise
        except InputError:
            self.model.close()
            raise
        self.rest_url = f"http://{host}:{self._rest.port}"
        self.grpc_address = f"{host}:{self._grpc.port}"
        self._thread = threading.Thread(target=self._rest.serve_forever, args=(0.05,), name="rest")

    def start(self) -> "LocalServer":
        """Begins to answer, in threads of its own."""
        self._grpc.start()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Lets running requests finish, then closes ports and model."""
        self._grpc.stop(GRACE_SECONDS)
        self._rest.stop()
        self._thread.join()
        self.model.close()

    def __enter__(self) -> "LocalServer":
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()
