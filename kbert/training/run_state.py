"""Everything that a run is made of between two steps."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from absl import logging

from kbert.errors import InputError
from kbert.training.checkpointing import Checkpoints


class RunState:
    """What a checkpoint holds: the variables, and how far the run has come in its data and its epochs.

    The variables are those of model and optimizer and the seeds of the dropout layers. The position in the
    data is the number of steps, since the data are a function of it.

    Args:
        variables: All that change in training.
        num_terms: Rows of `totals`.
        form: What a step is: numbers that must be equal when the run goes on.

    Attributes:
        step: Optimizer steps done, those that float16 left out included.
        totals: float64 (num_terms, 2), sums and weights of the current epoch.
        history: The logs of the epochs that are over.
        stopped: Whether a callback ended the run.
    """

    def __init__(self, variables: Sequence[keras.Variable], num_terms: int, form: dict[str, int]):
        self.variables = list(variables)
        self.form = form
        self.step = 0
        self.totals = np.zeros([num_terms, 2])
        self.history: list[dict[str, float]] = []
        self.stopped = False

    def end_epoch(self, means: Callable[[np.ndarray], dict[str, float]]) -> dict[str, float]:
        """Begins the next epoch; the logs of the last one are added to the history and returned."""
        self.history.append(means(self.totals))
        self.totals = np.zeros_like(self.totals)
        return self.history[-1]

    def save(self, checkpoints: Checkpoints) -> None:
        """Writes a checkpoint of this moment."""
        notes = {
            **self.form,
            "step": self.step,
            "totals": self.totals.tolist(),  # JSON keeps every bit of a float64.
            "history": self.history,
            "stopped": self.stopped,
        }
        checkpoints.save(self.step, self.variables, notes)

    def restore(self, checkpoints: Checkpoints, over_workers: Callable) -> None:
        """Takes the last good checkpoint, if there is one.

        Raises:
            InputError: It is of another run, or another worker has found another one.
        """
        notes = checkpoints.restore(self.variables)
        if notes is not None:
            for name, now in self.form.items():
                if notes[name] != now:
                    raise InputError(
                        f"{checkpoints.folder}: holds a run with {name}={notes[name]}, which cannot go on "
                        f"with {now}; start it as before, or name another folder"
                    )
            self.step = notes["step"]
            self.totals = np.array(notes["totals"])
            self.history[:] = notes["history"]
            self.stopped = notes["stopped"]
            logging.info("going on after step %d, from %s", self.step, checkpoints.folder)
        workers, steps = over_workers([1, self.step])
        if steps != workers * self.step:
            raise InputError(
                f"{checkpoints.folder}: this worker found step {self.step}, the {workers:.0f} workers "
                f"together {steps:.0f}; all of them must see the same folder"
            )
