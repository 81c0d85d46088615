"""What sits on top of the encoder: pooler and masked-token predictor."""

import keras
from keras import ops

from kbert.layers.activations import activation as activation_function
from kbert.layers.dense import TokenDense
from kbert.layers.faster_ops import product_with_rows
from kbert.layers.normalization import LayerNorm
from kbert.layers.positions import gather_positions


@keras.saving.register_keras_serializable(package="kbert")
class Pooler(keras.layers.Layer):
    """tanh(W·h₀ + b) of the first token's vector: the summary that NSP and classifiers use.

    A row of several texts has several first tokens, and a summary for each.

    Args:
        initializer_range: Standard deviation of the truncated normal that starts W.

    Call arguments:
        sequence: float (B, S, H).
        first_positions: int32 (B, K), where the texts of each row begin; None for rows of one.

    Returns:
        float (B, H), or (B, K, H) with `first_positions`, in the compute dtype.

    Reference:
        google-research/bert, modeling.py, scope "pooler".
    """

    def __init__(self, initializer_range: float = 0.02, **kwargs):
        super().__init__(**kwargs)
        self.initializer_range = initializer_range

    def build(self, sequence_shape, first_positions_shape=None):
        width = sequence_shape[-1]
        self.dense = TokenDense(
            width,
            self.initializer_range,
            dtype=self.dtype_policy,
            name="dense",
            trainable=self.trainable,
        )
        self.dense.build((sequence_shape[0], width))
        self.built = True

    def call(self, sequence, first_positions=None):
        if first_positions is None:
            first = sequence[:, 0]
        else:
            first = gather_positions(sequence, first_positions)
        return ops.tanh(self.dense(first))

    def compute_output_shape(self, sequence_shape, first_positions_shape=None):
        texts = () if first_positions_shape is None else first_positions_shape[1:]
        return (sequence_shape[0], *texts, sequence_shape[-1])

    def get_config(self):
        return {**super().get_config(), "initializer_range": self.initializer_range}


@keras.saving.register_keras_serializable(package="kbert")
class MaskedLanguageModelHead(keras.layers.Layer):
    """Scores over the vocabulary: LayerNorm(act(W·h + b))·Eᵀ + c, with E the token embedding table.

    The table is an argument of the call, not a weight of the head: it stays tied to the embeddings by
    construction, through saving and loading too.

    Args:
        activation: As in the encoder.
        layer_norm_epsilon: Added to the variance.
        initializer_range: Standard deviation of the truncated normal that starts W.

    Call arguments:
        hidden: float (B, P, H), vectors at the positions to predict.
        table: float (V, H), the token embedding table.

    Returns:
        float32 (B, P, V), logits, not probabilities.

    Reference:
        google-research/bert, run_pretraining.py, `get_masked_lm_output`.
    """

    def __init__(
        self,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.initializer_range = initializer_range
        activation_function(activation)  # An unknown name shows here, not in the first batch.

    def build(self, hidden_shape, table_shape):
        self.transform = TokenDense(
            hidden_shape[-1],
            self.initializer_range,
            self.activation,
            dtype=self.dtype_policy,
            name="transform",
            trainable=self.trainable,
        )
        self.transform.build(hidden_shape)
        self.layer_norm = LayerNorm(
            epsilon=self.layer_norm_epsilon, dtype="float32", name="layer_norm", trainable=self.trainable
        )
        self.layer_norm.build(hidden_shape)
        # As the logits: bfloat16 knows the log frequency of a rare token, where it may begin, to 1/16.
        self.bias = self.add_weight(
            name="bias", shape=(table_shape[0],), initializer="zeros", dtype="float32", autocast=False
        )
        self.built = True

    def call(self, hidden, table, training=None):
        hidden = self.layer_norm(self.transform(hidden, training=training), training=training)
        hidden = ops.cast(hidden, self.compute_dtype)
        batch, count, width = *ops.shape(hidden)[:2], hidden.shape[-1]
        rows = ops.reshape(hidden, (-1, width))
        logits = product_with_rows(rows, ops.cast(table, self.compute_dtype))
        logits = ops.add(ops.cast(logits, "float32"), self.bias)
        return ops.reshape(logits, (batch, count, table.shape[0]))

    def compute_output_spec(self, hidden, table, training=None):
        return keras.KerasTensor((*hidden.shape[:-1], table.shape[0]), dtype="float32")

    def get_config(self):
        return {
            **super().get_config(),
            "activation": self.activation,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "initializer_range": self.initializer_range,
        }
