"""`Recipe`: what can be done besides plain fine-tuning. Standard library only, so that `--help` is quick."""

from dataclasses import dataclass
from typing import Literal

from kbert.errors import InputError

#: Field -> (what it must be, in words; and as a test of the number).
_RANGES = {
    "layer_decay": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "average_decay": ("above 0 and below 1", lambda value: 0 < value < 1),
    "label_smoothing": ("at least 0 and below 1", lambda value: 0 <= value < 1),
    "fgm_epsilon": ("above 0", lambda value: value > 0),
    "rdrop_alpha": ("above 0", lambda value: value > 0),
    "head_scale": ("above 0", lambda value: value > 0),
    "reinit_layers": ("at least 0", lambda value: value >= 0),
    "freeze_layers": ("at least 0", lambda value: value >= 0),
    "unfreeze_every": ("at least 1", lambda value: value >= 1),
    "lora_rank": ("at least 1", lambda value: value >= 1),
}


@dataclass(frozen=True)
class Recipe:
    """Ways to fine-tune better, or with less; every one is off unless it is given.

    Args:
        layer_decay: Factor of the learning rate from one layer to the one below it, such as 0.9. (Howard and
            Ruder, 2018)
        head_scale: Factor of the random weights that the head starts with, such as 4: as many times larger is
            what a change of the encoder does to the answers, so it can learn faster. (docs/finetuning.md)
        reinit_layers: Number of top layers that start from random weights, and the pooler with them; 0: the
            pooler alone. (Zhang et al., 2021)
        fgm_epsilon: How far the token embeddings are moved against the model, in a second pass of each
            step, such as 1. (Miyato et al., 2017)
        rdrop_alpha: What the difference of two passes with other units dropped counts in the loss, such
            as 1. (Liang et al., 2021)
        label_smoothing: Share of the target that is spread over all classes, such as 0.1. (Szegedy et
            al., 2016)
        class_weights: `balanced`: a row counts inversely to how many rows its class has; `equal`. (King and
            Zeng, 2001)
        average_decay: What the moving average of the weights keeps of itself at each step, such as 0.99; it
            is what is measured and saved. Few steps need less. (Polyak and Juditsky, 1992)
        freeze_layers: Number of the lowest layers that keep their weights, and the embeddings with them; 0:
            the embeddings alone. (Lee et al., 2019)
        unfreeze_every: Epochs after which one layer more is trained, from the top; begins with
            `freeze_layers` frozen, or all. (Howard and Ruder, 2018)
        lora_rank: Rank of the adapters that are trained in place of the encoder's layers. (Hu et al., 2021)

    Raises:
        InputError: A value is out of its range, or two do not go together.
    """

    layer_decay: float | None = None
    head_scale: float | None = None
    reinit_layers: int | None = None
    fgm_epsilon: float | None = None
    rdrop_alpha: float | None = None
    label_smoothing: float = 0.0
    class_weights: Literal["equal", "balanced"] = "equal"
    average_decay: float | None = None
    freeze_layers: int | None = None
    unfreeze_every: int | None = None
    lora_rank: int | None = None

    def __post_init__(self):
        for name, (words, holds) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise InputError(f"--{name}={value}; expected a number {words}")
        if self.class_weights not in ("equal", "balanced"):
            raise InputError(f"--class_weights={self.class_weights}; expected equal or balanced")
        frozen = [n for n in ("freeze_layers", "unfreeze_every", "lora_rank") if getattr(self, n) is not None]
        if "lora_rank" in frozen and (len(frozen) > 1 or self.layer_decay is not None):
            raise InputError("--lora_rank freezes the encoder; leave out --layer_decay and other freezing")
        if "lora_rank" in frozen and self.reinit_layers is not None:
            raise InputError(
                "--lora_rank freezes the encoder; what --reinit_layers starts anew would stay random"
            )
        if frozen and self.fgm_epsilon is not None:
            raise InputError(
                f"--fgm_epsilon moves the token embeddings, which --{frozen[0]} freezes; choose one"
            )
