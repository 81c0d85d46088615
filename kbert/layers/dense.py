"""`TokenDense`, which does nearly all of BERT's arithmetic, and `AdaptableDense`, its variant for LoRA."""

import gc

import keras
from keras import ops

from kbert.layers.activations import activation as activation_function
from kbert.layers.initializers import truncated_normal


def _linear(inputs, kernel, bias=None):
    """x·W + b of the last axis: the leading axes become one for a single matrix product."""
    shape = ops.shape(inputs)
    outputs = ops.matmul(ops.reshape(inputs, (-1, shape[-1])), kernel)
    outputs = ops.reshape(outputs, (*shape[:-1], kernel.shape[-1]))
    # After the unfolding: TensorFlow would fuse product and bias, and its fused bfloat16 kernel takes half as
    # long again as the plain one with a sum after it. By the operator: ops.add makes a BiasAdd of it, whose
    # gradient TensorFlow adds up in bfloat16, over all tokens, so that it can be wrong by more than itself.
    return outputs if bias is None else outputs + bias


def _activated_linear(inputs, kernel, bias, activation):
    """act(x·W + b), all before the unfolding, where TensorFlow makes one kernel of a float32 gelu and it."""
    shape = ops.shape(inputs)
    outputs = ops.matmul(ops.reshape(inputs, (-1, shape[-1])), kernel)
    return ops.reshape(activation(ops.add(outputs, bias)), (*shape[:-1], kernel.shape[-1]))


