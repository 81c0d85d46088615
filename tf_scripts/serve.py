"""Serves exported models on this machine, over REST and gRPC, as TF Serving would.

    python tf_scripts/serve.py --model=saved_models/quickstart
    python tf_scripts/serve.py --model=saved_models/quickstart --labels=stable:1,canary:2
    python tf_scripts/serve.py --model_config_file=models.config

The newest version below --model is loaded, and each newer one that appears; one line says when and where it
answers, and the same address shows a page to try it. Stop it with Ctrl-C or SIGTERM: accepted requests are
answered first. For development and small offices; production is TF Serving with the same folder.
"""

import re
import signal
import threading
from pathlib import Path

from absl import flags, logging

from kbert import entry
from kbert.dataclass_flags import define_flags, settings_from_flags
from kbert.errors import InputError
from kbert.serving.options import ServerOptions

_MODEL = flags.DEFINE_string("model", None, "Folder of versions, such as saved_models/quickstart")
_NAME = flags.DEFINE_string("name", None, "The model's name in requests; default: the name of the folder")
_LABELS = flags.DEFINE_list("labels", None, "Names of versions, label:version; all versions are loaded then")
_CONFIG = flags.DEFINE_string("model_config_file", None, "Several models: TF Serving's text proto of them")
define_flags(ServerOptions)


def main() -> None:
    """Serves until a signal comes."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if bool(_MODEL.value) == bool(_CONFIG.value):
        raise InputError("give --model=FOLDER or --model_config_file=FILE, one of them")
    options, labels = settings_from_flags(ServerOptions), _labels(_LABELS.value or [])

    from kbert.serving.server import LocalServer

    if _MODEL.value:
        name = _NAME.value or Path(_MODEL.value).resolve().name
        server = LocalServer(_MODEL.value, name, labels=labels, options=options)
    else:
        if _NAME.value or labels:
            raise InputError("--name and --labels go with --model; --model_config_file has its own")
        from kbert.serving.model_configs import read_model_configs

        server = LocalServer(read_model_configs(_CONFIG.value or ""), options=options)
    with server:
        for name in server.store.names():
            with server.store.using(name) as model:
                version = model.version
            logging.info(
                "serving %s version %d at %s/v1/models/%s:predict and grpc %s",
                name,
                version,
                server.rest_url,
                name,
                server.grpc_address,
            )
        stop.wait()
        logging.info("stopping: no new requests; those that are here are answered")
    logging.info("stopped")


def _labels(entries: list[str]) -> dict[str, int]:
    labels = {}
    for entry_ in entries:
        found = re.fullmatch(r"([^:]+):([0-9]{1,18})", entry_.strip())
        if not found:
            raise InputError(f"--labels: {entry_!r} is no label:version, such as stable:1")
        labels[found[1]] = int(found[2])
    return labels


if __name__ == "__main__":
    entry.run(main)
