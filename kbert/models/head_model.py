"""`HeadModel`: what all models with heads share: an encoder, its config, and how they are built and saved."""

from typing import Any

import keras

from kbert.config import BertConfig
from kbert.models.bert import Bert
from kbert.models.lora import AdaptableModel
from kbert.models.text_model import as_features, as_json


@keras.saving.register_keras_serializable(package="kbert")
class HeadModel(AdaptableModel):
    """A `keras.Model` with the encoder as `bert` and heads on top; the base class of all of kbert's.

    A subclass makes its heads in `__init__`, builds them in `build_heads`, names its own constructor
    arguments in `head_config`, and registers itself with Keras.

    Args:
        config: Sizes and arithmetic of the encoder.
        pooler: Whether the heads read `pooled_output`; an encoder without pooler has no weights for it.
        name: Name of the model, the first part of every weight's path.
        remat: As for `Bert`; models with heads take it as a keyword argument too.
        unpad: Likewise.
        int8: Likewise.
    """

    def __init__(
        self,
        config: BertConfig,
        *,
        pooler: bool,
        name: str,
        remat: bool = False,
        unpad: bool = False,
        int8: bool = False,
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.config = config
        self.bert = Bert(config, pooler=pooler, remat=remat, unpad=unpad, int8=int8, dtype=self.dtype_policy)

    def build(self, inputs_shape=None):
        """Creates all weights; their shapes depend on the constructor's arguments alone."""
        if self.built:
            return
        self.bert.build()
        self.build_heads()
        if not self.trainable:  # Subclasses make their heads without looking.
            for layer in self.layers:
                layer.trainable = False
        self.built = True

    def build_heads(self) -> None:
        """Builds the layers above the encoder; none by default."""

    @property
    def has_heads(self) -> bool:
        """Whether there are layers above the encoder, the pooler not among them."""
        return type(self).build_heads is not HeadModel.build_heads

    @property
    def head_weights(self) -> list[keras.Variable]:
        """The weights above the encoder, the pooler not among them."""
        encoder = {id(weight) for weight in self.bert.weights}
        return [weight for weight in self.weights if id(weight) not in encoder]

    def row_costs(self, inputs):
        """As of `Bert`."""
        return self.bert.row_costs(as_features(inputs))

    def head_config(self) -> dict[str, Any]:
        """The constructor's arguments besides those of this class and `dtype`, by name; plain JSON values."""
        return {}

    def get_config(self):
        return {
            "config": self.config.to_dict(),
            **self.head_config(),
            "remat": self.bert.remat,
            "unpad": self.bert.unpad,
            "int8": self.bert.int8,
            "name": self.name,
            "trainable": self.trainable,
            "dtype": as_json(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{**config, "config": BertConfig.from_dict(config["config"])})
