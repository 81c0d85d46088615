"""Averages of weights: their values, the swap, replicas, and a run that is stopped and goes on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.training import AdamW, Checkpoints, fit, strategy_for
from kbert.training.averages import averaged_weights
from kbert.training.lamb import Lamb
from tests.training.small_run import TwoLosses, batches, small_model


def arrays(variables):
    return [np.array(variable) for variable in variables]


def trained(strategy=None, *, make=AdamW, folder=None, epochs=1, **options):
    keras.utils.set_random_seed(7)
    with (strategy or tf.distribute.get_strategy()).scope():
        model = small_model(dropout=0.0)
        optimizer = make(0.05, epsilon=1e-3, average_decay=0.8)
        checkpoints = Checkpoints(folder, every_steps=5) if folder else None
        fit(
            model, optimizer, TwoLosses(), batches(), steps_per_epoch=4, epochs=epochs,
            checkpoints=checkpoints, **options,
        )  # fmt: skip
    return model, optimizer


@pytest.fixture(scope="module")
def default_run():
    return trained()


@pytest.fixture(scope="module")
def mirrored_run():
    return trained(strategy_for("mirrored"))


@pytest.mark.parametrize("make", [AdamW, Lamb])
def test_averages_equal_numpy(make):
    history = []

    class Recorder(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            history.append(arrays(self.model.trainable_variables))

    model, optimizer = trained(make=make, callbacks=[Recorder()], steps_per_call=1)
    expected = history[0]
    for weights in history[1:]:
        expected = [0.8 * a + 0.2 * w for a, w in zip(expected, weights, strict=True)]
    with averaged_weights(model, optimizer):
        inside = arrays(model.trainable_variables)
    for ours, own, last in zip(inside, expected, history[-1], strict=True):
        np.testing.assert_allclose(ours, own, rtol=1e-5, atol=1e-7)
        assert not np.allclose(own, last, atol=1e-3)


@pytest.mark.parametrize("run", ["default_run", "mirrored_run"])
def test_the_swap_is_undone_even_after_an_error(run, request):
    model, optimizer = request.getfixturevalue(run)
    before, state = arrays(model.variables), arrays(optimizer.variables)
    with pytest.raises(KeyError), averaged_weights(model, optimizer):
        inside = arrays(model.variables)
        raise KeyError
    assert any(not np.array_equal(a, b) for a, b in zip(inside, before, strict=True))
    after = [*arrays(model.variables), *arrays(optimizer.variables)]
    for now, then in zip(after, [*before, *state], strict=True):
        np.testing.assert_array_equal(now, then)


def test_all_replicas_have_the_averages_of_one_device(default_run, mirrored_run):
    model, optimizer = mirrored_run
    expected = [average for _, average in default_run[1].averages()]
    with averaged_weights(model, optimizer):
        for variable, average in zip(model.trainable_variables, expected, strict=True):
            assert len(variable.value.values) == 2
            for component in variable.value.values:
                np.testing.assert_allclose(component.numpy(), average.numpy(), rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_a_run_that_goes_on_has_the_averages_of_one_that_was_not_stopped(tmp_path):
    _, whole = trained(epochs=2)
    trained(folder=tmp_path)
    _, optimizer = trained(folder=tmp_path, epochs=2)
    assert int(optimizer.iterations.numpy()) == 8
    for ours, expected in zip(arrays(optimizer.variables), arrays(whole.variables), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_what_is_saved_inside_is_the_average(tmp_path, default_run):
    model, optimizer = default_run
    with averaged_weights(model, optimizer):
        expected = np.array(model(np.ones((2, 6), "float32")))
        model.save(tmp_path / "averaged.keras")
    outside = np.array(model(np.ones((2, 6), "float32")))
    loaded = keras.saving.load_model(tmp_path / "averaged.keras")
    np.testing.assert_allclose(np.array(loaded(np.ones((2, 6), "float32"))), expected, rtol=1e-6)
    assert not np.allclose(outside, expected, atol=1e-4)


def test_a_weight_without_gradient_is_its_own_average():
    used, unused = keras.Variable([1.0], name="used"), keras.Variable([5.0], name="unused")
    optimizer = AdamW(0.1, average_decay=0.5)
    for _ in range(2):
        with pytest.warns(UserWarning, match="unused"):
            optimizer.apply([tf.ones(1), None], [used, unused])
    assert [float(average[0]) for variable, average in optimizer.averages() if variable is unused] == [5.0]


def test_averages_that_are_not_there_are_named():
    model = small_model()
    with pytest.raises(ValueError, match="average_decay=None"), averaged_weights(model, AdamW(0.1)):
        pass
    optimizer = AdamW(0.1, average_decay=0.9)
    optimizer.build(model.trainable_variables)
    with pytest.raises(ValueError, match="before the first update"), averaged_weights(model, optimizer):
        pass
    optimizer.apply([tf.ones(v.shape) for v in model.trainable_variables])
    with pytest.raises(ValueError, match="another model"), averaged_weights(small_model(), optimizer):
        pass
