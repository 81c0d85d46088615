"""The client for asyncio: the same methods, awaited."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
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
from kbert.serving.client.threaded_transport import ThreadedTransport
from kbert.serving.client.transport import Address, AsyncTransport, ModelSpec, Row, Signature, TlsFiles

_T = TypeVar("_T")


class AsyncClient:
    """`Client` for asyncio: arguments, answers and errors of all methods are the same.

    A long list goes to the server in several requests at once. A call that is cancelled ends at once, and
    with it its requests. A client belongs to one event loop; use `async with`, or `await close()`.

    Args:
        url: As for `Client`, and so are the others but the last.
        model: The model's name on that server.
        version: One of its versions.
        label: A label of a version.
        signature: Which signature is asked.
        timeout_seconds: For a call, with the look-up of a host name.
        max_batch: Rows of one request.
        max_tries: Of one request.
        tls: Files for https and grpcs.
        max_concurrency: Requests under way at once, of all calls together.

    Raises:
        InputError: One of these cannot be used, or gRPC is not installed.

    Example:
        `async with AsyncClient("http://127.0.0.1:8501", "mine") as client:` and in the block
        `answers = await client.predict(["a nice day"])`.
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
        max_concurrency: int = 4,
    ):
        if max_concurrency < 1:
            raise InputError(f"max_concurrency={max_concurrency}; give 1 or more")
        address, spec = Address.parse(url), ModelSpec(model, version, label)
        self._settings = ClientSettings(
            address, spec, signature, timeout_seconds, max_batch, max_tries, tls or TlsFiles()
        )
        self._transport = _open_transport(self._settings, max_concurrency)
        self._places = asyncio.Semaphore(max_concurrency)
        self._signatures: dict[str, Signature] | None = None

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """What the model says, as it says it."""
        return await self.predict_rows(text_rows(texts, pairs))

    async def predict_rows(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """As `predict`, for any inputs."""
        limit = self._settings.new_limit()
        return await self._within(limit, self._send(checked_rows(rows), self._settings.signature, limit))

    async def ask(self, rows: Sequence[Row]) -> list[Any]:
        """As `predict_rows`, but each answer is what the method for the model's task gives."""
        return await self._ask(None, rows)

    async def classify(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> list[Classification | MultiLabel]:
        """The label of each text or pair; of a multi_label model all its labels."""
        return await self._ask("classify", text_rows(texts, pairs))

    async def score(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Score]:
        """The number for each text or pair, of a regression model."""
        return await self._ask("score", text_rows(texts, pairs))

    async def tag(self, texts: Sequence[str]) -> list[Tagging]:
        """Each text word by word, with their tags, and the entities."""
        return await self._ask("tag", text_rows(texts))

    async def find_entities(self, texts: Sequence[str]) -> list[tuple[Entity, ...]]:
        """The entities of each text."""
        return [entities_of(tagging, self._settings.where) for tagging in await self.tag(texts)]

    async def answer(
        self, questions: Sequence[str], contexts: Sequence[str], n: int | None = None
    ) -> list[Any]:
        """What answers each question in its passage; with `n` a list of up to `n` answers."""
        rows = question_rows(questions, contexts)
        if n is None:
            return await self._ask("answer", rows)
        if n < 1:
            raise InputError(f"n={n}; give 1 or more")
        return [found[:n] for found in await self._ask("answer", rows, N_BEST_SIGNATURE)]

    async def choose(
        self, texts: Sequence[str], questions: Sequence[str], choices: Sequence[Sequence[str]]
    ) -> list[Choice]:
        """Which choice of each row fits its text and question, one of which may be empty."""
        return await self._ask("choose", choice_rows(texts, questions, choices))

    async def fill_mask(self, texts: Sequence[str]) -> list[FilledMasks]:
        """What fits for each [MASK] in each text, of a pretrained model."""
        return await self._ask("fill_mask", text_rows(texts))

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """The vector of each text."""
        return await self._ask("embed", text_rows(texts))

    async def labels(self) -> tuple[str, ...]:
        """The names of a classification or multi_label model's labels, in its order."""
        limit = self._settings.new_limit()
        return await self._within(limit, self._labels(limit))

    async def _ask(self, method: str | None, rows: Sequence[Row], signature: str | None = None) -> list[Any]:
        limit = self._settings.new_limit()
        return await self._within(limit, self._ask_typed(method, checked_rows(rows), signature, limit))

    async def _ask_typed(
        self, method: str | None, rows: Sequence[Row], signature: str | None, limit: TimeLimit
    ) -> list[Any]:
        signature, where = signature or self._settings.signature, self._settings.where
        try:
            known = await self._read_signatures(limit)
            kind = find_kind(known, signature, method, rows[0], where)
            if not (kind.needs_labels and LABELS_SIGNATURE in known):
                return read_rows(kind, rows, await self._send(rows, signature, limit), None, where)
            labels = await self._read_labels(limit)
            for _ in range(2):
                answers = await self._send(rows, signature, limit)
                # Never kept, and read again: a new version on the server may have others.
                before, labels = labels, await self._read_labels(limit)
                if before == labels:
                    return read_rows(kind, rows, answers, labels, where)
            raise labels_change(where)
        except InputError:
            # Perhaps the server has another model now.
            self._signatures = None
            raise

    async def _labels(self, limit: TimeLimit) -> tuple[str, ...]:
        known = await self._read_signatures(limit)
        if LABELS_SIGNATURE not in known:
            raise InputError(
                f"{self._settings.where}: no signature classify tells labels; it has {show_signatures(known)}"
            )
        return await self._read_labels(limit)

    async def _read_signatures(self, limit: TimeLimit) -> dict[str, Signature]:
        if self._signatures is None:
            self._signatures = await self._try(lambda: self._transport.signatures(limit), limit)
        return self._signatures

    async def _read_labels(self, limit: TimeLimit) -> tuple[str, ...]:
        rows = [{"inputs": EMPTY_EXAMPLE}]
        (told,) = await self._try(lambda: self._transport.predict(rows, LABELS_SIGNATURE, limit), limit)
        return tuple(told["classes"])

    async def _send(self, rows: Sequence[Row], signature: str, limit: TimeLimit) -> list[dict[str, Any]]:
        async def send(batch):
            answers = await self._try(lambda: self._transport.predict(batch, signature, limit), limit)
            limit.answered += len(answers)
            return answers

        tasks = [asyncio.ensure_future(send(batch)) for batch in batches(rows, self._settings.max_batch)]
        try:
            return [row for answers in await asyncio.gather(*tasks) for row in answers]
        finally:
            for task in tasks:  # If one failed, nobody waits for the others.
                task.cancel()

    async def _try(self, ask: Callable[[], Awaitable[_T]], limit: TimeLimit) -> _T:
        tries = Tries(limit, self._settings.max_tries)
        while True:
            try:
                async with self._places:
                    return await ask()
            except RetryableError as failed:
                wait = tries.wait_after(failed)
            await asyncio.sleep(wait)

    async def _within(self, limit: TimeLimit, call: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await asyncio.wait_for(call, limit.seconds)
        except asyncio.TimeoutError:
            raise limit.expired(self._settings.where) from None


def _open_transport(settings: ClientSettings, threads: int) -> AsyncTransport:
    if not settings.is_grpc:
        return ThreadedTransport(RestTransport(settings.address, settings.model, settings.tls), threads)
    try:
        from kbert.serving.client.grpc_transport import AsyncGrpcTransport
    except ImportError as error:
        raise missing_package(error) from error
    return AsyncGrpcTransport(settings.address, settings.model, settings.tls)
