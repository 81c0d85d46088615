"""The training loop: any `keras.Model`, any `tf.distribute` strategy; it knows nothing of BERT.

`Model.fit` averages means over replicas and fails under `MultiWorkerMirroredStrategy`. This loop sums
numerators and denominators apart, so that a masked token weighs the same whichever replica it is on, runs
several steps per call into TensorFlow, and still drives ordinary Keras callbacks.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import keras
import tensorflow as tf


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
        """Name -> (sum, weight), two float32 scalars, for every name in `losses` and `metrics`."""
        ...


def fit(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    objective: Objective,
    dataset: tf.data.Dataset,
    *,
    steps_per_epoch: int,
    epochs: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    evaluate: Callable[[], dict[str, float]] | None = None,
    steps_per_call: int = 20,
) -> list[dict[str, float]]:
    """Trains the model on the dataset; call it inside `strategy.scope()` of the strategy to use.

    Args:
        model: Built; called as `model(inputs, training=True)`.
        optimizer: Receives the gradient of the global mean loss.
        objective: Turns outputs and targets into losses and metrics.
        dataset: Of (inputs, targets) with global batches; at least `epochs · steps_per_epoch` of them.
        steps_per_epoch: Optimizer steps between two calls of `on_epoch_end`.
        epochs: Number of epochs.
        callbacks: Keras callbacks; `on_train_batch_end` comes once per `steps_per_call` steps, with the
            index of the last step done.
        evaluate: Called at the end of each epoch; its numbers join the logs, with `val_` before.
        steps_per_call: Optimizer steps per call of the compiled function.

    Returns:
        The logs of each epoch: means of all terms, `loss` (their sum where there are several losses).

    Raises:
        FloatingPointError: The loss is not finite.
        ValueError: The dataset ended too early.
    """
    strategy = tf.distribute.get_strategy()
    run_steps = _compile(model, optimizer, objective, strategy)
    iterator = iter(strategy.experimental_distribute_dataset(dataset))
    calls = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=epochs, steps=steps_per_epoch, add_history=False
    )
    history = []
    calls.on_train_begin()
    for epoch in range(epochs):
        calls.on_epoch_begin(epoch)
        totals = tf.zeros([len(objective.losses) + len(objective.metrics), 2], tf.float64)
        for first, count in _chunks(steps_per_epoch, steps_per_call):
            calls.on_train_batch_begin(first)
            try:
                step_totals = run_steps(iterator, tf.constant(count))
            except tf.errors.OutOfRangeError:
                raise ValueError(
                    f"the dataset ended before epoch {epoch}, step {first + count}; expected "
                    f"{epochs} epochs of {steps_per_epoch} batches"
                ) from None
            totals += step_totals
            calls.on_train_batch_end(first + count - 1, _means(objective, step_totals.numpy(), first + count))
        logs = _means(objective, totals.numpy(), steps_per_epoch)
        if evaluate is not None:
            logs |= {f"val_{name}": value for name, value in evaluate().items()}
        calls.on_epoch_end(epoch, logs)
        history.append(logs)
    calls.on_train_end()
    return history


def _compile(model, optimizer, objective, strategy):
    names = (*objective.losses, *objective.metrics)
    variables = model.trainable_variables
    if not optimizer.built:
        optimizer.build(variables)

    def replica_step(batch):
        inputs, targets = batch
        with tf.GradientTape() as tape:
            terms = objective(model(inputs, training=True), targets)
            # The mean over all replicas: this one's sum divided by everybody's weight.
            loss = tf.add_n([terms[name][0] / _global(terms[name][1]) for name in objective.losses])
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return tf.cast(tf.stack([tf.stack(terms[name]) for name in names]), tf.float64)

    @tf.function
    def run_steps(iterator, count):
        totals = tf.zeros([len(names), 2], tf.float64)
        for _ in tf.range(count):
            sums = strategy.run(replica_step, args=(next(iterator),))
            totals += strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
        return totals

    return run_steps


def _global(weight):
    replica = tf.distribute.get_replica_context()
    total = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(weight))
    return tf.maximum(total, 1e-5)


def _chunks(steps: int, size: int) -> Iterable[tuple[int, int]]:
    for first in range(0, steps, size):
        yield first, min(size, steps - first)


def _means(objective, totals, step: int) -> dict[str, float]:
    names = (*objective.losses, *objective.metrics)
    means = {
        name: float(total / weight) if weight else 0.0
        for name, (total, weight) in zip(names, totals, strict=True)
    }
    loss = sum(means[name] for name in objective.losses)
    if not loss - loss == 0:
        raise FloatingPointError(
            f"the loss is {loss} at step {step}; lower the learning rate, or train in float32"
        )
    return {"loss": loss, **means}
