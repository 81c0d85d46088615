"""The training loop: any `keras.Model`, any `tf.distribute` strategy; it knows nothing of BERT.

`Model.fit` averages means over replicas and fails under `MultiWorkerMirroredStrategy`. This loop sums
numerators and denominators apart, so that a masked token weighs the same whichever replica it is on, runs
several steps per call into TensorFlow, and still drives ordinary Keras callbacks. With checkpoints, a run
that was killed goes on as if nothing had been.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kbert.training.adversary import FastGradient
from kbert.training.batches import Batches, batches_from
from kbert.training.checkpointing import Checkpoints
from kbert.training.faults import PEER_ERRORS, StopSignals, WorkerLost, keep_batch
from kbert.training.freezing import GradualUnfreezing
from kbert.training.loss_scale import LossScale
from kbert.training.objective import Objective
from kbert.training.run_state import RunState
from kbert.training.steps import TrainSteps
from kbert.training.strategies import is_chief, is_multi_worker, spread_seeds, summing_over_workers

#: How long TensorFlow may be left alone: nobody waits longer than that for a run to stop. The first two calls
#: may take longer: they show what a step takes.
CALL_SECONDS = 5.0


def fit(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    objective: Objective,
    dataset: Batches,
    *,
    steps_per_epoch: int,
    epochs: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    evaluate: Callable[[], dict[str, float]] | None = None,
    steps_per_call: int = 20,
    accumulate: int = 1,
    parts: int = 1,
    adversary: FastGradient | None = None,
    unfreezing: GradualUnfreezing | None = None,
    counts: Mapping[str, Callable] | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[dict[str, float]]:
    """Trains the model on the dataset; call it inside `strategy.scope()` of the strategy to use.

    Args:
        model: Built; called as `model(inputs, training=True)`.
        optimizer: Receives the gradient of the global mean loss. With Keras's `use_ema=True` the model ends
            with the averages, as in Keras's own `fit`.
        objective: Turns outputs and targets into losses and metrics. What the model adds itself, as by
            regularizers (`model.losses`), has no part in them.
        dataset: Of (inputs, targets) with global batches, at least `epochs · steps_per_epoch · accumulate`
            of them, always the same; or a function from a number to the batches from that number on.
        steps_per_epoch: Optimizer steps between two calls of `on_epoch_end`.
        epochs: Number of epochs.
        callbacks: Keras callbacks; `on_train_batch_end` comes once per `steps_per_call` steps, with the
            index of the last step done. Until the run ends they find the optimizer as `model.optimizer`.
            Their `params` also have `first_step` (of the whole run, 0 unless it goes on from a checkpoint),
            `history` (the logs of the epochs so far) and `counts` (names). One that keeps something of its
            own, such as the best weights of Keras's `EarlyStopping`, begins anew when a run goes on; take
            `BestWeights`, which reads it from the history.
        evaluate: Called at the end of each epoch; its numbers join the logs, with `val_` before.
        steps_per_call: Optimizer steps between two calls of `on_train_batch_end`, in one call of the compiled
            function, or more where they take longer than `CALL_SECONDS`.
        accumulate: Batches whose gradients make up one step.
        parts: Into which the computation of a batch is cut; see `share_cores`. The result is the same, but
            for the order of sums and the units that dropout drops.
        adversary: Adds to each step the gradient at inputs that it made harder.
        unfreezing: Which weights begin to be trained when; needs an optimizer with `begin_at`, as `AdamW`.
        counts: Name -> function of the inputs that counts something, such as the tokens that are no
            padding; the logs hold the sums.
        checkpoints: Where the run is saved, and where it goes on from if it is there. SIGTERM and Ctrl-C
            then save first.

    Returns:
        The logs of each epoch: means of all terms, `loss` (their sum where there are several losses). They
        are the same, and so are the weights, whether the run was interrupted or not; but see `callbacks`.

    Raises:
        FloatingPointError: The loss is not finite, or a weight that was to be measured or saved.
        InputError: A checkpoint cannot be written, or is of another run, or one is training there now.
        Terminated: SIGTERM came, and the run was saved: exit code 75.
        ValueError: The dataset ended too early or is not of pairs, no weight of the model trains, a count is
            below 1, or the optimizer scales the loss, which `fit` does.
        WorkerLost: Another process of the run has gone.
    """
    _check_counts(
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        steps_per_call=steps_per_call,
        accumulate=accumulate,
        parts=parts,
    )
    loss_scale = LossScale() if model.dtype_policy.compute_dtype == "float16" else None
    steps = TrainSteps(
        model, optimizer, objective, counts or {}, accumulate, loss_scale, parts, adversary, unfreezing
    )
    run = _Run(steps, dataset, steps_per_epoch, checkpoints)
    with run.held_folder():
        return _train(run, epochs, callbacks, evaluate, steps_per_call)


def _train(run: "_Run", epochs, callbacks, evaluate, steps_per_call) -> list[dict[str, float]]:
    """The run, from where it is on; arguments as of `fit`."""
    model, state, steps_per_epoch = run.steps.model, run.state, run.steps_per_epoch
    if run.checkpoints is not None:
        state.restore(run.checkpoints, run.over_workers)
    spread_seeds(model)
    model.stop_training = state.stopped
    total_steps = epochs * steps_per_epoch
    calls = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=epochs, steps=steps_per_epoch, add_history=False,
        first_step=state.step, history=state.history, counts=tuple(run.steps.counts),
    )  # fmt: skip
    with _optimizer_of(model, run.steps.optimizer):
        calls.on_train_begin()
        with StopSignals(held=run.checkpoints is not None) as signals:
            begun = None
            while run.has_done_epoch or (state.step < total_steps and not model.stop_training):
                epoch = len(state.history)
                first = state.step - epoch * steps_per_epoch
                if epoch != begun:
                    calls.on_epoch_begin(epoch)
                    begun = epoch
                if run.has_done_epoch:
                    calls.on_epoch_end(epoch, run.end_epoch(evaluate))
                else:
                    calls.on_train_batch_begin(first)
                    count = min(steps_per_call - first % steps_per_call, steps_per_epoch - first)
                    logs = run.advance(count, until=lambda: signals.received is not None)
                    calls.on_train_batch_end(state.step - epoch * steps_per_epoch - 1, logs)
                state.stopped = model.stop_training
                signals.agree(run.over_workers)
                # Also before an epoch is measured: that may take long, and a process that is told to stop is
                # killed meanwhile. Going on, it measures first.
                is_due = run.has_done_epoch and evaluate is not None
                run.save(now=signals.agreed or model.stop_training or is_due or len(state.history) > epoch)
                signals.leave()
        run.steps.optimizer.finalize_variable_values(model.trainable_variables)
        calls.on_train_end()
    return state.history


def _check_counts(**counts: int) -> None:
    """Refuses 0, such as rows // batch_size of few rows: nothing would be trained, without a word."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count}; expected at least 1")


