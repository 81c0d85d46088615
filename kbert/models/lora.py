"""`AdaptableModel`: low-rank adaptation (LoRA) of the encoder in a model, from its start to its end."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy
from keras import ops

from kbert.errors import InputError
from kbert.layers import AdaptableDense
from kbert.models.frozen import freeze_parts, frozen_parts
from kbert.models.text_model import TextModel


@keras.saving.register_keras_serializable(package="kbert")
class AdaptableModel(TextModel):
    """A `TextModel` whose encoder can be fine-tuned by low-rank factors; the base class of all of kbert's.

    Low-rank adaptation leaves the encoder as it is and trains, beside each projection of its attention
    (queries, keys, values, output), two thin matrices whose product is added to it: half a percent of
    BERT-base's weights, and so of the optimizer's memory and of what is stored for a task. In the end
    the products are added to the projections for good, and the model costs what it cost before.

    The order is: load, `enable_lora`, compile, fit; then `save_lora` to keep the adapters, `merge_lora`
    before the whole model is saved as a checkpoint.

    Attributes:
        lora_rank: Rank of the adapters, or None while there are none.
        lora_alpha: Their α, as a number.

    Example:
        >>> from kbert import BertConfig
        >>> from kbert.models import Bert
        >>> bert = Bert(BertConfig.preset("tiny", vocab_size=100))
        >>> bert.enable_lora(rank=4)
        >>> len(bert.trainable_weights), bert.trainable_weights[0].path
        (8, 'bert/layer_0/attention/qkv/lora_a')
        >>> bert.merge_lora()
        >>> bert.lora_rank is None
        True

    Reference:
        Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
    """

    @property
    def lora_rank(self) -> int | None:  # noqa: D102
        encoder = self._encoder()
        return encoder.blocks[0].attention.lora_rank if encoder.built else None

    @property
    def lora_alpha(self) -> float | None:  # noqa: D102
        if self.lora_rank is None:
            return None
        alpha = self._encoder().blocks[0].attention.lora_alpha
        return float(self.lora_rank if alpha is None else alpha)

    def enable_lora(self, rank: int, alpha: float | None = None) -> None:
        """Adds adapters to the attention and freezes all other weights of the encoder; heads stay trainable.

        The outputs stay what they were. An encoder that is frozen as a whole (`bert.trainable = False`) is so
        no more, as its adapters would be too. An optimizer is made for the weights that train when it first
        sees them: call this before `compile` and `fit`, or compile again.

        Args:
            rank: Width of the thin matrices, 4 to 64; 8 is a good start.
            alpha: The update is multiplied by alpha / rank; None for a factor of 1. A fixed alpha keeps the
                learning rate right while ranks are compared.

        Raises:
            ValueError: There are adapters already, the rank or alpha is out of range, or the projections are
                in 8 bits.
        """
        if self._encoder().int8:
            raise ValueError(f"{self.name} computes in 8 bits, which do not train; load it without int8")
        if self.lora_rank is not None:
            raise ValueError(
                f"{self.name} has adapters of rank {self.lora_rank} already; call merge_lora() first"
            )
        self.build()
        encoder = self._encoder()
        own = encoder.weights
        if not encoder.trainable:  # Keras asks the layer first, and the weight after it.
            encoder.trainable = True
        for block in encoder.blocks:
            block.attention.enable_lora(rank, alpha)
        for weight in own:
            weight.trainable = False
        self._forget_compiled()

    def merge_lora(self) -> None:
        """Adds the adapters to the projections and removes them; the encoder's weights train again.

        The outputs stay what they were, up to rounding. To train on, compile again.

        Raises:
            ValueError: There are no adapters.
        """
        self._require_adapters("merge")
        encoder = self._encoder()
        for block in encoder.blocks:
            block.attention.merge_lora()
        for weight in encoder.weights:
            weight.trainable = True
        self._forget_compiled()

    def save_lora(self, path: str | os.PathLike) -> None:
        """Writes the adapters, and neither the encoder nor the heads, as one small safetensors file.

        Rank and alpha are in its metadata. The file appears complete or not at all.

        Args:
            path: Of the file; its folder must exist.

        Raises:
            ValueError: There are no adapters.
        """
        self._require_adapters("save")
        arrays = {name: ops.convert_to_numpy(weight) for name, weight in self._factors().items()}
        metadata = {"format": "pt", "lora_rank": str(self.lora_rank), "lora_alpha": str(self.lora_alpha)}
        path = Path(path)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            safetensors.numpy.save_file(arrays, unfinished, metadata=metadata)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def load_lora(self, path: str | os.PathLike) -> None:
        """Reads what `save_lora` wrote, from this class or from another with an encoder of these sizes.

        A model without adapters is given them, with the file's rank and alpha (see `enable_lora`). The
        encoder must have the weights that the adapters were trained beside; the file cannot tell.

        Raises:
            InputError: The file is missing, damaged or no such file, or its arrays, rank or alpha differ
                from the model's; nothing was changed. One error lists all differences.
        """
        arrays, rank, alpha = _read(path)
        self.build()
        if self.lora_rank is not None and (rank, alpha) != (self.lora_rank, self.lora_alpha):
            raise InputError(
                f"{path}: has adapters of rank {rank} and alpha {alpha:g}; the model has rank "
                f"{self.lora_rank} and alpha {self.lora_alpha:g}; load them into a model without adapters"
            )
        shapes = {
            f"{name}/{factor}": shape
            for name, layer in self._projections()
            for factor, shape in layer.lora_shapes(rank).items()
        }
        _check(path, arrays, shapes)
        if self.lora_rank is None:
            self.enable_lora(rank, alpha)
        for name, weight in self._factors().items():
            weight.assign(arrays[name])

    def copy_under(self, policy: str):
        """A copy with the same weights that computes under another dtype policy, such as `"float32"`.

        Raises:
            InputError: There are adapters, for which a copy has no place.
        """
        require_merged(self)
        copy = type(self).from_config({**self.get_config(), "dtype": policy})
        copy.build()
        copy.set_weights(self.get_weights())
        return copy

    def get_build_config(self):
        config = super().get_build_config()
        if config is None:  # Without weights there is nothing to tell.
            return None
        own: dict[str, Any] = {"frozen": frozen_parts(self)}
        if self.lora_rank is not None:
            own["lora"] = {"rank": self.lora_rank, "alpha": self.lora_alpha}
        return {**config, **own}

    def build_from_config(self, config):
        super().build_from_config({key: config[key] for key in config if key not in ("lora", "frozen")})
        if "lora" in config:
            self.enable_lora(**config["lora"])
        if "frozen" in config:  # Files of earlier versions do not say.
            freeze_parts(self, config["frozen"])

    def _encoder(self) -> Any:
        return getattr(self, "bert", self)

    def _projections(self) -> Iterator[tuple[str, AdaptableDense]]:
        """Each adaptable layer after its path, which is the same for a bare encoder and one under a head."""
        for index, block in enumerate(self._encoder().blocks):
            for layer in (block.attention.qkv, block.attention.output_dense):
                yield f"bert/layer_{index}/attention/{layer.name}", layer

    def _factors(self) -> dict:
        return {
            f"{name}/{weight.name}": weight
            for name, layer in self._projections()
            for weight in (layer.lora_a, layer.lora_b)
        }

    def _require_adapters(self, what: str) -> None:
        if self.lora_rank is None:
            raise ValueError(f"{self.name} has no adapters to {what}; call enable_lora(rank) and train first")

    def _forget_compiled(self) -> None:
        # They would go on with the weights as they were when Keras compiled them.
        self.train_function = self.test_function = self.predict_function = None


def require_merged(model) -> None:
    """Refuses a model with adapters: no other form than `save_lora`'s has a place for them.

    Args:
        model: A `Bert`, or a model that holds one as its `bert`.

    Raises:
        InputError: The model has adapters.
    """
    if model.lora_rank is not None:
        raise InputError(
            f"{model.name} has LoRA adapters of rank {model.lora_rank}; call model.merge_lora() to make them "
            "part of its weights, or model.save_lora(path) to keep them alone"
        )


def _read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], int, float]:
    """The arrays, the rank and the alpha in a file of `save_lora`."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays, int(metadata["lora_rank"]), float(metadata["lora_alpha"])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a file of save_lora") from error
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: is damaged or no file of save_lora ({error}); copy it again, or look for the adapters"
        ) from error


def _check(path: str | os.PathLike, arrays: dict[str, np.ndarray], shapes: dict[str, tuple]) -> None:
    """Refuses arrays that are not exactly those expected, with one error for all of them."""
    findings = {
        "missing": sorted(set(shapes) - set(arrays)),
        "left over": sorted(set(arrays) - set(shapes)),
        "of another shape": [
            f"{name} {list(arrays[name].shape)} instead of {list(shape)}"
            for name, shape in shapes.items()
            if name in arrays and arrays[name].shape != shape
        ],
    }
    problems = [f"{title}: {', '.join(names)}" for title, names in findings.items() if names]
    if problems:
        raise InputError(f"{path}: adapters of another encoder; {'; '.join(problems)}")
