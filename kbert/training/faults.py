"""What stops a run from outside or within, and how it stops clearly."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from absl import logging

from kbert.training.checkpointing import write_arrays

#: Exit code of a run that SIGTERM ended after it had saved: `EX_TEMPFAIL`, "try again later".
EXIT_TERMINATED = 75

#: What TensorFlow raises in a worker when another one has gone.
PEER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


class Terminated(SystemExit):
    """SIGTERM came, and nothing is left to be saved; as an uncaught `SystemExit` it gives exit code 75."""

    def __init__(self):
        super().__init__(EXIT_TERMINATED)


def end_on_sigterm() -> None:
    """Has SIGTERM end the process with exit code 75 outside of `fit` too, where nothing is to be saved.

    For a script that goes on when the same command is given again, however far it came.

    Raises:
        Terminated: When the signal comes.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(number, frame):
    logging.info("%s: leaving; the same command goes on", signal.Signals(number).name)
    raise Terminated


class WorkerLost(ConnectionError):
    """Another worker of the run ended or cannot be reached."""


class StopSignals:
    """Holds SIGTERM and Ctrl-C back until the loop has come to a place where it can save.

    A second signal of the same kind is not held back. Outside of the main thread, which alone receives
    signals, nothing is held.

    Args:
        held: False: signals do what they did before.

    Attributes:
        received: The signal that came to this process, or None.
        agreed: The signal that all workers are to obey, or None.

    Example:
        >>> with StopSignals() as signals:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     signals.received == signal.SIGTERM
        True
    """

    def __init__(self, held: bool = True):
        self.received: int | None = None
        self.agreed: int | None = None
        self._held = held and threading.current_thread() is threading.main_thread()
        self._previous = {}

    def __enter__(self):
        if self._held:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        logging.info("%s: saving, then leaving", signal.Signals(number).name)
        self.received = number
        signal.signal(number, self._previous[number])

    def __exit__(self, *exception):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def agree(self, over_workers: Callable) -> None:
        """What one worker received, all obey: none may wait for one that has left."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        came = over_workers([float(self.received == number) for number in numbers])
        # `received` stays: a signal may come while the workers agree, and is for the next time.
        self.agreed = next((number for number, some in zip(numbers, came, strict=True) if some), None)

    def leave(self) -> None:
        """Ends the process in the way of the signal that was agreed on, if one was."""
        if self.agreed == signal.SIGINT:
            raise KeyboardInterrupt
        if self.agreed == signal.SIGTERM:
            raise Terminated


#: What a batch calls the numbers of the records that it is made of, if it has them.
_NUMBERS = "/record_number"


def keep_batch(batches: tf.data.Dataset, folder: str | os.PathLike, step: int) -> tuple[Path, list[int]]:
    """Writes the batches of a step that went wrong to `bad-batch-of-step-N.npz`, to be looked into.

    Args:
        batches: (inputs, targets) of that step, each one tensor or a dict of tensors.
        folder: Of the checkpoints.
        step: Counted from 1, as the messages do.

    Returns:
        The file, whose arrays are named like `0/inputs/token_ids`, the number being the micro-batch's; and
        the numbers of the records in it, where the batches tell them, ascending.
    """
    arrays = {}
    for number, batch in enumerate(batches.as_numpy_iterator()):
        for part, values in zip(("inputs", "targets"), batch, strict=True):
            values = values if isinstance(values, dict) else {"value": values}
            arrays |= {f"{number}/{part}/{name}": value for name, value in values.items()}
    path = Path(folder) / f"bad-batch-of-step-{step}.npz"
    write_arrays(path, arrays)
    numbers = {int(n) for name, array in arrays.items() if name.endswith(_NUMBERS) for n in array.ravel()}
    return path, sorted(numbers - {-1})  # -1 fills up packed rows.
