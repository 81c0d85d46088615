"""`BertEmbeddings`: ids become vectors."""

import keras
from keras import ops

from kbert.layers.dropout import Dropout
from kbert.layers.initializers import truncated_normal
from kbert.layers.normalization import LayerNorm

#: Share of the coarse position in a composed one, as published; 0.5 would not tell (i, j) from (j, i).
_COARSE_SHARE = 0.4


@keras.saving.register_keras_serializable(package="kbert")
class BertEmbeddings(keras.layers.Layer):
    """Sum of token, position and segment embedding, normalised, with dropout.

    x_i = dropout(LayerNorm(E_token[t_i] + E_position[i] + E_segment[s_i]))

    The token table, `token_embeddings`, is also the output matrix of the masked-language-model head,
    which receives it as an argument and owns no copy.

    Args:
        vocab_size: Rows of the token table.
        hidden_dim: Width of every table.
        max_length: n, rows of the position table.
        num_segments: Rows of the segment table.
        dropout: Probability of dropping.
        layer_norm_epsilon: Added to the variance.
        initializer_range: Standard deviation of the truncated normal that starts the tables.
        extended_length: Longest sequence, more than n and at most n²; None for n. Position i·n + j is then
            the j-th of the trained ones, shifted by how far the i-th is from the first; so the first n are
            as trained, and each of the n² differs from all others.

    Call arguments:
        token_ids: int32 (B, S).
        segment_ids: int32 (B, S), each below `num_segments` (others add nothing); all 0 when left out.
        position_ids: int32 (B, S), each below `max_length` (or `extended_length`); 0, 1, 2, ... when left
            out. With them a row may be longer than the positions reach, as one of several texts is.

    Returns:
        float32 (B, S, hidden_dim), also under mixed precision.

    Raises:
        ValueError: `extended_length` is not in its range, or the sequence is longer than allowed (where its
            length is known beforehand).

    Reference:
        Devlin et al., 2019, figure 2; google-research/bert, modeling.py, `embedding_postprocessor`. Su, 2020,
        "Hierarchical decomposition of position encodings", https://kexue.fm/archives/7947.
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
        extended_length: int | None = None,
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
        self.extended_length = extended_length
        if extended_length is not None and not max_length < extended_length <= max_length**2:
            raise ValueError(
                f"extended_length={extended_length}; expected more than max_length={max_length} and at most "
                f"its square, {max_length**2}"
            )
        self.layer_norm = LayerNorm(
            epsilon=layer_norm_epsilon, dtype="float32", name="layer_norm", trainable=self.trainable
        )
        self.dropout_layer = Dropout(dropout, dtype="float32", name="dropout")

    def build(self, token_ids_shape, segment_ids_shape=None, position_ids_shape=None):
        self.token_embeddings = self._add_table("token_embeddings", self.vocab_size)
        self.position_embeddings = self._add_table("position_embeddings", self.max_length)
        self.segment_embeddings = self._add_table("segment_embeddings", self.num_segments)
        self.layer_norm.build((*token_ids_shape, self.hidden_dim))
        self.built = True

    def _add_table(self, name, rows):
        # Not cast to the compute dtype on access: that would copy the whole table for a few of its rows. And
        # float32 whatever the policy is, as are the sums that start here.
        return self.add_weight(
            name=name,
            shape=(rows, self.hidden_dim),
            initializer=truncated_normal(self.initializer_range),
            dtype="float32",
            autocast=False,
        )

    def call(self, token_ids, segment_ids=None, position_ids=None, training=None):
        tokens = ops.take(self.token_embeddings, token_ids, axis=0)
        if position_ids is None:
            positions = self._positions(ops.shape(token_ids)[1])
        else:
            positions = self._positions_at(position_ids)
        if segment_ids is None:
            segments = self.segment_embeddings[0]
        else:
            # One-hot times table instead of a lookup: its gradient is a matrix product, not a scatter.
            segments = ops.matmul(
                ops.one_hot(segment_ids, self.num_segments, dtype="float32"), self.segment_embeddings
            )
        # Not by `ops.add`, which takes what has one row and no tokens for a bias.
        hidden = tokens + positions + segments
        return self.dropout_layer(self.layer_norm(hidden, training=training), training=training)

    def check_length(self, length) -> None:
        """Raises a ValueError if rows of this length have more tokens than there are positions.

        Args:
            length: An int, or a tensor, of which nothing is known yet.
        """
        if isinstance(length, int) and length > (self.extended_length or self.max_length):
            raise ValueError(
                f"a sequence of {length} tokens came, but the position table has max_length="
                f"{self.max_length} rows, and extended_length={self.extended_length}; truncate the text, set "
                f"extended_length (up to {self.max_length**2}), or load a checkpoint with more positions"
            )

    def _positions(self, length):
        """The vectors of the first positions, float32 (length, hidden_dim)."""
        trained = self.position_embeddings
        self.check_length(length)
        if self.extended_length is None or (isinstance(length, int) and length <= self.max_length):
            return trained[:length]
        used = (length - 1) // self.max_length + 1
        composed = ops.expand_dims(self._coarse(trained[:used]), 1) + trained
        return ops.reshape(composed, (-1, self.hidden_dim))[:length]

    def _positions_at(self, position_ids):
        """The vectors of these positions, float32 (B, S, hidden_dim)."""
        trained = self.position_embeddings
        if self.extended_length is None:
            return ops.take(trained, position_ids, axis=0)
        coarse, fine = position_ids // self.max_length, position_ids % self.max_length
        return self._coarse(ops.take(trained, coarse, axis=0)) + ops.take(trained, fine, axis=0)

    def _coarse(self, trained):
        """What i of position i·n + j adds to the j-th: Su's a·u_i + (1 - a)·u_j, multiplied out.

        There u = (p - a·p_0) / (1 - a), p the trained vectors.
        """
        return (trained - self.position_embeddings[:1]) * (_COARSE_SHARE / (1 - _COARSE_SHARE))

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
            "extended_length": self.extended_length,
        }
