"""How a client deals with failure: the errors, one time limit for a call, and when to ask again."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator

from kbert.errors import InputError

#: The wait before the second try is drawn between 0 and this, in seconds; it doubles with each further try.
FIRST_WAIT = 0.2
#: No draw is from a longer time, in seconds.
LONGEST_WAIT = 5.0


class ServerError(ConnectionError):
    """The server did not answer a request that may well be right: it is too busy, too slow, or broken.

    Args:
        message: One line with the address and the server's own words.
        code: HTTP status as text ("503"), gRPC's name of it ("UNAVAILABLE"), "timeout" where the client's
            own time was over, or "" where the connection broke.
    """

    def __init__(self, message: str, code: str = ""):
        super().__init__(message)
        self.code = code


class RefusedError(InputError):
    """The server says that the request is wrong.

    Args:
        message: One line with the address and the server's own words.
        code: HTTP status as text ("400") or gRPC's name of it ("INVALID_ARGUMENT").
    """

    def __init__(self, message: str, code: str = ""):
        super().__init__(message)
        self.code = code


class RetryableError(Exception):
    """A try that failed for a reason that may pass.

    Args:
        message: One line, as of `ServerError`.
        code: As of `ServerError`; None where there is no server.
        after: Seconds that the server asks to be left alone.
    """

    def __init__(self, message: str, code: str | None = "", after: float = 0.0):
        super().__init__(message)
        self.code = code
        self.after = after

    def last(self, note: str = "") -> InputError | ServerError:
        """What the user is told if there is no further try; `note` is added."""
        message = f"{self}{note}"
        return InputError(message) if self.code is None else ServerError(message, self.code)


class TimeLimit:
    """The time that a call may take with all its requests, tries and waits; it can be ended early.

    Args:
        seconds: From now on.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        #: Rows of the call that are answered already, for the message.
        self.answered = 0
        self._end = time.monotonic() + seconds
        self._stops: set[Callable[[], None]] = set()
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._end

    def left(self) -> float:
        """Seconds until the end, more than 0.

        Raises:
            TimeoutError: There are none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{self.seconds:g} s are over")
        return left

    def expired(self, where: str) -> ServerError:
        """The error to raise when time is over.

        Args:
            where: The address that was asked.
        """
        part = f"; {self.answered} rows were answered before" if self.answered else ""
        return ServerError(f"{where}: no answer within {self.seconds:g} s{part}", "timeout")

    @contextlib.contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `cancel` calls `stop`, from its own thread."""
        with self._lock:
            self._stops.add(stop)
        try:
            yield
        finally:
            with self._lock:
                self._stops.discard(stop)

    def cancel(self) -> None:
        """Ends the time now, and what is under way."""
        with self._lock:
            self._end = time.monotonic()
            for stop in self._stops:
                stop()


class Tries:
    """Counts the tries of one request and says how long to wait between them.

    Args:
        limit: The time for all of them.
        most: How often the request may be sent.

    Reference:
        "Full jitter" of Brooker, 2015, "Exponential backoff and jitter": clients that failed together do not
        come back together.
    """

    def __init__(self, limit: TimeLimit, most: int):
        self._limit = limit
        self._most = most
        self._made = 0

    def wait_after(self, failed: RetryableError) -> float:
        """Seconds to wait before the next try.

        Raises:
            InputError, ServerError: There is none; the message is the failure's, with the number of tries.
        """
        self._made += 1
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (self._made - 1))
        wait = failed.after + random.uniform(0, longest)
        try:
            left = self._limit.left()
        except TimeoutError:
            left = 0.0
        if self._made < self._most and wait < left:
            return wait
        told = [f"{self._made} tries"] if self._made > 1 else []
        if self._made < self._most:
            told.append(f"the time of {self._limit.seconds:g} s has no room for another")
        raise failed.last(f" ({', '.join(told)})" if told else "") from failed
