"""The optimizer step: over all replicas and micro-batches, many of them in one call into TensorFlow."""

import functools
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from kbert.training.adversary import FastGradient, assign_in_replica
from kbert.training.freezing import GradualUnfreezing
from kbert.training.loss_scale import LossScale
from kbert.training.objective import Objective, added, cut

#: Says that nothing in a function waits for AutoGraph, whose rewriting of a model takes seconds.
plain = tf.autograph.experimental.do_not_convert


class TrainSteps:
    """Optimizer steps on the gradient of the global mean: that of all replicas and micro-batches.

    With several micro-batches the weights are added up first, over all of them, and then the gradients of
    the sums, each already divided by its whole weight. So the sum of any number of losses is exact,
    however their weights are spread, and one pass backward a micro-batch is all it costs.

    A batch can also be computed in parts that lie side by side in one graph. The numbers are the same; a CPU
    works on the parts at once, where most operations are too small to be shared out among its cores.

    To be made and called in the scope of the strategy.

    Args:
        model: Built; called as `model(inputs, training=True)`. One whose rows do not all cost the same has a
            method `row_costs(inputs)`, which gives int32 (B,) to go by where a batch is cut in parts.
        optimizer: `apply` is called in each replica, with that replica's share of the gradient. It must not
            scale the loss.
        objective: Turns outputs and targets into terms.
        counts: Name -> function of the inputs that gives a number to add up, such as that of the tokens.
        accumulate: Micro-batches of one step.
        loss_scale: For float16.
        parts: Into which each batch is cut along its first axis. An objective that compares rows with each
            other says so by an attribute `whole_batch = True`, and none of its batches is cut. One that wants
            several passes of the model has an attribute `passes`, and is given a list of outputs. One that
            does without some of the outputs says so in `call_options`, keyword arguments of the model.
        adversary: Makes each step a second time, on a table that it moved.
        unfreezing: When which weights are trained; None: all, always.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        counts: Mapping[str, Callable],
        accumulate: int = 1,
        loss_scale: LossScale | None = None,
        parts: int = 1,
        adversary: FastGradient | None = None,
        unfreezing: GradualUnfreezing | None = None,
    ):
        _check_optimizer(optimizer)
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self.counts = counts
        self.accumulate = accumulate
        self.loss_scale = loss_scale
        self.parts = 1 if getattr(objective, "whole_batch", False) else parts
        self.names = (*objective.losses, *objective.metrics)
        self._variables = model.trainable_variables
        if not self._variables:
            why = "all of them are frozen" if model.built else "call model.build() first"
            raise ValueError(f"{model.name} has no weights to train: {why}")
        if not optimizer.built:
            optimizer.build(self._variables)
        self.adversary = adversary
        if adversary is not None:
            self._table = adversary.table_of(self._variables)
        self._first_steps = [0] * len(self._variables)
        if unfreezing is not None:
            self._first_steps = unfreezing.first_steps([variable.path for variable in self._variables])
            optimizer.begin_at(self._first_steps)
        self._stage = 0

    @property
    def variables(self) -> list[keras.Variable]:
        """All that the steps change, the seeds of the dropout layers included."""
        of_scale = self.loss_scale.variables if self.loss_scale is not None else []
        return [*self.model.variables, *self.optimizer.variables, *of_scale]

    def next_change(self, step: int) -> int | None:
        """The first step after this one from which on more weights are trained; None if there is none."""
        return min((first for first in self._first_steps if first > step), default=None)

    def stage(self, step: int) -> int:
        """The step with which the weights that are trained at this step began to be the ones."""
        return max(first for first in self._first_steps if first <= step)

    @tf.function
    def run(self, iterator, count, stage=0):
        """Up to `count` steps; fewer where a loss is not finite, the last one being that step.

        Args:
            iterator: Of the batches.
            count: int32 (), so many that none is at or after `next_change`.
            stage: Python int, of `stage`: for each the steps are compiled anew.

        Returns:
            int32 (), the steps done; and float64 (N, 2), sum and weight of each term, in the order of
            `names`, and then of `counts`, over all these steps.
        """
        self._stage = stage
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
        counted = dict(zip(self.counts, sums[len(self.names) :], strict=True))
        # `loss` first, and the sum of all, also where one of several terms has that name.
        return {"loss": loss, **means} | {"loss": loss, **counted}

    def overflowed(self) -> bool:
        """Whether no factor is small enough for the gradients, so that float16 leaves out every step."""
        return self.loss_scale is not None and float(self.loss_scale.factor.numpy()) < 1.0

    def _begun(self, values: list) -> list:
        """Of one value for each weight, those of the weights that are trained at this stage."""
        pairs = zip(values, self._first_steps, strict=True)
        return [value for value, first in pairs if first <= self._stage]

    def _step(self, batches):
        gradients, sums = self._all_gradients(batches)
        # The others are left out, not given without a gradient: Keras would warn of them.
        plain(self.optimizer.apply)(self._begun(gradients), self._begun(self._variables))
        return sums

    def _scaled_step(self, batches, loss_scale: LossScale):
        """The update in a run of its own: a condition around it must not be inside of a replica."""
        strategy = tf.distribute.get_strategy()
        gradients, sums, overflows = strategy.run(self._unscaled_gradients, args=(batches, loss_scale.factor))
        finite = tf.equal(strategy.reduce(tf.distribute.ReduceOp.SUM, overflows, axis=None), 0)
        if finite:
            strategy.run(self.optimizer.apply, args=(self._begun(gradients), self._begun(self._variables)))
        loss_scale.update(finite)
        return sums

    def _unscaled_gradients(self, batches, factor: keras.Variable):
        gradients, sums = self._all_gradients(batches)
        gradients = [None if g is None else tf.convert_to_tensor(g) / factor.value for g in gradients]
        bad = [tf.reduce_any(~tf.math.is_finite(g)) for g in gradients if g is not None]
        return gradients, sums, tf.cast(tf.reduce_any(bad), tf.int32)

    def _all_gradients(self, batches):
        """Gradients and terms; with an adversary the gradients of both passes, and the terms of the first."""
        gradients, sums = self._gradients(batches)
        if self.adversary is None:
            return gradients, sums
        table = self._variables[self._table]
        value = tf.identity(table.value)
        assign_in_replica(table, self.adversary.moved(value, gradients[self._table]))
        others, _ = self._gradients(batches)
        assign_in_replica(table, value)
        return [_sum_of(*pair) for pair in zip(gradients, others, strict=True)], sums

    def _gradients(self, batches):
        if len(batches) == 1:
            return plain(self._gradients_of)(batches[0], None)
        choices = [functools.partial(tf.nest.map_structure, tf.identity, batch) for batch in batches]
        weights = tf.zeros([len(self.objective.losses)])
        for index in tf.range(len(batches)):
            weights += self._weights_of(tf.switch_case(index, choices))
        weights = _over_replicas(weights)

        gradients = [tf.zeros(v.shape, v.dtype) for v in self._variables]
        sums = tf.zeros([len(self.names) + len(self.counts), 2])
        unused = set()  # Known once the body of the loop was traced.
        # A function that is not inlined: Grappler turns sums into operations on a temporary variable, and in
        # a loop inside a loop leaks it, so that the second call fails with AlreadyExistsError. A new one for
        # each trace, as each replica has its own variables.
        gradients_of = tf.function(
            self._gradients_of, autograph=False, experimental_attributes={"_noinline": True}
        )
        for index in tf.range(len(batches)):
            new, terms = gradients_of(tf.switch_case(index, choices), weights)
            unused.update(i for i, g in enumerate(new) if g is None)
            dense = [None if g is None else tf.convert_to_tensor(g) for g in new]
            gradients = [g if n is None else tf.add(g, n) for g, n in zip(gradients, dense, strict=True)]
            sums += terms
        # A gradient of 0 would decay the moments and the weight; none at all leaves them as they are.
        return [None if i in unused else g for i, g in enumerate(gradients)], sums

    def _gradients_of(self, batch, weights):
        """Gradients and terms of a batch; without `weights` they are those of this batch in all replicas."""
        with tf.GradientTape() as tape:
            terms = added(
                [
                    self.objective(self._outputs(inputs, training=True), targets)
                    for inputs, targets in cut(batch, self.parts, self._row_costs(batch[0]))
                ]
            )
            if weights is None:
                weights = _over_replicas(tf.stack([terms[name][1] for name in self.objective.losses]))
            losses = zip(self.objective.losses, tf.unstack(weights), strict=True)
            loss = tf.add_n([terms[name][0] / weight for name, weight in losses])
            if self.loss_scale is not None:
                loss *= self.loss_scale.factor.value
        found = iter(tape.gradient(loss, [variable.value for variable in self._begun(self._variables)]))
        gradients = [next(found) if first <= self._stage else None for first in self._first_steps]
        counted = [(tf.cast(count(batch[0]), tf.float32), tf.ones([])) for count in self.counts.values()]
        return gradients, tf.stack([tf.stack(term) for term in [*map(terms.get, self.names), *counted]])

    def _row_costs(self, inputs):
        row_costs = getattr(self.model, "row_costs", None)
        return row_costs and row_costs(inputs)

    def _outputs(self, inputs, training: bool):
        options = getattr(self.objective, "call_options", {})
        passes = getattr(self.objective, "passes", None)
        if passes is None:
            return self.model(inputs, training=training, **options)
        return [self.model(inputs, training=training, **options) for _ in range(passes)]

    def _weights_of(self, batch):
        """Weights of the losses. They need no outputs, so TensorFlow leaves the model out of this pass."""
        inputs, targets = batch
        terms = self.objective(self._outputs(inputs, training=False), targets)
        return tf.stack([terms[name][1] for name in self.objective.losses])


def _check_optimizer(optimizer):
    """Refuses one that divides gradients by a factor that no loss here was multiplied by."""
    if hasattr(optimizer, "inner_optimizer") or getattr(optimizer, "loss_scale_factor", None) is not None:
        raise ValueError(
            f"{optimizer.name} scales the loss, which kbert.training.fit does where it has to; give it the "
            f"optimizer alone, without LossScaleOptimizer and loss_scale_factor"
        )


def _sum_of(first, second):
    """Of two gradients of a weight; the rows of a table stay rows."""
    if first is None or second is None:
        return first if second is None else second
    if isinstance(first, tf.IndexedSlices) and isinstance(second, tf.IndexedSlices):
        values = tf.concat([first.values, second.values], axis=0)
        return tf.IndexedSlices(values, tf.concat([first.indices, second.indices], 0), first.dense_shape)
    return tf.convert_to_tensor(first) + tf.convert_to_tensor(second)


def _over_replicas(weights):
    replica = tf.distribute.get_replica_context()
    total = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(weights))
    return tf.maximum(total, 1e-5)
