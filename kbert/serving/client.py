"""A client for exported models: raw text in, plain Python out, with nothing but the standard library."""

import json
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib import error as url_error
from urllib import parse, request

from kbert.errors import InputError
from kbert.features import TEXT, TEXT_PAIR


class Client:
    """Asks a model over REST; the server may be TF Serving or the local server.

    Args:
        url: Scheme, host and port, such as `http://127.0.0.1:8501`.
        model: The model's name on that server.
        timeout_seconds: How long one request may take.

    Raises:
        InputError: The URL is not an http or https URL.

    Example:
        >>> Client("http://127.0.0.1:8501", "quickstart").predict(["a nice day"])  # doctest: +SKIP
        [{'label': 'positive', 'label_id': 1, 'score': 0.97, ...}]
    """

    def __init__(self, url: str, model: str, *, timeout_seconds: float = 30.0):
        parts = parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url}: not a server's address; give one such as http://127.0.0.1:8501")
        self._url = f"{url.rstrip('/')}/v1/models/{parse.quote(model, safe='')}:predict"
        self._timeout_seconds = timeout_seconds
        # A proxy from the environment cannot know this machine's own servers.
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        self._opener = request.build_opener(request.ProxyHandler({} if local else None))

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Sends all texts as one batch.

        Args:
            texts: Raw texts.
            pairs: The second text of each pair, for models of text pairs.

        Returns:
            For each text the model's outputs by name.

        Raises:
            InputError: The server cannot be reached, refuses the request, or is no model server.
        """
        document = json.dumps({"instances": instances(texts, pairs)}).encode()
        call = request.Request(self._url, document, {"Content-Type": "application/json"})
        try:
            with self._opener.open(call, timeout=self._timeout_seconds) as answer:
                body = answer.read()
        except url_error.HTTPError as error:
            with error:
                raise InputError(f"{self._url}: {error.code} {_reason(error.read(), error.reason)}") from None
        except (url_error.URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise InputError(f"{self._url}: no answer ({reason}); is the server running there?") from error
        try:
            predictions = json.loads(body)["predictions"]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self._url}: the answer holds no predictions; is this a model server?"
            ) from None
        if not all(isinstance(prediction, dict) for prediction in predictions):
            raise InputError(
                f"{self._url}: the outputs have no names; this is not a model that kbert exported"
            )
        return predictions


def instances(texts: Sequence[str], pairs: Sequence[str] | None) -> list[dict[str, str]]:
    """The examples of a request, each with its named inputs.

    Raises:
        InputError: There is no text, or there are more or fewer pairs than texts.

    Example:
        >>> instances(["a"], ["b"])
        [{'text': 'a', 'text_pair': 'b'}]
    """
    if not texts:
        raise InputError("no text to send; give at least one")
    if pairs is None:
        return [{TEXT: text} for text in texts]
    if len(pairs) != len(texts):
        raise InputError(
            f"{len(texts)} texts but {len(pairs)} second texts; give one for each or none at all"
        )
    return [{TEXT: text, TEXT_PAIR: pair} for text, pair in zip(texts, pairs, strict=True)]


def _reason(body: bytes, default: str) -> str:
    """The message in a model server's error, else the HTTP reason."""
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return default
