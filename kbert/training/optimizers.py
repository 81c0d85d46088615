"""`BertAdamW`, with which BERT was trained, and `AdamW`, as it is mostly fine-tuned today."""

import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from kbert.training.layer_rates import layer_rate_factors


@keras.saving.register_keras_serializable(package="kbert")
class AdamW(keras.optimizers.Optimizer):
    """Adam with decoupled weight decay, exclusion by path, and clipping by the norm of the whole gradient.

    m ← β₁m + (1-β₁)g;  v ← β₂v + (1-β₂)g²;  w ← w - lr·(m̂ / (√v̂ + ε) + λw)

    Three things differ from `keras.optimizers.AdamW`. Weights are excluded from decay by their *path*, and
    the list survives `get_config` (Keras matches leaf names and forgets them). The gradient is clipped
    *after* it was summed over replicas, so N replicas do what one device would do. And the bias
    correction m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ) can be left out, as Google's original does.

    Averages of the weights, a ← a + (1-decay)(w - a) after each update and a = w after the first, are often
    better than the last weights; `averaged_weights` puts them into the model for a while.

    Args:
        learning_rate: A number or a `keras.optimizers.schedules.LearningRateSchedule`.
        weight_decay_rate: λ.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to √v̂.
        bias_correction: `False` gives google-research/bert's numbers; `True` is steadier on small data.
        max_gradient_norm: Upper limit of the global norm; None leaves the gradient as it is.
        exclude_from_decay: Regular expressions; a weight does not decay if one is found in the last two names
            of its path, its layer's and its own. Those before are of models around, which users name.
        layer_decay: Factor of the learning rate from one layer to the one below it, such as 0.9; see
            `layer_rate_factors`. None: one rate for all weights.
        average_decay: What an average keeps of itself at an update, such as 0.999. None: no averages.

    Raises:
        ValueError: An option of Keras' base class that acts within one replica, such as `global_clipnorm`;
            one pattern that is not in a list; or, in `build`, weights that are not float32.

    Reference:
        Loshchilov and Hutter, 2019, algorithm 2; google-research/bert, optimization.py; for the effect of
        the correction Mosbach et al., 2021, "On the Stability of Fine-tuning BERT". Departure from the first,
        as in the second: λ is multiplied by the whole rate, there by the schedule's factor without the peak.
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
        exclude_from_decay: Sequence[str] = ("layer_norm", "bias"),
        layer_decay: float | None = None,
        average_decay: float | None = None,
        name: str = "adamw",
        **kwargs,
    ):
        _refuse_options_of_one_replica(kwargs)
        if isinstance(exclude_from_decay, str):  # Each of its letters would be a pattern.
            raise ValueError(f"exclude_from_decay={exclude_from_decay!r}; expected a list of patterns")
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.weight_decay_rate = weight_decay_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.bias_correction = bias_correction
        self.max_gradient_norm = max_gradient_norm
        self.exclude_from_decay = exclude_from_decay
        self.layer_decay = layer_decay
        self.average_decay = average_decay
        self._first_steps: Sequence[int] = ()
        self._compiled_update = tf.function(self._update, jit_compile=True)
        self._compiled_average = tf.function(_move_towards, jit_compile=True)

    def build(self, variables):
        if self.built:
            return
        _check_dtypes(variables)
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        self._first_steps = [0] * len(variables)
        paths = [variable.path for variable in variables]
        ends = ["/".join(path.split("/")[-2:]) for path in paths]
        self._decays = [not any(re.search(p, end) for p in self.exclude_from_decay) for end in ends]
        if self.layer_decay is not None:
            self._rate_factors = layer_rate_factors(paths, self.layer_decay)
        if self.average_decay is not None:
            self._averages = self.add_optimizer_variables(variables, "average")

    def begin_at(self, first_steps: Sequence[int]) -> None:
        """Says after how many updates each weight has its first one, from which its bias correction counts.

        Args:
            first_steps: One for each weight, in the order of `build`; all 0 unless this is called.
        """
        self._first_steps = list(first_steps)

    def apply(self, grads, trainable_variables=None):
        """Updates the variables; inside `strategy.run`, with the sum of all replicas' gradients."""
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            self._compiled = True
            self._corrections = {first: self._step_corrections(first) for first in {0, *self._first_steps}}
            average_share = self._average_share()
            grads, self._clip_factor = self._clipped(grads)
            super().apply(grads, trainable_variables)
            for variable, average in self._averaged():
                self._compiled_average(*map(self._on_this_device, (average, variable)), average_share)
            return
        dense = [None if g is None else tf.convert_to_tensor(g) for g in grads]
        summed = iter(replica.all_reduce(tf.distribute.ReduceOp.SUM, [g for g in dense if g is not None]))
        grads = [None if g is None else next(summed) for g in dense]
        # The base class would sum them once more, so the updates are made here, once across all replicas.
        replica.merge_call(self._update_everywhere, (grads, trainable_variables or self._trainable_variables))

    def _update_everywhere(self, strategy, grads, variables):
        # Summed gradients are the same on all replicas: those of this process' first give the norm of all.
        local = [() if g is None else strategy.experimental_local_results(g) for g in grads]
        _, self._clip_factor = self._clipped([own[0] if own else None for own in local])
        # TensorFlow cannot compile what several devices of one process share.
        self._compiled = max(map(len, local)) == 1
        self._corrections = {first: self._step_corrections(first) for first in {0, *self._first_steps}}
        rate, average_share = self.learning_rate, self._average_share()
        for gradient, variable in zip(grads, variables, strict=True):
            if gradient is not None:
                strategy.extended.update(
                    variable.value,
                    lambda component, own_gradient: self.update_step(own_gradient, component, rate),
                    args=(gradient,),
                    group=False,
                )
        move = self._compiled_average if self._compiled else _move_towards
        for variable, average in self._averaged():
            arguments = (self._on_this_device(variable), average_share)
            strategy.extended.update(average.value, move, args=arguments, group=False)
        self.iterations.assign_add(1)

    def _step_corrections(self, first):
        """Factors of the learning rate and of ε, float32 scalars, for all weights that began at this step.

        m̂/(√v̂ + ε) = √(1-β₂ᵗ)/(1-β₁ᵗ) · m/(√v + √(1-β₂ᵗ)·ε), in float64 because 1-β₂ᵗ cancels digits.
        """
        if not self.bias_correction:
            return tf.ones([]), tf.ones([])
        step = tf.cast(tf.maximum(self.iterations.value + 1 - first, 1), tf.float64)
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
        rate_correction, epsilon_correction = self._corrections[self._first_steps[index]]
        learning_rate = tf.cast(learning_rate, variable.dtype)
        if self.layer_decay is not None:
            learning_rate *= self._rate_factors[index]
        # Clipping, both moments, decay and update in one compiled pass over memory, where nothing but
        # memory is the limit. One function for all weights is no faster, and compiles for longer.
        update = self._compiled_update if self._compiled else self._update
        update(
            variable,
            self._on_this_device(self._momentums[index]),
            self._on_this_device(self._velocities[index]),
            tf.cast(gradient, variable.dtype),
            self._clip_factor,
            learning_rate,
            rate_correction,
            self.epsilon * epsilon_correction,
            self._decays[index],
        )

    def _on_this_device(self, variable):
        """The variable; where the update is compiled, the only one behind a distributed variable.

        Given a distributed one, `tf.function` takes that of the first call for those of all later calls.
        """
        if not self._compiled:
            return variable.value
        return tf.distribute.get_strategy().experimental_local_results(variable.value)[0]

    def _update(self, variable, momentum, velocity, gradient, clip_factor, rate, correction, epsilon, decays):
        """The update of one weight; `rate` · `correction` is Adam's rate, `rate` alone that of the decay."""
        m, v = self._moved_moments(momentum, velocity, gradient * clip_factor)
        decay = rate * self.weight_decay_rate if decays else 0.0
        variable.assign(variable - rate * correction * m / (tf.sqrt(v) + epsilon) - decay * variable)

    def _moved_moments(self, momentum, velocity, gradient):
        m = self.beta_1 * momentum + (1.0 - self.beta_1) * gradient
        v = self.beta_2 * velocity + (1.0 - self.beta_2) * tf.square(gradient)
        momentum.assign(m)
        velocity.assign(v)
        return m, v

    def averages(self) -> list[tuple[keras.Variable, keras.Variable]]:
        """Each trained weight with its average.

        Raises:
            ValueError: There are none, for want of `average_decay` or of a first update.
        """
        if self.average_decay is None:
            raise ValueError("average_decay=None: no averages are kept; give a number such as 0.999")
        if not self.built or int(self.iterations.numpy()) == 0:
            raise ValueError("there are no averages before the first update")
        return self._averaged()

    def _averaged(self):
        if self.average_decay is None:
            return []
        return list(zip(self._trainable_variables, self._averages, strict=True))

    def _average_share(self):
        """What an average takes of the new weight: all of it at the first update."""
        if self.average_decay is None:
            return None
        return tf.where(tf.equal(self.iterations.value, 0), 1.0, 1.0 - self.average_decay)

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
            "layer_decay": self.layer_decay,
            "average_decay": self.average_decay,
        }


