"""`SelfAttention`: every token looks at every token."""

import math

import keras
from keras import ops

from kbert.layers.dense import AdaptableDense
from kbert.layers.dropout import Dropout
from kbert.layers.faster_ops import attention_for_training, has_attention_for_training
from kbert.layers.int8 import Int8Dense
from kbert.layers.masks import HIDDEN_SCORE


@keras.saving.register_keras_serializable(package="kbert")
class SelfAttention(keras.layers.Layer):
    """Multi-head scaled dot-product attention of a sequence to itself.

    attention(Q, K, V) = dropout(softmax(Q·Kᵀ/√D + bias))·V in each of N heads, then one projection.
    Queries, keys and values come out of one matrix product with a weight of (H, 3·H), in this order,
    because one wide product is faster than three narrow ones.

    Args:
        num_heads: N; must divide the width of the input.
        attention_dropout: Probability of dropping an attention weight.
        initializer_range: Standard deviation of the truncated normal that starts the matrices.
        lora_rank: Rank of the low-rank updates of all four projections, or None; see `AdaptableDense`.
        lora_alpha: Their α; the rank when left out.
        int8: Whether the projections are `Int8Dense`, for inference alone; excludes `lora_rank`.

    Call arguments:
        inputs: float (B, S, H), what is looked at.
        attention_bias: float (B, 1, 1, S) or (B, 1, Q, S), added to the scores; see
            `kbert.layers.attention_bias` and `part_attention_bias`.
        return_probabilities: Python bool; also return the attention weights, before dropout.
        queries: float (B, Q, H), what looks, where that is not all of `inputs`: the vectors of some tokens.
        padding: `Unpadding`, where `inputs` are all tokens in one row, (1, T, H). Without `queries` they look
            each at its own row, `padding` knows what at, and `attention_bias` has no part in it.

    Returns:
        float (B, Q, H) in the compute dtype, Q = S without `queries`, or (1, T, H) with `padding` and
        without `queries`; with `return_probabilities` a pair with float32 (B, N, Q, S), indexed
        [batch, head, from, to].

    Raises:
        ValueError: H is not divisible by `num_heads`, or there are updates of 8-bit projections.

    Reference:
        Vaswani et al., 2017, section 3.2.
    """

    def __init__(
        self,
        num_heads: int,
        attention_dropout: float = 0.1,
        initializer_range: float = 0.02,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        int8: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if int8 and lora_rank is not None:
            raise ValueError(f"int8=True and lora_rank={lora_rank}; merge the low-rank updates first")
        self.int8 = int8
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.initializer_range = initializer_range
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.dropout_layer = Dropout(attention_dropout, dtype="float32", name="dropout")

    def build(self, inputs_shape, attention_bias_shape=None):
        hidden_dim = inputs_shape[-1]
        if hidden_dim % self.num_heads:
            raise ValueError(f"a width of {hidden_dim} is not divisible by num_heads={self.num_heads}")
        self.qkv = self._projection("qkv", 3 * hidden_dim, parts=3)
        self.output_dense = self._projection("output", hidden_dim, parts=1)
        for projection in (self.qkv, self.output_dense):
            projection.build(inputs_shape)
        self.built = True

    def _projection(self, name, units, parts):
        if self.int8:
            return Int8Dense(units, dtype="float32", name=name)
        return AdaptableDense(
            units,
            self.initializer_range,
            parts,
            self.lora_rank,
            self.lora_alpha,
            dtype=self.dtype_policy,
            name=name,
            trainable=self.trainable,
        )

    def enable_lora(self, rank: int, alpha: float | None = None) -> None:
        """Adds a low-rank update to each projection; the layer must be built, and have none.

        Raises:
            ValueError: There are updates already, or the rank or α is out of range.
        """
        for projection in (self.qkv, self.output_dense):
            projection.enable_lora(rank, alpha)
        self.lora_rank = rank
        self.lora_alpha = alpha

    def merge_lora(self) -> None:
        """Adds the updates to the projections' matrices and removes them."""
        for projection in (self.qkv, self.output_dense):
            projection.merge_lora()
        self.lora_rank = self.lora_alpha = None

    def call(
        self,
        inputs,
        attention_bias=None,
        training=None,
        return_probabilities=False,
        queries=None,
        padding=None,
    ):
        if padding is not None and queries is None:
            return self.output_dense(self._context_of_tokens(inputs, padding, training))
        query, key, value = self._project(inputs, queries, padding)
        context, probabilities = self._attend(
            query, key, value, attention_bias, training, return_probabilities
        )
        outputs = self.output_dense(context)
        return (outputs, probabilities) if return_probabilities else outputs

    def _context_of_tokens(self, inputs, padding, training):
        """The context of each token of (1, T, H), group by group of their rows."""
        contexts = []
        for rows, bias in zip(padding.in_groups(self.qkv(inputs)), padding.group_biases, strict=True):
            query, key, value = self._in_heads(rows, 3)
            contexts.append(self._attend(query, key, value, bias, training)[0])
        return padding.from_groups(contexts)

    def count_dropouts(self, with_queries: bool, padding) -> int:
        """How often a call in training drops attention weights; `padding` is as of the call."""
        return 1 if with_queries or padding is None else len(padding.group_biases)

    def _attend(self, query, key, value, bias, training, return_probabilities=False):
        """The context of each token, (B, Q, H), and the probabilities; None where a faster way has none."""
        if self._is_fused(training, return_probabilities):
            return self._joined(_fused_attention(query, key, value, bias)), None
        if bias is not None and self.compute_dtype == "float16":
            # Keras has cast it, and -1e9 became -inf, which makes a row of padding alone NaN.
            bias = ops.maximum(ops.cast(bias, "float32"), HIDDEN_SCORE)
        # The queries are scaled, not the scores, of which there are S/D times as many.
        query = query * ops.cast(1.0 / math.sqrt(query.shape[-1]), query.dtype)
        if training and has_attention_for_training() and not return_probabilities:
            context = attention_for_training(query, key, value, bias, self.dropout_layer)
            probabilities = None
        else:
            probabilities = _probabilities(query, key, bias)
            weights = self.dropout_layer(probabilities, training=training)
            context = ops.matmul(ops.cast(weights, self.compute_dtype), value)
        return self._joined(ops.transpose(context, (0, 2, 1, 3))), probabilities

    def _joined(self, context):
        """(B, Q, N, D) to (B, Q, H)."""
        return ops.reshape(context, (-1, ops.shape(context)[1], self.num_heads * context.shape[-1]))

    def _is_fused(self, training, return_probabilities):
        """Whether the backend has a kernel that never writes the scores down, and nothing asks for them."""
        drops = training and self.attention_dropout
        # The bias of masked places is out of float16's range, which only float32 scores bear.
        return (
            keras.backend.backend() == "jax"
            and not (drops or return_probabilities)
            and self.compute_dtype != "float16"
        )

    def _project(self, inputs, queries, padding):
        """Queries (B, N, Q, D), keys and values (B, N, S, D)."""
        if queries is None:
            return self._in_heads(self.qkv(inputs), 3)
        query, both = self.qkv.call_split(queries, inputs, inputs.shape[-1])
        both = both if padding is None else padding.restore(both)
        return *self._in_heads(query, 1), *self._in_heads(both, 2)

    def _in_heads(self, projected, count):
        """(B, S, count·H) to as many of (B, N, S, D)."""
        width = projected.shape[-1] // count // self.num_heads
        parts = ops.reshape(projected, (-1, ops.shape(projected)[1], count, self.num_heads, width))
        return ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), num=count)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "attention_dropout": self.attention_dropout,
            "initializer_range": self.initializer_range,
            "lora_rank": self.lora_rank,
            "lora_alpha": self.lora_alpha,
            "int8": self.int8,
        }


def _probabilities(query, key, bias):
    """softmax(Q·Kᵀ + bias), float32 (B, N, Q, S)."""
    scores = ops.cast(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))), "float32")
    if bias is not None:
        # The operator, not ops.add: with B = N and S = 1 that one takes it for a bias of the heads.
        scores = scores + ops.cast(bias, "float32")
    return ops.softmax(scores)


def _fused_attention(query, key, value, bias):
    """The context of all heads, (B, Q, N, D), by Keras's op, which takes flash attention on GPUs.

    Args:
        query: (B, N, Q, D).
        key: (B, N, S, D).
        value: (B, N, S, D).
        bias: (B, 1, 1 or Q, S) or None.
    """
    query, key, value = (ops.transpose(heads, (0, 2, 1, 3)) for heads in (query, key, value))
    if bias is not None:
        # The kernels of GPUs want a bias for each place that looks.
        shape = (ops.shape(bias)[0], 1, ops.shape(query)[1], ops.shape(key)[1])
        bias = ops.broadcast_to(bias, shape)
    return ops.dot_product_attention(query, key, value, bias=bias)
