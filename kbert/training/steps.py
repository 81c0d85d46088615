"""The optimizer step: over all replicas and micro-batches, many of them in one call into TensorFlow."""

import functools
from collections.abc import Callable, Mapping
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from kbert.training.loss_scale import LossScale


class Objective(Protocol):
    """What to minimise and what to watch, in terms of (sum, weight) pairs.

    Attributes:
        losses: Names of the terms whose means are added up and minimised.
        metrics: Names of the other terms.
    """

    @property
    def losses(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def metrics(self) -> tuple[str, ...]: ...  # noqa: D102

    def __call__(self, outputs, targets) -> dict:
        """Name -> (sum, weight), two float32 scalars, for every name in `losses` and `metrics`.

        The weights follow from the targets alone, whatever the outputs are.
        """
        ...


class TrainSteps:
    """Optimizer steps on the gradient of the global mean: that of all replicas and micro-batches.

    With several micro-batches the weights are added up first, over all of them, and then the gradients of
    the sums, each already divided by its whole weight. So the sum of any number of losses is exact,
    however their weights are spread, and one pass backward a micro-batch is all it costs.

    To be made and called in the scope of the strategy.

    Args:
        model: Built; called as `model(inputs, training=True)`.
        optimizer: `apply` is called in each replica, with that replica's share of the gradient.
        objective: Turns outputs and targets into terms.
        counts: Name -> function of the inputs that gives a number to add up, such as that of the tokens.
        accumulate: Micro-batches of one step.
        loss_scale: For float16.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        counts: Mapping[str, Callable],
        accumulate: int = 1,
        loss_scale: LossScale | None = None,
    ):
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self.counts = counts
        self.accumulate = accumulate
        self.loss_scale = loss_scale
        self.names = (*objective.losses, *objective.metrics)
        self._variables = model.trainable_variables
        if not optimizer.built:
            optimizer.build(self._variables)

    @tf.function
    def run(self, iterator, count):
        """Up to `count` steps; fewer where a loss is not finite, the last one being that step.

        Returns:
            int32 (), the steps done; and float64 (N, 2), sum and weight of each term, in the order of
            `names`, and then of `counts`, over all these steps.
        """
        strategy = tf.distribute.get_strategy()
        totals = tf.zeros([len(self.names) + len(self.counts), 2], tf.float64)
        done, finite = tf.constant(0), tf.constant(True)
        while tf.logical_and(done < count, finite):
            batches = [iterator.get_next() for _ in range(self.accumulate)]
            if self.loss_scale is None:
                sums = strategy.run(self._step, args=(batches,))
            else:
                sums = self._scaled_step(batches, self.loss_scale)
            totals += tf.cast(strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None), tf.float64)
            finite = tf.reduce_all(tf.math.is_finite(totals[: len(self.objective.losses)]))
            done += 1
        return done, totals

    def means(self, totals: np.ndarray) -> dict[str, float]:
        """The logs of some steps: `loss`, the mean of each term, and the sum of each count."""
        sums, weights = totals.T.tolist()
        means = {
            name: total / weight if weight else 0.0
            for name, total, weight in zip(self.names, sums, weights, strict=False)
        }
        loss = sum(means[name] for name in self.objective.losses)
        return {"loss": loss, **means, **dict(zip(self.counts, sums[len(self.names) :], strict=True))}

    def overflowed(self) -> bool:
        """Whether no factor is small enough for the gradients, so that float16 leaves out every step."""
        return self.loss_scale is not None and float(self.loss_scale.factor.numpy()) < 1.0

    def _step(self, batches):
        gradients, sums = self._gradients(batches)
        self.optimizer.apply(gradients, self._variables)
        return sums

    def _scaled_step(self, batches, loss_scale: LossScale):
        """The update in a run of its own: a condition around it must not be inside of a replica."""
        strategy = tf.distribute.get_strategy()
        gradients, sums, overflows = strategy.run(self._unscaled_gradients, args=(batches, loss_scale.factor))
        finite = tf.equal(strategy.reduce(tf.distribute.ReduceOp.SUM, overflows, axis=None), 0)
        if finite:
            strategy.run(self.optimizer.apply, args=(gradients, self._variables))
        loss_scale.update(finite)
        return sums

    def _unscaled_gradients(self, batches, factor: keras.Variable):
        gradients, sums = self._gradients(batches)
        gradients = [None if g is None else tf.convert_to_tensor(g) / factor.value for g in gradients]
        bad = [tf.reduce_any(~tf.math.is_finite(g)) for g in gradients if g is not None]
        return gradients, sums, tf.cast(tf.reduce_any(bad), tf.int32)

    def _gradients(self, batches):
        if len(batches) == 1:
            return self._gradients_of(batches[0], None)
        choices = [functools.partial(tf.nest.map_structure, tf.identity, batch) for batch in batches]
        weights = tf.zeros([len(self.objective.losses)])
        for index in tf.range(len(batches)):
            weights += self._weights_of(tf.switch_case(index, choices))
        weights = _over_replicas(weights)

        gradients = [tf.zeros(v.shape, v.dtype) for v in self._variables]
        sums = tf.zeros([len(self.names) + len(self.counts), 2])
        unused = set()  # Known once the body of the loop was traced.
        for index in tf.range(len(batches)):
            new, terms = self._gradients_of(tf.switch_case(index, choices), weights)
            unused.update(i for i, g in enumerate(new) if g is None)
            dense = [None if g is None else tf.convert_to_tensor(g) for g in new]
            gradients = [g if n is None else tf.add(g, n) for g, n in zip(gradients, dense, strict=True)]
            sums += terms
        # A gradient of 0 would decay the moments and the weight; none at all leaves them as they are.
        return [None if i in unused else g for i, g in enumerate(gradients)], sums

    def _gradients_of(self, batch, weights):
        """Gradients and terms of a batch; without `weights` they are those of this batch in all replicas."""
        inputs, targets = batch
        with tf.GradientTape() as tape:
            terms = self.objective(self.model(inputs, training=True), targets)
            if weights is None:
                weights = _over_replicas(tf.stack([terms[name][1] for name in self.objective.losses]))
            parts = zip(self.objective.losses, tf.unstack(weights), strict=True)
            loss = tf.add_n([terms[name][0] / weight for name, weight in parts])
            if self.loss_scale is not None:
                loss *= self.loss_scale.factor.value
        gradients = tape.gradient(loss, [v.value for v in self._variables])
        counted = [(tf.cast(count(inputs), tf.float32), tf.ones([])) for count in self.counts.values()]
        return gradients, tf.stack([tf.stack(term) for term in [*map(terms.get, self.names), *counted]])

    def _weights_of(self, batch):
        """Weights of the losses. They need no outputs, so TensorFlow leaves the model out of this pass."""
        inputs, targets = batch
        terms = self.objective(self.model(inputs, training=False), targets)
        return tf.stack([terms[name][1] for name in self.objective.losses])


def _over_replicas(weights):
    replica = tf.distribute.get_replica_context()
    total = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(weights))
    return tf.maximum(total, 1e-5)


def spread_seeds(model: keras.Model) -> None:
    """Gives each replica random numbers of its own; from the same seeds they would drop the same units."""
    strategy = tf.distribute.get_strategy()
    seeds = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    if strategy.num_replicas_in_sync == 1 or not seeds:
        return

    @tf.function
    def spread():
        strategy.run(shift)

    def shift():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        for seed in seeds:
            # The first replica keeps its seed: it is the one that a checkpoint holds.
            seed.assign_add(tf.stack([tf.cast(number, seed.dtype) * 1_000_003, tf.zeros([], seed.dtype)]))

    spread()
