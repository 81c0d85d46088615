"""The loop: exact means, replicas, callbacks, errors; on a model that is no BERT."""

import os
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.layers import correct_sum, cross_entropy_sum
from kbert.training import (
    AdamW,
    Checkpoints,
    ProgressLog,
    SummaryLog,
    Terminated,
    dtype_policy,
    fit,
    strategy_for,
)

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(10, 4)).astype("float32")
LABELS = RNG.integers(0, 3, 10).astype("int32")
WEIGHTS = np.array([5, 0, 0, 1, 0, 0, 0, 0, 1, 3], "float32")  # Uneven over any split of a batch.


class WeightedObjective:
    losses = ("loss",)
    metrics = ("accuracy",)

    def __call__(self, outputs, targets):
        arguments = (targets["label"], outputs, targets["weight"])
        return {"loss": cross_entropy_sum(*arguments), "accuracy": correct_sum(*arguments)}


def dataset(batch_size=4, repeat=1):
    targets = {"label": LABELS, "weight": WEIGHTS}
    return tf.data.Dataset.from_tensor_slices((ROWS, targets)).batch(batch_size).repeat(repeat)


def linear_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="ones")])
    return model


def train(strategy, **options):
    with strategy.scope():
        model = linear_model()
        optimizer = AdamW(0.1, epsilon=1e-2)
        logs = fit(
            model, optimizer, WeightedObjective(), dataset(repeat=2), steps_per_epoch=3, epochs=2, **options
        )
    return [np.asarray(w) for w in model.weights], logs


def test_two_replicas_do_what_one_device_does():
    """Batches of 4, 4 and 2 rows whose weights all sit in one half, or nowhere in it."""
    one, logs_one = train(strategy_for("default"))
    two, logs_two = train(strategy_for("mirrored"))
    assert strategy_for("mirrored").num_replicas_in_sync == 2
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    for a, b in zip(logs_one, logs_two, strict=True):
        assert a == pytest.approx(b, rel=1e-5)


def test_a_slow_run_stops_soon(monkeypatch, tmp_path):
    monkeypatch.setattr("kbert.training.loop.CALL_SECONDS", 0.4)

    def slow_batches():
        for number, batch in enumerate(dataset(repeat=8)):
            time.sleep(0.1)
            if number == 17:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    calls = []
    seen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: calls.append(batch + 1))
    batches = tf.data.Dataset.from_generator(slow_batches, output_signature=dataset().element_spec)
    with pytest.raises(Terminated):
        fit(
            linear_model(), AdamW(0.1), WeightedObjective(), batches, steps_per_epoch=24, steps_per_call=8,
            callbacks=[seen], checkpoints=Checkpoints(tmp_path, 100, settings={}),
        )  # fmt: skip
    # The second call has shown what a step takes; the third one is in parts, and one of them is the last.
    assert calls[:2] == [8, 16] and 16 < calls[2] < 24 and len(calls) == 3


def test_steps_per_call_change_nothing():
    (one, _), (many, _) = train(strategy_for("default"), steps_per_call=1), train(strategy_for("default"))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def test_logged_means_weigh_by_weight_not_by_batch():
    model = linear_model()
    logs = fit(model, AdamW(0.0), WeightedObjective(), dataset(), steps_per_epoch=3)[0]
    logits = ROWS @ np.ones((4, 3))
    nll = np.log(np.exp(logits).sum(1)) - np.take_along_axis(logits, LABELS[:, None], 1)[:, 0]
    assert logs["loss"] == pytest.approx((nll * WEIGHTS).sum() / WEIGHTS.sum(), rel=1e-5)


def test_callbacks_come_in_order_and_see_validation():
    calls = []

    class Recorder(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            calls.append(("begin", epoch))

        def on_train_batch_end(self, batch, logs=None):
            calls.append(("batch", batch, sorted(logs)))

        def on_epoch_end(self, epoch, logs=None):
            calls.append(("end", epoch, logs["val_score"]))

    train(strategy_for("default"), callbacks=[Recorder()], evaluate=lambda: {"score": 0.5}, steps_per_call=2)
    batches = [
        ("batch", 1, ["accuracy", "learning_rate", "loss"]),
        ("batch", 2, ["accuracy", "learning_rate", "loss"]),
    ]
    assert calls == [("begin", 0), *batches, ("end", 0, 0.5), ("begin", 1), *batches, ("end", 1, 0.5)]


def test_callbacks_of_keras_set_the_rate_of_the_optimizer_that_trains():
    rates, model, optimizer = [], linear_model(), AdamW(0.1)
    halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    seen = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(logs["learning_rate"])
    )
    arguments = {"steps_per_epoch": 3, "epochs": 2, "callbacks": [halved, seen]}
    fit(model, optimizer, WeightedObjective(), dataset(repeat=2), **arguments)
    assert rates == pytest.approx([0.05, 0.025])
    assert not hasattr(model, "optimizer")
    model.compile("sgd")
    own = model.optimizer
    fit(model, optimizer, WeightedObjective(), dataset(repeat=2), **arguments)
    assert float(optimizer.learning_rate) == pytest.approx(0.1 / 2**4)
    assert model.optimizer is own and float(own.learning_rate) == pytest.approx(0.01)


