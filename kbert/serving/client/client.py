"""A client for exported models: raw text in, plain Python or typed results out. REST needs no package."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kbert.errors import InputError
from kbert.serving.client.answer_kinds import (
    EMPTY_EXAMPLE,
    LABELS_SIGNATURE,
    N_BEST_SIGNATURE,
    find_kind,
    labels_change,
    read_rows,
    show_signatures,
)
from kbert.serving.client.entities import entities_of
from kbert.serving.client.rest_transport import RestTransport
from kbert.serving.client.results import (
    Choice,
    Classification,
    Embedding,
    Entity,
    FilledMasks,
    MultiLabel,
    Score,
    Tagging,
)
from kbert.serving.client.retries import RetryableError, TimeLimit, Tries
from kbert.serving.client.rows import batches, checked_rows, choice_rows, question_rows, text_rows
from kbert.serving.client.settings import DEFAULT_SIGNATURE, ClientSettings, missing_package
from kbert.serving.client.transport import Address, ModelSpec, Row, Signature, TlsFiles, Transport

_T = TypeVar("_T")


class Client:
    """Asks a model on TF Serving or on the local server, over REST or gRPC, for any number of threads.

    Connections stay open until `close`, or the end of a `with` block. What may pass is asked again: a server
    that is not up or too busy, a broken connection. The waits between tries are drawn at random and grow.

    Args:
        url: `http://HOST:PORT` or `https://HOST:PORT` for REST, `grpc://HOST:PORT` or `grpcs://HOST:PORT` for
            gRPC, which needs the extra `serve`.
        model: The model's name on that server.
        version: One of its versions; None for the newest.
        label: A label of a version, such as `canary`, instead.
        signature: Which of the model's signatures is asked.
        timeout_seconds: How long a call may take with all its requests, tries and waits. Only the system's
            look-up of a host name is not held to it.
        max_batch: Rows of one request; longer lists are sent in parts, one after the other.
        max_tries: How often one request may be sent.
        tls: Files for https and grpcs.

    Raises:
        InputError: One of these cannot be used, or gRPC is not installed.

    Every method raises:
        InputError: The server cannot be reached, refuses the request (`RefusedError`), or is no model
            server; or the model is for another method.
        ServerError: The server is too busy, too slow, or fails.

    Example:
        >>> Client("http://127.0.0.1:8501", "quickstart").predict(["a nice day"])  # doctest: +SKIP
        [{'label': 'positive', 'label_id': 1, 'score': 0.97, ...}]
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        timeout_seconds: float = 30.0,
        max_batch: int = 32,
        max_tries: int = 4,
        tls: TlsFiles | None = None,
    ):
        address, spec = Address.parse(url), ModelSpec(model, version, label)
        self._settings = ClientSettings(
            address, spec, signature, timeout_seconds, max_batch, max_tries, tls or TlsFiles()
        )
        self._transport = _open_transport(self._settings)
        self._signatures: dict[str, Signature] | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """What the model says, as it says it.

        Args:
            texts: Raw texts.
            pairs: The second text of each pair, for models of text pairs.

        Returns:
            For each text the model's outputs by name.
        """
        return self.predict_rows(text_rows(texts, pairs))

    def predict_rows(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """As `predict`, for any inputs.

        Args:
            rows: The inputs of each by name, such as `{"question": "...", "context": "..."}`.

        Returns:
            For each row the model's outputs by name; bytes where the name ends in `_bytes`.
        """
        return self._send(checked_rows(rows), self._settings.signature, self._settings.new_limit())

    def ask(self, rows: Sequence[Row]) -> list[Any]:
        """As `predict_rows`, but each answer is what the method for the model's task gives: see there."""
        return self._ask(None, rows)

    def classify(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> list[Classification | MultiLabel]:
        """The label of each text or pair; of a multi_label model all its labels."""
        return self._ask("classify", text_rows(texts, pairs))

    def score(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Score]:
        """The number for each text or pair, of a regression model."""
        return self._ask("score", text_rows(texts, pairs))

    def tag(self, texts: Sequence[str]) -> list[Tagging]:
        """Each text word by word, with their tags, and the entities."""
        return self._ask("tag", text_rows(texts))

    def find_entities(self, texts: Sequence[str]) -> list[tuple[Entity, ...]]:
        """The entities of each text.

        Raises:
            InputError: The tags are of another kind, such as parts of speech; and what every method raises.
        """
        return [entities_of(tagging, self._settings.where) for tagging in self.tag(texts)]

    def answer(self, questions: Sequence[str], contexts: Sequence[str], n: int | None = None) -> list[Any]:
        """What answers each question in its passage.

        Args:
            questions: Raw texts.
            contexts: A passage for each question.
            n: How many answers to give; None for the best one.

        Returns:
            An `Answer` for each question, or None where the model says that there is none; with `n` a list of
            up to `n` for each, the best first, with None in the place of no answer.
        """
        rows = question_rows(questions, contexts)
        if n is None:
            return self._ask("answer", rows)
        if n < 1:
            raise InputError(f"n={n}; give 1 or more")
        return [found[:n] for found in self._ask("answer", rows, N_BEST_SIGNATURE)]

    def choose(
        self, texts: Sequence[str], questions: Sequence[str], choices: Sequence[Sequence[str]]
    ) -> list[Choice]:
        """Which choice of each row fits its text and question, one of which may be empty."""
        return self._ask("choose", choice_rows(texts, questions, choices))

    def fill_mask(self, texts: Sequence[str]) -> list[FilledMasks]:
        """What fits for each [MASK] in each text, of a pretrained model."""
        return self._ask("fill_mask", text_rows(texts))

    def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """The vector of each text."""
        return self._ask("embed", text_rows(texts))

    def labels(self) -> tuple[str, ...]:
        """The names of a classification or multi_label model's labels, in its order."""
        limit = self._settings.new_limit()
        known = self._read_signatures(limit)
        if LABELS_SIGNATURE not in known:
            raise InputError(
                f"{self._settings.where}: no signature classify tells labels; it has {show_signatures(known)}"
            )
        return self._read_labels(limit)

    def _ask(self, method: str | None, rows: Sequence[Row], signature: str | None = None) -> list[Any]:
        rows, limit = checked_rows(rows), self._settings.new_limit()
        signature, where = signature or self._settings.signature, self._settings.where
        try:
            known = self._read_signatures(limit)
            kind = find_kind(known, signature, method, rows[0], where)
            if not (kind.needs_labels and LABELS_SIGNATURE in known):
                return read_rows(kind, rows, self._send(rows, signature, limit), None, where)
            labels = self._read_labels(limit)
            for _ in range(2):
                answers = self._send(rows, signature, limit)
                # Never kept, and read again: a new version on the server may have others.
                before, labels = labels, self._read_labels(limit)
                if before == labels:
                    return read_rows(kind, rows, answers, labels, where)
            raise labels_change(where)
        except InputError:
            # Perhaps the server has another model now.
            self._signatures = None
            raise

    def _read_signatures(self, limit: TimeLimit) -> dict[str, Signature]:
        if self._signatures is None:
            self._signatures = self._try(lambda: self._transport.signatures(limit), limit)
        return self._signatures

    def _read_labels(self, limit: TimeLimit) -> tuple[str, ...]:
        rows = [{"inputs": EMPTY_EXAMPLE}]
        (told,) = self._try(lambda: self._transport.predict(rows, LABELS_SIGNATURE, limit), limit)
        return tuple(told["classes"])

    def _send(self, rows: Sequence[Row], signature: str, limit: TimeLimit) -> list[dict[str, Any]]:
        answers = []
        for batch in batches(rows, self._settings.max_batch):
            answers += self._try(lambda batch=batch: self._transport.predict(batch, signature, limit), limit)
            limit.answered = len(answers)
        return answers

    def _try(self, ask: Callable[[], _T], limit: TimeLimit) -> _T:
        tries = Tries(limit, self._settings.max_tries)
        while True:
            try:
                return ask()
            except RetryableError as failed:
                time.sleep(tries.wait_after(failed))


def _open_transport(settings: ClientSettings) -> Transport:
    if not settings.is_grpc:
        return RestTransport(settings.address, settings.model, settings.tls)
    try:
        from kbert.serving.client.grpc_transport import GrpcTransport
    except ImportError as error:
        raise missing_package(error) from error
    return GrpcTransport(settings.address, settings.model, settings.tls)
