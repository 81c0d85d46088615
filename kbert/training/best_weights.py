"""The best weights of a run by what was measured, and an early end when nothing gets better."""

import os
from pathlib import Path

import keras
import numpy as np
from absl import logging

from kbert.errors import InputError
from kbert.training.averages import averaged_weights
from kbert.training.checkpointing import write_arrays
from kbert.training.optimizers import AdamW
from kbert.training.strategies import is_chief


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best value of a metric; may end the run early.

    What was best before is taken from the history of the run, so a run that goes on from a checkpoint
    decides as one that was never interrupted.

    Args:
        path: File to write, an `.npz`.
        metric: Name in the logs of an epoch, such as `val_mlm_loss`; not one that a callback adds to them.
        larger_is_better: True for an accuracy, False for a loss.
        patience: Epochs without a better value after which the run ends; None: it does not.
        patience_from: The first epoch, counted from 0, that may count for it.
        averages_of: Optimizer whose averages are kept in place of the weights, since they were measured.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        metric: str,
        *,
        larger_is_better: bool = False,
        patience: int | None = None,
        patience_from: int = 0,
        averages_of: AdamW | None = None,
    ):
        super().__init__()
        self.path = Path(path)
        self.metric = metric
        self.larger_is_better = larger_is_better
        self.patience = patience
        self.patience_from = patience_from
        self.averages_of = averages_of

    def on_epoch_end(self, epoch, logs=None):
        logs = self.params["history"][-1]  # To the logs that come in, other callbacks may have added.
        if self.metric not in logs:
            raise InputError(
                f"metric {self.metric!r} is not measured by `fit` or its `evaluate`; there are "
                f"{', '.join(sorted(logs))}"
            )
        best = self.best_epoch()
        if best == epoch:
            logging.info("epoch %d is the best so far: %s %.4f", epoch + 1, self.metric, logs[self.metric])
            if self.averages_of is None:
                self._save()
            else:
                with averaged_weights(self.model, self.averages_of):
                    self._save()
        elif self.patience is not None and epoch - max(best, self.patience_from - 1) >= self.patience:
            logging.info("%s is not better since epoch %d: the run ends", self.metric, best + 1)
            self.model.stop_training = True

    def _save(self):
        if is_chief():
            weights = {f"{i:05d}": np.array(w) for i, w in enumerate(self.model.weights)}
            write_arrays(self.path, weights)

    def best_epoch(self) -> int:
        """Counted from 0; the first of those that are equal."""
        values = [logs[self.metric] for logs in self.params["history"]]
        return int(np.argmax(values) if self.larger_is_better else np.argmin(values))

    def restore(self, model: keras.Model) -> None:
        """Gives the model, which may be of another dtype policy, the best weights."""
        with np.load(self.path) as file:
            for name, weight in zip(sorted(file.files), model.weights, strict=True):
                weight.assign(file[name])