@keras.saving.register_keras_serializable(package="kbert")
class BertAdamW(AdamW):
    """The optimizer of google-research/bert: `AdamW` with Google's defaults.

    Without bias correction the first updates are larger than Adam's: after one of them m/√v is
    0.1g/√(0.001g²) ≈ 3 instead of 1. The warm-up hides that in pretraining; in fine-tuning on little data it
    is what makes some seeds fail, and `bias_correction=True` mends it. With
    `LinearWarmup(decay_from_start=True)` the trajectory is Google's own.

    Args:
        learning_rate: As of `AdamW`.
        bias_correction: As of `AdamW`, and so is every other option.
        exclude_from_decay: Google's list, which fits the paths of its checkpoints and of kbert's models.

    Example:
        >>> BertAdamW(1e-4).bias_correction
        False

    Reference:
        google-research/bert, optimization.py, `AdamWeightDecayOptimizer`.
    """

    def __init__(
        self,
        learning_rate=5e-5,
        *,
        bias_correction: bool = False,
        exclude_from_decay: Sequence[str] = ("LayerNorm", "layer_norm", "bias"),
        name: str = "bert_adamw",
        **options,
    ):
        super().__init__(
            learning_rate,
            bias_correction=bias_correction,
            exclude_from_decay=exclude_from_decay,
            name=name,
            **options,
        )


