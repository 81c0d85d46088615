"""Who is computed now, who waits, and who is refused: a bounded queue with deadlines."""

import contextlib
import threading
import time
from collections.abc import Iterator

from kbert.serving.status import ServingError


class Deadline:
    """The moment by which a request must be answered.

    Args:
        seconds: How long from now.

    Example:
        >>> 29 < Deadline(30).left() <= 30
        True
    """

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then.

        Raises:
            ServingError: DEADLINE_EXCEEDED if it has passed.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise ServingError("DEADLINE_EXCEEDED", "Deadline exceeded before the request was answered")
        return left


class Admission:
    """Lets a number of requests run at once and a number wait; refuses the rest at once.

    Without a bound a server that is asked more than it can answer keeps accepting, until everyone's deadline
    passes while they wait; a client that is refused can ask elsewhere or later.

    Args:
        max_running: How many may run.
        max_waiting: How many may wait for one that runs.
    """

    def __init__(self, max_running: int, max_waiting: int):
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._places = threading.Semaphore(max_running)
        self._lock = threading.Lock()
        self._inside = 0

    @contextlib.contextmanager
    def place(self, deadline: Deadline) -> Iterator[None]:
        """Waits for a place and keeps it.

        Args:
            deadline: Until when to wait.

        Raises:
            ServingError: RESOURCE_EXHAUSTED if too many wait, DEADLINE_EXCEEDED if it took too long.
        """
        with self._lock:
            if self._inside >= self._max_running + self._max_waiting:
                crowd = f"{self._max_running} run and {self._max_waiting} wait"
                raise ServingError("RESOURCE_EXHAUSTED", f"Too many requests: {crowd}; try again later")
            self._inside += 1
        try:
            if not self._places.acquire(timeout=deadline.left()):
                deadline.left()
            try:
                yield
            finally:
                self._places.release()
        finally:
            with self._lock:
                self._inside -= 1