def test_a_loss_that_is_not_finite_stops_the_run():
    bad = tf.data.Dataset.from_tensors((ROWS * np.nan, {"label": LABELS, "weight": WEIGHTS}))
    with pytest.raises(FloatingPointError, match="loss is nan at step 1"):
        fit(linear_model(), AdamW(), WeightedObjective(), bad, steps_per_epoch=1)


def test_averages_of_a_keras_optimizer_are_the_weights_in_the_end():
    model, seen = linear_model(), []
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.75)
    kept = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(model.get_weights()[0])
    )
    fit(
        model, optimizer, WeightedObjective(), dataset(4, repeat=2), steps_per_epoch=4, steps_per_call=1,
        callbacks=[kept],
    )  # fmt: skip
    average = seen[0]
    for weights in seen[1:]:
        average = 0.75 * average + 0.25 * weights
    assert np.abs(average - seen[-1]).max() > 0.01
    np.testing.assert_allclose(model.get_weights()[0], average, rtol=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1, loss_scale_factor=1024.0),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
    ],
    ids=["factor", "wrapper"],
)
def test_an_optimizer_that_scales_the_loss_is_refused(optimizer):
    with pytest.raises(ValueError, match="scales the loss"):
        fit(linear_model(), optimizer(), WeightedObjective(), dataset(), steps_per_epoch=1)


def test_a_dataset_that_ends_early_is_named():
    with pytest.raises(ValueError, match="dataset ended"):
        fit(linear_model(), AdamW(), WeightedObjective(), dataset(), steps_per_epoch=4)


def test_a_dataset_of_other_than_pairs_is_refused():
    weighted = dataset().map(lambda rows, targets: (rows, targets, targets["weight"]))  # As Keras takes them.
    for wrong, came in ((weighted, "3 parts"), (dataset().map(lambda rows, _: rows), "TensorSpec")):
        with pytest.raises(ValueError, match=rf"is \(inputs, targets\); {came} came"):
            fit(linear_model(), AdamW(), WeightedObjective(), wrong, steps_per_epoch=1)


def test_summaries_hold_loss_and_rate(tmp_path):
    model, optimizer = linear_model(), AdamW(0.25)
    fit(
        model, optimizer, WeightedObjective(), dataset(), steps_per_epoch=3,
        callbacks=[SummaryLog(str(tmp_path), optimizer), ProgressLog(0.0)],
    )  # fmt: skip
    values = {}
    for path in tmp_path.iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                values[value.tag] = (event.step, float(tf.make_ndarray(value.tensor)))
    assert values["train/learning_rate"] == (3, 0.25)
    assert values["epoch/loss"][1] > 0 and values["train/accuracy"][0] == 3


@pytest.mark.parametrize("name", ["steps_per_epoch", "epochs", "steps_per_call", "accumulate", "parts"])
def test_counts_of_nothing_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=0; expected at least 1"):
        fit(linear_model(), AdamW(), WeightedObjective(), dataset(), **{"steps_per_epoch": 1, name: 0})


def test_a_model_without_weights_to_train_is_refused():
    frozen, unbuilt = linear_model(), keras.Sequential([keras.layers.Dense(3)])
    frozen.trainable = False
    for model, why in ((frozen, "all of them are frozen"), (unbuilt, r"call model.build\(\) first")):
        with pytest.raises(ValueError, match=why):
            fit(model, AdamW(), WeightedObjective(), dataset(), steps_per_epoch=1)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'horovod'"):
        strategy_for("horovod")
    with pytest.raises(ValueError, match="'int8'"):
        dtype_policy("int8")
    policies = [dtype_policy(precision) for precision in ("float32", "bfloat16", "float16")]
    assert policies == ["float32", "mixed_bfloat16", "mixed_float16"]
