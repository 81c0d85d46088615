"""`BertEmbeddings`: ids become vectors."""

import keras
from keras import ops

from kbert.layers.dropout import Dropout
from kbert.layers.initializers import truncated_normal


@keras.saving.register_keras_serializable(package="kbert")
class BertEmbeddings(keras.layers.Layer):
    """Sum of token, position and segment embedding, normalised, with dropout.

    x_i = dropout(LayerNorm(E_token[t_i] + E_position[i] + E_segment[s_i]))

    The token table, `token_embeddings`, is also the output matrix of the masked-language-model head,
    which receives it as an argument and owns no copy.

    Args:
        vocab_size: Rows of the token table.
        hidden_dim: Width of every table.
        max_length: Rows of the position table; no sequence may be longer.
        num_segments: Rows of the segment table.
        dropout: Probability of dropping.
        layer_norm_epsilon: Added to the variance.
        initializer_range: Standard deviation of the truncated normal that starts the tables.

    Call arguments:
        token_ids: int32 (B, S).
        segment_ids: int32 (B, S); all 0 when left out.

    Returns:
        float32 (B, S, hidden_dim), also under mixed precision.

    Raises:
        ValueError: The sequence is longer than `max_length` (where its length is known beforehand).

    Reference:
        Devlin et al., 2019, figure 2; google-research/bert, modeling.py, `embedding_postprocessor`.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_dim: int,
        max_length: int = 512,
        num_segments: int = 2,
        dropout: float = 0.1,
        layer_norm_epsilon: float = 1e-12,
        initializer_range: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_dim = hidden_dim
        self.max_length = max_length
        self.num_segments = num_segments
        self.dropout = dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.initializer_range = initializer_range
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype="float32", name="layer_norm"
        )
        self.dropout_layer = Dropout(dropout, dtype="float32", name="dropout")

    def build(self, token_ids_shape, segment_ids_shape=None):
        self.token_embeddings = self._add_table("token_embeddings", self.vocab_size)
        self.position_embeddings = self._add_table("position_embeddings", self.max_length)
        self.segment_embeddings = self._add_table("segment_embeddings", self.num_segments)
        self.layer_norm.build((*token_ids_shape, self.hidden_dim))
        self.built = True

    def _add_table(self, name, rows):
        # Not cast to the compute dtype on access: that would copy the whole table for a few of its rows.
        return self.add_weight(
            name=name,
            shape=(rows, self.hidden_dim),
            initializer=truncated_normal(self.initializer_range),
            autocast=False,
        )

    def call(self, token_ids, segment_ids=None, training=None):
        length = ops.shape(token_ids)[1]
        if isinstance(length, int) and length > self.max_length:
            raise ValueError(
                f"a sequence of {length} tokens came, but the position table has max_length="
                f"{self.max_length} rows; truncate the text or load a checkpoint with more positions"
            )
        tokens = ops.take(self.token_embeddings, token_ids, axis=0)
        positions = self.position_embeddings[:length]
        if segment_ids is None:
            segments = self.segment_embeddings[0]
        else:
            # One-hot times table instead of a lookup: its gradient is a matrix product, not a scatter.
            segments = ops.matmul(
                ops.one_hot(segment_ids, self.num_segments, dtype="float32"), self.segment_embeddings
            )
        hidden = ops.add(ops.add(tokens, positions), segments)
        return self.dropout_layer(self.layer_norm(hidden), training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "hidden_dim": self.hidden_dim,
            "max_length": self.max_length,
            "num_segments": self.num_segments,
            "dropout": self.dropout,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "initializer_range": self.initializer_range,
        }
