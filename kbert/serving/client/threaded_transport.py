"""A transport of threads for asyncio: calls wait in a few threads, and a cancelled one ends there, too."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kbert.serving.client.retries import TimeLimit
from kbert.serving.client.transport import Row, Signature, Transport

_T = TypeVar("_T")


class ThreadedTransport:
    """An `AsyncTransport` over a `Transport`.

    Args:
        transport: That waits for the server.
        threads: How many of its calls run at once.
    """

    def __init__(self, transport: Transport, threads: int):
        self._transport = transport
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="kbert-client")

    async def predict(self, rows: Sequence[Row], signature: str, limit: TimeLimit) -> list[dict[str, Any]]:
        """As `Transport.predict`."""
        return await self._run(lambda: self._transport.predict(rows, signature, limit), limit)

    async def signatures(self, limit: TimeLimit) -> dict[str, Signature]:
        """As `Transport.signatures`."""
        return await self._run(lambda: self._transport.signatures(limit), limit)

    async def close(self) -> None:
        """Closes the connections; what still runs ends with its own time limit."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._transport.close()

    async def _run(self, ask: Callable[[], _T], limit: TimeLimit) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, ask)
        except asyncio.CancelledError:
            # The thread would wait for an answer that nobody wants.
            limit.cancel()
            raise
