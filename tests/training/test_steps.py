"""Steps over micro-batches, replicas and number formats: the same gradient, whatever it is made of."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.config import BertConfig
from kbert.models import BertMaskedLM, MaskedLMObjective
from kbert.training import AdamW, fit, strategy_for
from kbert.training.loss_scale import LossScale
from kbert.training.steps import TrainSteps
from tests.training import small_run


@pytest.mark.slow
def test_twenty_steps_are_the_same_over_replicas_and_micro_batches():
    """Adam with clipping and decay; weights that differ by micro-batch and replica, 0 in some of them."""
    options = {"dropout": 0.0, "steps_per_epoch": 20, "epochs": 1}
    one, history = small_run.run(batch_size=16, **options)
    keras.utils.set_random_seed(7)
    assert np.abs(one[0] - small_run.small_model().weights[0]).max() > 0.1
    for name, more in {
        "accumulation by 4": {"batch_size": 4, "accumulate": 4},
        "two replicas": {"batch_size": 16, "strategy": "mirrored"},
        "both": {"batch_size": 4, "accumulate": 4, "strategy": "mirrored"},
        "parts": {"batch_size": 16, "parts": 3},
        "all three": {"batch_size": 4, "accumulate": 4, "strategy": "mirrored", "parts": 2},
        "more parts than rows": {"batch_size": 2, "accumulate": 8, "parts": 3},
    }.items():
        other, other_history = small_run.run(**options, **more)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)
        assert other_history[0] == pytest.approx(history[0], rel=1e-5), name


class Probe(keras.optimizers.SGD):
    """Keeps the gradients that it is given."""

    def apply(self, grads, trainable_variables=None):
        self.seen = grads


class PlusUnused(keras.layers.Layer):
    """A weight that no output depends on."""

    def build(self, shape):
        self.unused = self.add_weight(shape=(2,), initializer="ones", name="unused")

    def call(self, inputs):
        return inputs


def test_a_weight_without_gradient_has_none_over_micro_batches_too():
    """A gradient of 0 would let momentum and decay move it."""
    model = keras.Sequential([keras.Input((6,)), PlusUnused(), keras.layers.Dense(3)])
    optimizer = Probe(0.1)
    fit(model, optimizer, small_run.TwoLosses(), small_run.batches(4), steps_per_epoch=1, accumulate=2)
    missing = [g is None for g in optimizer.seen]
    assert missing == [v.path.endswith("unused") for v in model.trainable_variables] and any(missing)


def test_the_pass_for_the_weights_does_not_run_the_model():
    """It is traced for its weights alone, and what they do not need is never computed."""
    runs = []

    class Counted(keras.layers.Layer):
        def call(self, inputs):
            # Like a matrix product, nothing holds it in the graph but its output.
            return tf.ensure_shape(tf.numpy_function(count, [inputs], tf.float32, stateful=False), [None, 6])

        def compute_output_shape(self, shape):
            return shape

    def count(inputs):
        runs.append(len(inputs))
        return inputs

    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs) + 0 * Counted()(inputs)[:, :3])
    fit(
        model, keras.optimizers.SGD(0.0), small_run.TwoLosses(), small_run.batches(4),
        steps_per_epoch=2, accumulate=3,
    )  # fmt: skip
    assert len(runs) == 2 * 3


@pytest.mark.parametrize("whole", [True, False])
def test_an_objective_that_compares_rows_sees_whole_batches(whole):
    seen = []

    class Rows(small_run.TwoLosses):
        whole_batch = whole

        def __call__(self, outputs, targets):
            seen.append(outputs.shape[0])
            return super().__call__(outputs, targets)

    data = tf.data.Dataset.from_tensors(next(iter(small_run.batches(5))))  # Of a known number of rows.
    steps = TrainSteps(small_run.small_model(0.0), keras.optimizers.SGD(0.1), Rows(), {}, parts=2)
    steps.run(iter(data), tf.constant(1))
    assert seen == ([5] if whole else [2, 3])


def float16_run(strategy, initial=2.0**15, steps=6, accumulate=1, parts=1):
    keras.utils.set_random_seed(7)
    with strategy_for(strategy).scope():
        model = small_run.small_model(0.0, dtype="mixed_float16")
        optimizer = keras.optimizers.SGD(0.1)
        scale = LossScale(initial, growth_steps=3)
        runner = TrainSteps(model, optimizer, small_run.TwoLosses(), {}, accumulate, scale, parts)
        data = small_run.batches(8 // accumulate)
        iterator = iter(tf.distribute.get_strategy().experimental_distribute_dataset(data))
        before = [np.asarray(w) for w in model.weights]
        trail = []
        for _ in range(steps):
            runner.run(iterator, tf.constant(1))
            trail.append((float(scale.factor.numpy()), int(optimizer.iterations.numpy())))
    return before, [np.asarray(w) for w in model.weights], trail


@pytest.mark.parametrize("strategy", ["default", "mirrored"])
def test_float16_leaves_steps_out_that_overflow(strategy):
    """2**24 does not fit into float16: halved until it does, then doubled after three good steps."""
    start, after, trail = float16_run(strategy, initial=2.0**24, steps=16)
    factors = [factor for factor, _ in trail]
    first_good = next(i for i, (_, updates) in enumerate(trail) if updates)
    assert factors[:first_good] == [2.0 ** (23 - i) for i in range(first_good)] and first_good > 2
    # From then on up after three good steps, down after a bad one, and never otherwise.
    good, expected = 0, 2.0**24
    for (factor, updates), (_, before_it) in zip(trail, [(0, 0), *trail], strict=False):
        good = good + 1 if updates > before_it else 0
        expected = expected / 2 if good == 0 else expected * 2 if good == 3 else expected
        good %= 3
        assert factor == expected
    assert any(b > a for a, b in zip(factors, factors[1:], strict=False))
    assert all(np.isfinite(w).all() for w in after)
    assert np.abs(start[0] - after[0]).max() > 1e-3


@pytest.mark.slow
def test_float16_takes_the_steps_of_float32_over_micro_batches_and_replicas():
    one = float16_run("default")[1]
    for other in (
        float16_run("default", accumulate=2)[1],
        float16_run("mirrored", accumulate=2)[1],
        float16_run("default", parts=2)[1],
    ):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-3)
    keras.utils.set_random_seed(7)
    model = small_run.small_model(0.0)
    fit(model, keras.optimizers.SGD(0.1), small_run.TwoLosses(), small_run.batches(8), steps_per_epoch=6)
    for a, b in zip(one, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_small_gradients_survive_float16():
    """A row with a share of 1e-9 in the mean: without a factor its gradient would be 0 in float16."""
    rows = np.eye(2, 6, dtype="float32")
    targets = {
        "label": np.array([0, 1]),
        "weight": np.array([1, 1e9], "float32"),
        "other_weight": np.zeros(2),
    }
    data = tf.data.Dataset.from_tensors((rows, targets))
    moved = []
    for initial in (2.0**15, 1.0):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, dtype="mixed_float16")])
        before = np.asarray(model.weights[0])
        scale = LossScale(initial)
        steps = TrainSteps(model, keras.optimizers.SGD(1e6), small_run.TwoLosses(), {}, loss_scale=scale)
        steps.run(iter(data), tf.constant(1))
        moved.append(np.abs(np.asarray(model.weights[0]) - before)[0].max())
    assert moved[0] > 1e-4 and moved[1] == 0


def test_replicas_drop_different_units():
    """Rows that are all equal, so that only dropout can make the outputs differ."""

    class Spread:
        losses, metrics = ("loss",), ("sum",)

        def __call__(self, outputs, targets):
            mine = tf.reduce_sum(outputs)
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            sign = 1.0 - 2.0 * tf.cast(number, tf.float32)
            return {"loss": (mine, tf.ones([])), "sum": (sign * mine, tf.ones([]))}

    with strategy_for("mirrored").scope():
        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64), small_run.Dropout(0.5)])
        data = tf.data.Dataset.from_tensors((np.ones((2, 64), "float32"), np.zeros(2, "float32"))).repeat()
        logs = fit(model, keras.optimizers.SGD(0.0), Spread(), data, steps_per_epoch=1)[0]
    assert abs(logs["sum"]) > 1e-3


def test_a_table_of_a_real_size_is_trained_over_micro_batches():
    """Sums of large gradients in a loop inside a loop: Grappler rewrites them, and the second call failed."""
    config = BertConfig(
        vocab_size=30522, hidden_dim=256, num_layers=1, num_heads=2, intermediate_dim=256, max_length=16
    )
    model = BertMaskedLM(config)
    model.build()
    ids = np.random.default_rng(1).integers(5, 30522, (2, 16)).astype("int32")
    inputs = {"token_ids": ids, "mask_positions": np.array([[1, 2], [3, 4]], "int32")}
    targets = {"mask_ids": ids[:, :2], "mask_weights": np.ones([2, 2], "float32")}
    batches = tf.data.Dataset.from_tensors((inputs, targets)).repeat()
    optimizer = AdamW(1e-4)
    fit(model, optimizer, MaskedLMObjective(), batches, steps_per_epoch=3, steps_per_call=1, accumulate=4)
    assert int(optimizer.iterations) == 3


@pytest.mark.parametrize("costs, parts", [(None, [2, 3]), ([1, 8, 1, 1, 1], [1, 4])])
def test_parts_go_by_what_rows_cost(costs, parts):
    """The numbers are those of the whole batch, whichever rows a part has."""
    seen = []

    class Objective(small_run.TwoLosses):
        def __call__(self, outputs, targets):
            count = tf.numpy_function(note, [tf.shape(outputs)[0]], tf.int32)
            with tf.control_dependencies([count]):
                return super().__call__(tf.identity(outputs), targets)

    def note(rows):
        seen.append(int(rows))
        return rows

    def loss_of(parts, **attributes):
        model = small_run.small_model(0.0)
        model.set_weights([np.linspace(-1, 1, w.size).reshape(w.shape) for w in model.get_weights()])
        for name, value in attributes.items():
            setattr(model, name, value)
        steps = TrainSteps(model, keras.optimizers.SGD(0.1), Objective(), {}, parts=parts)
        data = tf.data.Dataset.from_tensors(next(iter(small_run.batches(5))))
        _, totals = steps.run(iter(data), tf.constant(1))
        return steps.means(totals.numpy())["loss"], model.get_weights()

    whole, weights = loss_of(1)
    seen.clear()
    loss, others = loss_of(2, row_costs=lambda inputs: None if costs is None else tf.constant(costs))
    assert sorted(seen) == parts
    assert loss == pytest.approx(whole, rel=1e-5)
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