def _check_pairs(spec) -> None:
    if not (isinstance(spec, tuple) and len(spec) == 2):
        parts = f"{len(spec)} parts" if isinstance(spec, tuple) else type(spec).__name__
        raise ValueError(
            f"an element of the dataset is (inputs, targets); {parts} came; weights of rows go with targets"
        )


@contextlib.contextmanager
def _optimizer_of(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Shows callbacks the optimizer where Keras's own look for it, as that of a compiled model."""
    attributes = vars(model)  # To assign it would make it a part of the model for good.
    before = {name: attributes[name] for name in ("optimizer",) if name in attributes}
    attributes["optimizer"] = optimizer
    try:
        yield
    finally:
        del attributes["optimizer"]
        attributes.update(before)


class _Run:
    """The parts of a run, and how it moves on."""

    def __init__(self, steps: TrainSteps, dataset, steps_per_epoch, checkpoints):
        self.strategy = tf.distribute.get_strategy()
        self.over_workers = summing_over_workers(self.strategy)
        self.steps = steps
        self.dataset = dataset
        self.steps_per_epoch = steps_per_epoch
        self.checkpoints = checkpoints
        self.state = RunState(
            steps.variables,
            num_terms=len(steps.names) + len(steps.counts),
            form={"steps_per_epoch": steps_per_epoch, "accumulate": steps.accumulate},
        )
        self._iterator = None
        self._pace = _Pace()

    def held_folder(self) -> contextlib.AbstractContextManager:
        """Keeps other runs out of the folder of the checkpoints; the chief does it for all workers."""
        if self.checkpoints is None or not is_chief(self.strategy):
            return contextlib.nullcontext()
        return self.checkpoints.held()

    @property
    def has_done_epoch(self) -> bool:
        """Whether all steps of an epoch are done, of which there is no history yet."""
        return self.state.step == (len(self.state.history) + 1) * self.steps_per_epoch

    def advance(self, count: int, until: Callable[[], bool]) -> dict[str, float]:
        """Runs that many steps, or up to a checkpoint, or until asked to stop, and gives their means."""
        step = self.state.step
        if self.checkpoints is not None:
            count = min(count, self.checkpoints.every_steps - step % self.checkpoints.every_steps)
        change = self.steps.next_change(step)
        if change is not None:
            count = min(count, change - step)
        totals = self._call(min(count, self._pace.most))
        while self.state.step < step + count and not until():
            totals = totals + self._call(min(step + count - self.state.step, self._pace.most))
        rate = keras.ops.convert_to_numpy(self.steps.optimizer.learning_rate)
        return self.steps.means(totals) | {"learning_rate": float(rate)}

    def _call(self, count: int) -> np.ndarray:
        """One call into TensorFlow, and the sums of its steps."""
        state, started = self.state, time.monotonic()
        if self._iterator is None:
            batches = batches_from(self.dataset, state.step * self.steps.accumulate)
            _check_pairs(batches.element_spec)
            self._iterator = iter(self.strategy.experimental_distribute_dataset(_split_by_rows(batches)))
        try:
            done, totals = self.steps.run(self._iterator, tf.constant(count), self.steps.stage(state.step))
        except tf.errors.OutOfRangeError:
            raise ValueError(
                f"the dataset ended between step {state.step} and step {state.step + count}; expected "
                f"{self.steps.accumulate} batches for each step of all epochs"
            ) from None
        except PEER_ERRORS as error:
            if not is_multi_worker(self.strategy):
                raise
            raise WorkerLost(
                f"another worker ended or cannot be reached since step {state.step}; start all workers "
                f"again, and they go on from the last checkpoint"
            ) from error
        totals = totals.numpy()
        state.step += int(done)
        loss = self.steps.means(totals)["loss"]
        if not np.isfinite(loss) or self.steps.overflowed():
            self._fail(f"the loss is {loss}")
        state.totals += totals
        if not is_multi_worker(self.strategy):  # Workers go in step.
            self._pace.note(int(done), time.monotonic() - started)
        return totals

    def end_epoch(self, evaluate: Callable[[], dict[str, float]] | None) -> dict[str, float]:
        """The logs of the epoch, with what `evaluate` measures."""
        self.check_weights()  # Before they are measured and kept.
        logs = self.state.end_epoch(self.steps.means)
        if evaluate is not None:
            logs |= _validated(evaluate(), self.over_workers)  # In place: they are the history's.
        return logs

    def save(self, now) -> None:
        """Writes a checkpoint where one is due, or now; the chief does it for all workers."""
        if self.checkpoints is None or not is_chief(self.strategy):
            return
        if now or self.state.step % self.checkpoints.every_steps == 0:
            self.check_weights()
            self.state.save(self.checkpoints)

    def check_weights(self) -> None:
        """Ends the run where a weight is not finite: the loss of a step is that before its update."""
        for weight in self.steps.model.trainable_variables:
            if not np.isfinite(np.asarray(weight)).all():
                self._fail(f"{weight.path} is not finite")

    def _fail(self, what: str) -> None:
        step = self.state.step
        message = f"{what} at step {step}; lower the learning rate, or train in float32"
        if self.checkpoints is not None and is_chief(self.strategy):  # All workers come here at once.
            first = (step - 1) * self.steps.accumulate
            batches = batches_from(self.dataset, first).take(self.steps.accumulate)
            path, records = keep_batch(batches, self.checkpoints.folder, step)
            of_records = f" of the records {', '.join(map(str, records))}" if records else ""
            message += f"; its batch{of_records} is in {path}"
            saved = self.checkpoints.steps()
            if saved:
                message += f", and the checkpoint of step {saved[0]} is intact"
        raise FloatingPointError(message)


class _Pace:
    """How many steps a call may have, `most`, so as not to take longer than `CALL_SECONDS`."""

    def __init__(self):
        self.most = sys.maxsize
        self._is_traced = False

    def note(self, steps: int, seconds: float) -> None:
        """Learns from a call how long a step takes; not from the first one, in which it was traced."""
        if self._is_traced:
            self.most = max(1, int(steps * CALL_SECONDS / max(seconds, 1e-9)))
        self._is_traced = True


def _split_by_rows(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Has each worker take its rows of every batch; by default TensorFlow may deal out files instead."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.with_options(options)


def _validated(values: dict[str, float], over_workers) -> dict[str, float]:
    """What the chief measured, so that all workers draw the same conclusions."""
    share = is_chief()
    agreed = over_workers([value if share else 0.0 for value in values.values()])
    return {f"val_{name}": float(value) for name, value in zip(values, agreed, strict=True)}
