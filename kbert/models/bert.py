"""`Bert`: the encoder, ids in, vectors out."""

import contextlib
import contextvars
from collections.abc import Iterator

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import (
    FIRST,
    BertEmbeddings,
    Pooler,
    TransformerBlock,
    attention_bias,
)
from kbert.layers.faster_ops import traced_once, unpadding
from kbert.layers.int8 import constant_kernels
from kbert.models.lora import AdaptableModel
from kbert.models.packed_rows import all_places, bias_of, check_packing
from kbert.models.text_model import as_features, as_json, check_rows

_exported = contextvars.ContextVar("as_exported", default=False)


@keras.saving.register_keras_serializable(package="kbert")
class Bert(AdaptableModel):
    """The BERT encoder: embeddings, L Transformer blocks, pooler.

    Args:
        config: Sizes and arithmetic of the encoder.
        pooler: Whether to compute `pooled_output`; heads on single tokens do without.
        remat: Whether training computes what is inside the blocks again for the backward pass, rather than
            keep it: the same numbers, less memory, more time. No matter of the weights, so not in `config`.
        unpad: Whether padding is left out of all work but that of attention: the same numbers for real
            tokens, 0 for padding, in time that goes with the tokens and hardly with how rows are padded. On
            TensorFlow alone, and not where XLA compiles (`jit_compile=True`, TPU): it must know all shapes.
        int8: Whether the blocks multiply in 8 bits, for inference alone; `kbert.models.in_int8` makes such a
            model of a trained one.
        name: Name of the model, the first part of every weight's path.

    Call arguments:
        inputs: Dict of `token_ids` int32 (B, S), `segment_ids` int32 (B, S; all 0 when left out) and
            `padding_mask` int32 (B, S), 1 = real token (all real when left out). A bare tensor is
            taken as `token_ids`.
            Rows of several texts (see `kbert.data.pack_rows`) have three more, and each text then gets the
            outputs that it has alone: `part_ids` int32 (B, S), 1, 2, ... = which text, 0 = padding, which
            takes the place of `padding_mask`; `position_ids` int32 (B, S), positions within the text; and
            `first_positions` int32 (B, K), where each text begins.
        pooled_only: Python bool; return `pooled_output` alone, the same numbers. The last block then works
            for the first token of each text only: up to a seventh less work for 6 layers.
            Overrides `return_layers` and `positions`.
        positions: int32 (B, P); give `sequence_output` at these alone, (B, P, H), the same numbers for less
            work in the last block.
        return_layers: Python bool; also return `layer_outputs`, a list of L + 1 tensors (B, S, H), the
            embeddings first, and `attention_probabilities`, a list of L float32 tensors (B, N, S, S).

    Returns:
        Dict of `sequence_output` float32 (B, S, H) and, with the pooler, `pooled_output` (B, H) in the
        compute dtype; (B, K, H) for rows of several texts.

    Raises:
        ValueError: `token_ids` is missing, ragged or of half precision, shapes differ, a text is longer than
            `config.longest_sequence`, rows of several texts lack one of their inputs, `pooled_only` is asked
            of an encoder without pooler, or `positions` together with `return_layers`.

    Example:
        >>> import numpy as np
        >>> bert = Bert(BertConfig.preset("tiny", vocab_size=100))
        >>> bert({"token_ids": np.array([[1, 5, 7, 2]])})["pooled_output"].shape
        TensorShape([1, 128])

    Reference:
        Devlin et al., 2019, "BERT: Pre-training of Deep Bidirectional Transformers", section 3.
    """

    def __init__(
        self,
        config: BertConfig,
        pooler: bool = True,
        remat: bool = False,
        unpad: bool = False,
        int8: bool = False,
        name: str = "bert",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.config = config
        self.remat = remat
        self.unpad = unpad
        if unpad and keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # So that `jit_compile="auto"` leaves XLA out.
        self.int8 = int8
        policy = {"dtype": self.dtype_policy, "trainable": self.trainable}
        self.embeddings = BertEmbeddings(
            vocab_size=config.vocab_size,
            hidden_dim=config.hidden_dim,
            max_length=config.max_length,
            extended_length=config.extended_length,
            num_segments=config.num_segments,
            dropout=config.dropout,
            layer_norm_epsilon=config.layer_norm_epsilon,
            initializer_range=config.initializer_range,
            name="embeddings",
            **policy,
        )
        self.blocks = [
            TransformerBlock(
                num_heads=config.num_heads,
                intermediate_dim=config.intermediate_dim,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation=config.activation,
                layer_norm_epsilon=config.layer_norm_epsilon,
                initializer_range=config.initializer_range,
                remat=remat,
                int8=int8,
                name=f"layer_{index}",
                **policy,
            )
            for index in range(config.num_layers)
        ]
        self.pooler = Pooler(config.initializer_range, name="pooler", **policy) if pooler else None

    def build(self, inputs_shape=None):
        """Creates all weights; their shapes depend on the config alone."""
        if self.built:
            return
        hidden_shape = (None, None, self.config.hidden_dim)
        self.embeddings.build((None, None))
        for block in self.blocks:
            block.build(hidden_shape)
        if self.pooler is not None:
            self.pooler.build(hidden_shape)
        self.built = True

    def call(self, inputs, training=None, pooled_only=False, positions=None, return_layers=False):
        if pooled_only and self.pooler is None:
            raise ValueError("pooled_only=True, but this encoder was made with pooler=False")
        return_layers = return_layers and not pooled_only
        if positions is not None and return_layers:
            raise ValueError("positions and return_layers=True; layers are returned for all positions")
        inputs = as_features(inputs)
        check_packing(inputs)
        check_rows(inputs)
        asked = self._asked(inputs, pooled_only, positions)
        padding = self._unpadding(inputs, return_layers, training)
        hidden = self._embedded(inputs, padding, training)
        bias = bias_of(inputs) if padding is None else attention_bias(padding.mask)
        layer_outputs, maps = self._through_blocks(hidden, bias, asked, padding, training, return_layers)
        hidden = layer_outputs[-1]
        if padding is not None and asked is None:
            hidden = padding.restore_all(hidden)
        outputs = {}
        # With positions, what the pooler takes comes after them.
        count = None if positions is None or pooled_only else ops.shape(positions)[1]
        if self.pooler is not None:
            tops = hidden if count is None else hidden[:, count:]
            firsts = inputs.get(features.FIRST_POSITIONS)
            if asked is not None and firsts is not None:
                firsts = all_places(firsts)
            outputs[features.POOLED_OUTPUT] = self.pooler(tops, firsts)
        if pooled_only:
            return outputs
        outputs[features.SEQUENCE_OUTPUT] = hidden if count is None else hidden[:, :count]
        if return_layers:
            outputs |= {"layer_outputs": layer_outputs, "attention_probabilities": maps}
        return outputs

    @staticmethod
    @contextlib.contextmanager
    def as_exported() -> Iterator[None]:
        """Within it, and in this thread alone, encoders work as in an export.

        They leave padding out as with `unpad`, and graphs that are traced keep their kernels of 8 bits.
        """
        token = _exported.set(True)
        try:
            with constant_kernels():
                yield
        finally:
            _exported.reset(token)

    def row_costs(self, inputs):
        """What to go by to share out rows evenly, as `kbert.training` does.

        Returns:
            int32 (B,), the tokens of each row of `inputs` (or of what stands together, such as a question's
            choices), where the work goes with them; None where all rows of a batch cost the same.
        """
        if not self._leaves_padding_out(inputs):
            return None
        real = ops.cast(ops.cast(inputs[features.PADDING_MASK], "bool"), "int32")
        return ops.sum(real, axis=tuple(range(1, len(real.shape))))

    def _unpadding(self, inputs, return_layers, training):
        """How padding is left out; None where it is not, as where all layers are asked for in rows."""
        if return_layers or not self._leaves_padding_out(inputs):
            return None
        return unpadding(inputs[features.PADDING_MASK], training)

    def _leaves_padding_out(self, inputs):
        asked = self.unpad or _exported.get()
        return asked and features.PADDING_MASK in inputs and features.PART_IDS not in inputs

    def _embedded(self, inputs, padding, training):
        names = (features.TOKEN_IDS, features.SEGMENT_IDS, features.POSITION_IDS)
        ids = [inputs.get(name) for name in names]
        if padding is not None:
            self.embeddings.check_length(ops.shape(ids[0])[1])
            ids = [None if values is None else padding.remove(values) for values in ids[:2]]
            ids.append(padding.columns(self.config.longest_sequence))
        return self.embeddings(*ids, training=training)

    def _through_blocks(self, hidden, bias, asked, padding, training, return_layers):
        """The embeddings and the outputs of all blocks; and the attention weights of all, if asked for."""
        options = {"training": training, "padding": padding}
        # Blocks that are computed again take their gradients in a way of their own.
        together = None if return_layers or self.remat or not training else traced_once(**options)
        layer_outputs, maps = [hidden], []
        for block in self.blocks:
            positions = asked if block is self.blocks[-1] else None
            own = {**options, "positions": positions, "return_probabilities": return_layers}
            if together is not None and positions is None:
                own = {"together": together}
            results = block(hidden, bias, **own)
            hidden, *probabilities = results if return_layers else (results,)
            layer_outputs.append(hidden)
            maps += probabilities
        return layer_outputs, maps

    def _asked(self, inputs, pooled_only, positions):
        """Which tokens the last block works for: those of `positions`, then those that the pooler takes."""
        firsts = inputs.get(features.FIRST_POSITIONS)
        if pooled_only:
            return FIRST if firsts is None else firsts
        if positions is None or self.pooler is None:
            return positions
        batch = ops.shape(inputs[features.TOKEN_IDS])[0]
        firsts = ops.zeros((batch, 1), "int32") if firsts is None else ops.cast(firsts, "int32")
        return ops.concatenate([ops.cast(positions, "int32"), firsts], axis=1)

    def get_config(self):
        return {
            "config": self.config.to_dict(),
            "pooler": self.pooler is not None,
            "remat": self.remat,
            "unpad": self.unpad,
            "int8": self.int8,
            "name": self.name,
            "trainable": self.trainable,
            "dtype": as_json(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{**config, "config": BertConfig.from_dict(config["config"])})