def _refuse_options_of_one_replica(options):
    """Keras' own would be applied before the sum over replicas, or to the sum of micro-batches not at all."""
    given = [name for name, value in options.items() if value and name != "ema_momentum"]
    if given:
        raise ValueError(
            f"{', '.join(given)}: not an option here; clip by max_gradient_norm, decay by weight_decay_rate, "
            f"average by average_decay, and leave accumulation and loss scaling to kbert.training.fit"
        )


def _check_dtypes(variables):
    """Refuses weights of 16 bits above all: there a step of 1e-5, and 0.001 of a moment, are rounded away."""
    for variable in variables:
        dtype = keras.backend.standardize_dtype(variable.dtype)
        if dtype != "float32":
            raise ValueError(
                f"{variable.path} is {dtype}; expected weights of float32: make the model with the dtype "
                f"float32, mixed_bfloat16 or mixed_float16"
            )


def _move_towards(average, variable, share):
    average.assign(average + share * (variable - average))


def _rows_summed(gradient):
    """A sparse gradient with each row once: a token that occurs twice comes as two rows."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, owners = tf.unique(gradient.indices)
    sums = tf.math.unsorted_segment_sum(gradient.values, owners, tf.size(rows))
    return tf.IndexedSlices(sums, rows, gradient.dense_shape)
