"""`RunSettings`: how a model is fine-tuned, in numbers. Standard library only, so that `--help` is quick."""

from dataclasses import dataclass
from typing import Literal

from kbert.errors import InputError


@dataclass(frozen=True)
class RunSettings:
    """How a model is trained; each field is also a flag of `tf_scripts/finetune.py`.

    Args:
        epochs: Passes over the training rows.
        batch_size: Rows of a step, over all devices.
        learning_rate: Peak of the learning rate.
        schedule: How the rate falls; see `kbert.training.schedule_for`.
        warmup_ratio: Share of the steps in which the rate rises, 0 to 1.
        weight_decay: Decoupled weight decay.
        seed: Of new weights, order and dropout.
        precision: Of the computation; auto is bfloat16 where it is fast.
        keep: The weights of the best epoch on dev, or the last ones.
        patience: Epochs without a better score on dev that end the run; none: all epochs are run. Those in
            which `unfreeze_every` has not yet let all layers learn do not count.
        checkpoint_every: Steps between two checkpoints, from which a stopped run goes on.

    Raises:
        InputError: A number is out of its range.
    """

    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 5e-5
    schedule: Literal["linear", "google", "cosine", "stable"] = "linear"
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    seed: int = 42
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    keep: Literal["best", "last"] = "best"
    patience: int | None = None
    checkpoint_every: int = 1000

    def __post_init__(self):
        for name in ("epochs", "batch_size", "patience", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name}={value}; expected at least 1")
        for name in ("learning_rate", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise InputError(f"--{name}={getattr(self, name)}; expected a number, 0 or more")
        if self.keep not in ("best", "last"):  # From Python, where no flag checks it; it would be the last.
            raise InputError(f"--keep={self.keep}; expected best or last")
        if not 0 <= self.warmup_ratio <= 1:
            raise InputError(f"--warmup_ratio={self.warmup_ratio}; expected 0 to 1")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed={self.seed}; expected 0 to {2**32 - 1}")
        if self.patience is not None and self.keep == "last":
            raise InputError(
                "--patience ends a run by its best epoch, but --keep=last keeps another one; leave one out"
            )
