"""`TransformerBlock`: attention and feed-forward, each with its residual and its normalization."""

import keras

from kbert.layers.activations import activation as activation_function
from kbert.layers.attention import SelfAttention
from kbert.layers.dense import TokenDense
from kbert.layers.dropout import Dropout
from kbert.layers.int8 import Int8Dense
from kbert.layers.normalization import LayerNorm
from kbert.layers.positions import bias_at, vectors_at
from kbert.layers.recompute import recompute


@keras.saving.register_keras_serializable(package="kbert")
class TransformerBlock(keras.layers.Layer):
    """One of BERT's L layers, post-normalised: LayerNorm(x + dropout(sublayer(x))), twice.

    The first sublayer is self-attention, the second the feed-forward network W₂·act(W₁·x).

    Args:
        num_heads: Attention heads.
        intermediate_dim: Width of the feed-forward network.
        dropout: Probability of dropping, at the end of both sublayers.
        attention_dropout: Probability of dropping an attention weight.
        activation: `"gelu"`, `"gelu_tanh"`, `"relu"` or `"silu"`.
        layer_norm_epsilon: Added to the variance.
        initializer_range: Standard deviation of the truncated normal that starts the matrices.
        remat: Whether training keeps only the inputs, and computes the rest again in the backward pass: a
            fraction of the memory, for nearly half as much time again, with the same numbers.
        int8: Whether the four projections are `Int8Dense`, for inference alone.

    Call arguments:
        inputs: float (B, S, H), or (1, T, H) with `padding`.
        attention_bias: As for `SelfAttention`, or None.
        return_probabilities: Python bool; also return the attention weights, float32 (B, N, Q, S).
        positions: int32 (B, Q), or `kbert.layers.FIRST`: the tokens whose outputs are computed, the same
            numbers for less work; None: all, Q = S.
        padding: As for `SelfAttention`: that of the rows whose tokens came in one.
        together: `kbert.layers.traced_once.TracedOnce`, which computes this block as others of its kind, with
            its own `training` and `padding`; or None.

    Returns:
        float32 (B, Q, H), or (1, T, H) with `padding` and without `positions`, also under mixed precision; or
        a pair with the attention weights.

    Reference:
        Vaswani et al., 2017, section 3.1; google-research/bert, modeling.py, `transformer_model`.
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        initializer_range: float = 0.02,
        remat: bool = False,
        int8: bool = False,
        **kwargs,
    ):
        # The sum of all sublayers stays in float32 under mixed precision, only matrix products leave it: it
        # is more exact, and element by element a CPU is faster in float32 than in bfloat16.
        super().__init__(**{"autocast": False, **kwargs})
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.initializer_range = initializer_range
        self.remat = remat
        self.int8 = int8
        activation_function(activation)  # An unknown name shows here, not in the first batch.

    def build(self, inputs_shape, attention_bias_shape=None):
        hidden_dim = inputs_shape[-1]
        trains = {"trainable": self.trainable}  # Which Keras tells only those layers that are there already.
        self.attention = SelfAttention(
            self.num_heads, self.attention_dropout, self.initializer_range, int8=self.int8, name="attention",
            dtype=self.dtype_policy, **trains,
        )  # fmt: skip
        self.attention_layer_norm = LayerNorm(
            epsilon=self.layer_norm_epsilon, dtype="float32", name="attention_layer_norm", **trains
        )
        self.intermediate = self._projection("intermediate", self.intermediate_dim, self.activation)
        self.output_dense = self._projection("output", hidden_dim, chained=True)
        self.output_layer_norm = LayerNorm(
            epsilon=self.layer_norm_epsilon, dtype="float32", name="output_layer_norm", **trains
        )
        self.dropout_layer = Dropout(self.dropout, name="dropout", dtype="float32")
        for layer in (self.attention, self.attention_layer_norm, self.intermediate, self.output_layer_norm):
            layer.build(inputs_shape)
        self.output_dense.build((*inputs_shape[:-1], self.intermediate_dim))
        self.built = True

    def _projection(self, name, units, activation=None, chained=False):
        if self.int8:
            return Int8Dense(units, activation, chained, dtype="float32", name=name)
        return TokenDense(
            units,
            self.initializer_range,
            activation,
            dtype=self.dtype_policy,
            name=name,
            trainable=self.trainable,
        )

    def call(
        self,
        inputs,
        attention_bias=None,
        training=None,
        return_probabilities=False,
        positions=None,
        padding=None,
        together=None,
    ):
        if together is not None:
            return together(self, self._form(), inputs, attention_bias)

        def forward(*tensors):
            return self._forward(
                *tensors,
                training=training,
                return_probabilities=return_probabilities,
                positions=positions,
                padding=padding,
            )

        if self.remat and training:
            draws = self.attention.count_dropouts(positions is not None, padding)
            forward = recompute(forward, [(self.attention.dropout_layer, draws), (self.dropout_layer, 2)])
        return forward(inputs) if attention_bias is None else forward(inputs, attention_bias)

    def _form(self):
        """What tells blocks of other forms apart: all that they and their sublayers are set to, as of now."""
        # The dtype beside the options, which of a map of policies by path have the whole map.
        layers = self._flatten_layers()
        return [(type(layer).__qualname__, layer.compute_dtype, _options(layer)) for layer in layers]

    def _forward(self, inputs, attention_bias=None, *, training, return_probabilities, positions, padding):
        queries = None
        if positions is not None:
            queries = vectors_at(inputs if padding is None else padding.restore_all(inputs), positions)
        attended = self.attention(
            inputs,
            bias_at(attention_bias, positions),
            training=training,
            return_probabilities=return_probabilities,
            queries=queries,
            padding=padding,
        )
        attended, *probabilities = attended if return_probabilities else (attended,)
        inputs = inputs if queries is None else queries
        attended = self.dropout_layer(attended, training=training)
        hidden = self.attention_layer_norm(inputs + attended, training=training)

        transformed = self.output_dense(self._intermediate(hidden, training))
        transformed = self.dropout_layer(transformed, training=training)
        outputs = self.output_layer_norm(hidden + transformed, training=training)
        return (outputs, *probabilities) if return_probabilities else outputs

    def _intermediate(self, hidden, training):
        if self.int8:  # In the steps that the next product takes, without a way over float32.
            return self.intermediate(hidden, output_bounds=self.output_dense.input_bounds)
        return self.intermediate(hidden, training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation": self.activation,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "initializer_range": self.initializer_range,
            "remat": self.remat,
            "int8": self.int8,
        }


def _options(layer):
    return {name: value for name, value in layer.get_config().items() if name != "name"}
