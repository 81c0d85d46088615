"""Serves an exported model on this machine, over REST and gRPC, as TF Serving would.

    python tf_scripts/serve.py --model=saved_models/quickstart

The newest version below --model is loaded; one line says when and where it answers. Stop it with Ctrl-C or
SIGTERM: running requests are finished first. For development; production is TF Serving with the same folder.
"""

import signal
import threading
from pathlib import Path

from absl import flags, logging

from kbert import entry

_MODEL = flags.DEFINE_string(
    "model", None, "Folder of versions, such as saved_models/quickstart", required=True
)
_NAME = flags.DEFINE_string("name", None, "The model's name in requests; default: the name of the folder")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to bind; 0.0.0.0 opens the server to the network")
_REST_PORT = flags.DEFINE_integer("rest_port", 8501, "Port of the REST API; 0 = a free one", 0, 65535)
_GRPC_PORT = flags.DEFINE_integer("grpc_port", 8500, "Port of gRPC; 0 = a free one", 0, 65535)


def main() -> None:
    """Serves until a signal comes."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    from kbert.serving.server import LocalServer

    name = _NAME.value or Path(_MODEL.value).resolve().name
    server = LocalServer(
        _MODEL.value, name, host=_HOST.value, rest_port=_REST_PORT.value, grpc_port=_GRPC_PORT.value
    )
    with server:
        logging.info(
            "serving %s version %d at %s/v1/models/%s:predict and grpc %s",
            name,
            server.model.version,
            server.rest_url,
            name,
            server.grpc_address,
        )
        stop.wait()
    logging.info("stopped")


if __name__ == "__main__":
    entry.run(main)
