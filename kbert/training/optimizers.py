"""`AdamW` as BERT was trained with it, and as it is mostly fine-tuned today."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kbert")
class AdamW(keras.optimizers.Optimizer):
    """Adam with decoupled weight decay, exclusion by path, and clipping by the norm of the whole gradient.

    m ← β₁m + (1-β₁)g;  v ← β₂v + (1-β₂)g²;  w ← w - lr·(m̂ / (√v̂ + ε) + λw)

    Three things differ from `keras.optimizers.AdamW`. Weights are excluded from decay by their *path*, and
    the list survives `get_config` (Keras matches leaf names and forgets them). The gradient is clipped
    *after* it was summed over replicas, so N replicas do what one device would do. And the bias
    correction m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ) can be left out, as Google's original does.

    Args:
        learning_rate: A number or a `keras.optimizers.schedules.LearningRateSchedule`.
        weight_decay_rate: λ.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to √v̂.
        bias_correction: `False` gives google-research/bert's numbers; `True` is steadier on small data.
        max_gradient_norm: Upper limit of the global norm; None leaves the gradient as it is.
        exclude_from_decay: Substrings of the paths of weights that do not decay.

    Reference:
        Loshchilov and Hutter, 2019, algorithm 2; google-research/bert, optimization.py; for the effect of
        the correction Mosbach et al., 2021, "On the Stability of Fine-tuning BERT".
    """

    def __init__(
        self,
        learning_rate=5e-5,
        weight_decay_rate: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        bias_correction: bool = True,
        max_gradient_norm: float | None = 1.0,
        exclude_from_decay: tuple[str, ...] = ("layer_norm", "bias"),
        name: str = "adamw",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.weight_decay_rate = weight_decay_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.bias_correction = bias_correction
        self.max_gradient_norm = max_gradient_norm
        self.exclude_from_decay = exclude_from_decay
        self._compiled_update = tf.function(self._update, jit_compile=True)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        self._decays = [
            not any(part in variable.path for part in self.exclude_from_decay) for variable in variables
        ]

    def apply(self, grads, trainable_variables=None):
        """Updates the variables; inside `strategy.run`, with the sum of all replicas' gradients."""
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            self._replicated = False
            self._corrections = self._step_corrections()
            grads, self._clip_factor = self._clipped(grads)
            super().apply(grads, trainable_variables)
            return
        dense = [None if g is None else tf.convert_to_tensor(g) for g in grads]
        summed = iter(replica.all_reduce(tf.distribute.ReduceOp.SUM, [g for g in dense if g is not None]))
        grads = [None if g is None else next(summed) for g in dense]
        # The base class would sum them once more, so the updates are made here, once across all replicas.
        replica.merge_call(self._update_everywhere, (grads, trainable_variables or self._trainable_variables))

    def _update_everywhere(self, strategy, grads, variables):
        rate = self.learning_rate
        self._replicated = True
        # Summed gradients are the same on all replicas: those of the first give the norm of all.
        first = [None if g is None else strategy.experimental_local_results(g)[0] for g in grads]
        _, self._clip_factor = self._clipped(first)
        self._corrections = self._step_corrections()
        for gradient, variable in zip(grads, variables, strict=True):
            if gradient is not None:
                strategy.extended.update(
                    variable.value,
                    lambda component, own_gradient: self.update_step(own_gradient, component, rate),
                    args=(gradient,),
                    group=False,
                )
        self.iterations.assign_add(1)

    def _step_corrections(self):
        """Factors of the learning rate and of ε in this step, float32 scalars, the same for all weights.

        m̂/(√v̂ + ε) = √(1-β₂ᵗ)/(1-β₁ᵗ) · m/(√v + √(1-β₂ᵗ)·ε), in float64 because 1-β₂ᵗ cancels digits.
        """
        if not self.bias_correction:
            return tf.ones([]), tf.ones([])
        step = tf.cast(self.iterations.value + 1, tf.float64)
        root = tf.sqrt(1.0 - tf.pow(tf.constant(self.beta_2, tf.float64), step))
        rate = root / (1.0 - tf.pow(tf.constant(self.beta_1, tf.float64), step))
        return tf.cast(rate, tf.float32), tf.cast(root, tf.float32)

    def _clipped(self, grads):
        """Dense gradients, and the factor that brings their global norm down to the limit.

        A weight that is looked up *and* multiplied (the tied embedding table) has a sparse and a dense
        part; dense is the only form in which a norm and both moments are what the paper says.
        """
        grads = [_rows_summed(g) for g in grads]
        dense = [None if g is None else tf.convert_to_tensor(g) for g in grads]
        if self.max_gradient_norm is None:
            return dense, tf.ones([])
        # Of a table the rows that were looked up say all; the norm of the others is 0.
        parts = [g.values if isinstance(g, tf.IndexedSlices) else g for g in grads if g is not None]
        norm = tf.linalg.global_norm(parts)
        return dense, self.max_gradient_norm / tf.maximum(norm, self.max_gradient_norm)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        rate_correction, epsilon_correction = self._corrections
        decay = self.weight_decay_rate if self._decays[index] else 0.0
        # Clipping, both moments, decay and update in one compiled pass over memory, where nothing but
        # memory is the limit. Replicas are left to TensorFlow, which cannot compile across devices.
        update = self._update if self._replicated else self._compiled_update
        update(
            variable,
            self._momentums[index].value,
            self._velocities[index].value,
            tf.cast(gradient, variable.dtype),
            self._clip_factor,
            tf.cast(learning_rate, variable.dtype) * rate_correction,
            self.epsilon * epsilon_correction,
            tf.cast(learning_rate, variable.dtype) * decay,
        )

    def _update(self, variable, momentum, velocity, gradient, clip_factor, rate, epsilon, decay):
        gradient = gradient * clip_factor
        m = self.beta_1 * momentum + (1.0 - self.beta_1) * gradient
        v = self.beta_2 * velocity + (1.0 - self.beta_2) * tf.square(gradient)
        momentum.assign(m)
        velocity.assign(v)
        variable.assign(variable - rate * m / (tf.sqrt(v) + epsilon) - decay * variable)

    def get_config(self):
        return {
            **super().get_config(),
            "weight_decay_rate": self.weight_decay_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "bias_correction": self.bias_correction,
            "max_gradient_norm": self.max_gradient_norm,
            "exclude_from_decay": list(self.exclude_from_decay),
        }


def _rows_summed(gradient):
    """A sparse gradient with each row once: a token that occurs twice comes as two rows."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, owners = tf.unique(gradient.indices)
    sums = tf.math.unsorted_segment_sum(gradient.values, owners, tf.size(rows))
    return tf.IndexedSlices(sums, rows, gradient.dense_shape)
