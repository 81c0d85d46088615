"""Asks a served model: one JSON object of outputs per text, on stdout.

    python tf_scripts/query_server.py --url=http://127.0.0.1:8501 --model=quickstart --text="a nice day"

With --url=grpc://127.0.0.1:8500 the question goes over gRPC.
"""

import json

from absl import flags

from kbert import entry
from kbert.errors import InputError

_URL = flags.DEFINE_string("url", "http://127.0.0.1:8501", "The server: http://HOST:PORT or grpc://HOST:PORT")
_MODEL = flags.DEFINE_string("model", None, "The model's name on the server", required=True)
_TEXT = flags.DEFINE_multi_string("text", None, "Text to ask about; repeat for more", required=True)
_TEXT_PAIR = flags.DEFINE_multi_string("text_pair", None, "Second text of a pair; one for each --text")


def main() -> None:
    """Sends the texts as one batch and prints the answers in their order."""
    for answer in _client(_URL.value, _MODEL.value).predict(_TEXT.value, _TEXT_PAIR.value):
        print(json.dumps(answer, ensure_ascii=False))


def _client(url: str, model: str):
    if not url.startswith("grpc://"):
        from kbert.serving.client import Client

        return Client(url, model)
    try:
        from kbert.serving.grpc_client import GrpcClient
    except ImportError as error:
        raise InputError(f"{error}; gRPC needs: pip install kbert[serve]") from error
    return GrpcClient(url.removeprefix("grpc://").rstrip("/"), model)


if __name__ == "__main__":
    entry.run(main)