@keras.saving.register_keras_serializable(package="kbert")
class TokenDense(keras.layers.Layer):
    """Projection y = act(x·W + b) of the last axis, for tokens in rows.

    `keras.layers.Dense` turns an input of rank 3 into a tensor contraction, which on a CPU is slower
    than one matrix product. This layer folds the leading axes into one, multiplies, and unfolds them.

    Args:
        units: Width of the output.
        initializer_range: Standard deviation of the truncated normal that starts W; b starts at 0.
        activation: Name of act, as `kbert.layers.activation` takes it; None for a linear projection.

    Call arguments:
        inputs: float (..., input width).

    Returns:
        float (..., units), in the compute dtype.

    Raises:
        ValueError: The activation is unknown.

    Example:
        >>> TokenDense(3)(keras.ops.ones((2, 5, 4))).shape
        TensorShape([2, 5, 3])
    """

    def __init__(self, units: int, initializer_range: float = 0.02, activation: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.initializer_range = initializer_range
        self.activation = activation
        if activation is not None:
            activation_function(activation)  # An unknown name shows here, not in the first batch.

    def build(self, inputs_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(inputs_shape[-1], self.units),
            initializer=truncated_normal(self.initializer_range),
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, inputs, training=None):
        if self.activation is None:
            return _linear(inputs, self.kernel, self.bias)
        activate = activation_function(self.activation, bool(training))
        if self.compute_dtype == "float32" and not training:
            return _activated_linear(inputs, self.kernel, self.bias, activate)
        return activate(_linear(inputs, self.kernel, self.bias))

    def compute_output_shape(self, inputs_shape):
        return (*inputs_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "initializer_range": self.initializer_range,
            "activation": self.activation,
        }


@keras.saving.register_keras_serializable(package="kbert")
class AdaptableDense(TokenDense):
    """A `TokenDense` that can take a low-rank update beside its matrix: y = x·W + b + α/r·(x·A)·B.

    Low-rank adaptation (LoRA) fine-tunes A (input width, r) and B (r, units) in place of W, a hundredth as
    many numbers. B starts at 0, so that at first nothing changes. Without a rank there is no update, and
    the layer is a plain `TokenDense`. Which weights train is for the model to say.

    Where W is several matrices side by side, as are those of queries, keys and values, each part has
    factors of its own. All A lie side by side in `lora_a` (input width, parts·r); `lora_b` is
    (parts, r, units / parts).

    Args:
        units: Width of the output.
        initializer_range: Standard deviation of the truncated normal that starts W and A.
        parts: Number of matrices side by side in W; must divide `units`.
        lora_rank: r, or None for no update.
        lora_alpha: α, above 0; r when left out, which makes the factor 1.

    Call arguments:
        inputs: float (..., input width).

    Returns:
        float (..., units), in the compute dtype.

    Raises:
        ValueError: `parts` does not divide `units`, or the rank or α is out of range.

    Reference:
        Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1. That W gets no
        gradient is why the update is (x·A)·B and not x·(A·B): the latter would compute the gradient of W.
    """

    def __init__(
        self,
        units: int,
        initializer_range: float = 0.02,
        parts: int = 1,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        **kwargs,
    ):
        super().__init__(units, initializer_range, None, **kwargs)
        if units % parts:
            raise ValueError(f"units={units} is not divisible into parts={parts} of equal width")
        if lora_rank is not None:
            _check_lora(lora_rank, lora_alpha)
        self.parts = parts
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha

    def build(self, inputs_shape):
        super().build(inputs_shape)
        if self.lora_rank is not None:
            self._add_factors(self.lora_rank)

    def enable_lora(self, rank: int, alpha: float | None = None) -> None:
        """Adds the update to a layer without one; the outputs stay as they are.

        Raises:
            ValueError: There is one already, or the rank or α is out of range.
        """
        if self.lora_rank is not None:
            raise ValueError(f"a low-rank update of rank {self.lora_rank} is there already; merge it first")
        _check_lora(rank, alpha)
        self.lora_rank = rank
        self.lora_alpha = alpha
        if self.built:
            # Keras closes the list of a layer's weights when it is built; its own Dense opens it so for LoRA.
            self._tracker.unlock()
            self._add_factors(rank)
            self._tracker.lock()

    def merge_lora(self) -> None:
        """Adds α/r·A·B to the matrix and removes both factors; the outputs stay as they are."""
        self.kernel.assign_add(ops.matmul(self.lora_a, self._scaled_b("float32")))
        # What was compiled around this layer, such as `predict` of a model that holds it, goes on to add it.
        self.lora_b.assign(ops.zeros(self.lora_b.shape))
        # To delete a weight, Keras collects garbage, half a second each time. What lives now is none. A
        # program that froze it itself, as before a fork, wants it to stay so.
        freezes = not gc.get_freeze_count()
        if freezes:
            gc.freeze()
        try:
            del self.lora_a
            del self.lora_b
        finally:
            if freezes:
                gc.unfreeze()
        self.lora_rank = self.lora_alpha = None

    def lora_shapes(self, rank: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the factors at this rank; the layer must be built."""
        return {
            "lora_a": (self.kernel.shape[0], self.parts * rank),
            "lora_b": (self.parts, rank, self.units // self.parts),
        }

    def _add_factors(self, rank):
        shapes = self.lora_shapes(rank)
        self.lora_a = self.add_weight(
            name="lora_a", shape=shapes["lora_a"], initializer=truncated_normal(self.initializer_range)
        )
        self.lora_b = self.add_weight(name="lora_b", shape=shapes["lora_b"], initializer="zeros")

    def _scaled_b(self, dtype):
        """α/r·B of all parts in one matrix (parts·r, units), 0 outside each part's own rows and columns."""
        rank = self.lora_b.shape[1]
        factor = 1.0 if self.lora_alpha is None else self.lora_alpha / rank
        own = ops.reshape(ops.eye(self.parts, dtype=dtype), (self.parts, 1, self.parts, 1))
        blocks = own * ops.expand_dims(ops.cast(self.lora_b, dtype), 2)  # (parts, r, parts, units / parts)
        return factor * ops.reshape(blocks, (self.parts * rank, self.units))

    def call(self, inputs):
        outputs = super().call(inputs)
        if self.lora_rank is None:
            return outputs
        return outputs + _linear(_linear(inputs, self.lora_a), self._scaled_b(self.compute_dtype))

    def call_split(self, first, others, at: int):
        """Two results of less work than one: the first `at` columns of y for one input, the rest for another.

        Args:
            first: float (..., input width).
            others: float (..., input width), of any other leading axes.
            at: Number of columns for `first`.

        Returns:
            float (..., at) and (..., units - at), in the compute dtype.
        """
        dtype = self.compute_dtype
        # Split, not sliced: the gradient of a slice is a whole matrix of zeros around it.
        kernels = ops.split(ops.cast(self.kernel, dtype), [at], axis=1)
        biases = ops.split(ops.cast(self.bias, dtype), [at])
        outputs = [_linear(first, kernels[0], biases[0]), _linear(others, kernels[1], biases[1])]
        if self.lora_rank is None:
            return outputs
        a, columns = ops.cast(self.lora_a, dtype), ops.split(self._scaled_b(dtype), [at], axis=1)
        updates = [_linear(_linear(first, a), columns[0]), _linear(_linear(others, a), columns[1])]
        return [outputs[0] + updates[0], outputs[1] + updates[1]]

    def get_config(self):
        config = super().get_config()
        del config["activation"]
        own = {"parts": self.parts, "lora_rank": self.lora_rank, "lora_alpha": self.lora_alpha}
        return config | own


def _check_lora(rank, alpha) -> None:
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ValueError(f"a LoRA rank of {rank!r}; expected a whole number of at least 1, such as 8")
    if alpha is not None and not alpha > 0:
        raise ValueError(f"a LoRA alpha of {alpha!r}; expected a number above 0, or None for the rank")
