"""AdamW against Google's own trajectories, against a NumPy restatement, and over replicas."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.training import AdamW, LinearWarmup, strategy_for


def _variable(path, value):
    variable = keras.Variable(value, name=path.rsplit("/", 1)[-1])
    variable._path = path
    return variable


@pytest.mark.golden
def test_twenty_updates_equal_googles(shared):
    cases = json.loads((shared / "golden/optimizer/optimizer.json").read_text())["optimizer_cases"]
    vectors = np.load(shared / "golden/optimizer/adamw.npz")
    assert cases
    for case in cases:
        schedule = LinearWarmup(
            case["init_lr"], case["num_train_steps"], case["num_warmup_steps"], decay_from_start=True
        )
        optimizer = AdamW(
            schedule,
            weight_decay_rate=case["weight_decay_rate"],
            beta_1=case["beta_1"],
            beta_2=case["beta_2"],
            epsilon=case["epsilon"],
            bias_correction=False,
            max_gradient_norm=case["clip_global_norm"],
            exclude_from_decay=tuple(case["exclude_from_weight_decay"]),
        )
        keys = [f"{case['name']}/{name.replace('/', '.')}" for name in case["variables"]]
        variables = [
            _variable(name, vectors[f"{key}/init"]) for name, key in zip(case["variables"], keys, strict=True)
        ]
        for step in range(case["steps"]):
            optimizer.apply([tf.constant(vectors[f"{key}/grads"][step]) for key in keys], variables)
            for key, variable in zip(keys, variables, strict=True):
                np.testing.assert_allclose(
                    variable.numpy(), vectors[f"{key}/values"][step], rtol=1e-5, atol=2e-7, err_msg=key
                )


@pytest.mark.golden
def test_schedule_equals_googles(shared):
    for case in json.loads((shared / "golden/optimizer/optimizer.json").read_text())["schedules"]:
        schedule = LinearWarmup(
            case["init_lr"], case["num_train_steps"], case["num_warmup_steps"] or 0, decay_from_start=True
        )
        rates = [float(schedule(step)) for step in case["steps"]]
        np.testing.assert_allclose(rates, case["learning_rate"], rtol=2e-5, atol=1e-7 * case["init_lr"])


def test_schedule_is_continuous_by_default_and_stays_at_zero():
    schedule = LinearWarmup(2.0, total_steps=100, warmup_steps=10)
    rates = np.array([float(schedule(step)) for step in range(110)])
    np.testing.assert_allclose(rates[:11], np.linspace(0, 2, 11), rtol=1e-6)
    np.testing.assert_allclose(rates[10:101], np.linspace(2, 0, 91), rtol=1e-5, atol=1e-6)
    assert not rates[100:].any()


def _numpy_adamw(value, gradients, rates, decay, corrected, limit=1.0, epsilon=1e-6):
    """Textbook AdamW on one weight, in float64."""
    value, m, v = value.astype(np.float64), 0.0, 0.0
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = gradient / max(1.0, np.sqrt((gradient**2).sum()) / limit)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        m_hat, v_hat = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if corrected else (m, v)
        value = value - rate * (m_hat / (np.sqrt(v_hat) + epsilon) + decay * value)
    return value


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize(
    "path, decay", [("bert/layer_0/output/kernel", 0.3), ("bert/x/layer_norm/beta", 0.0)]
)
def test_update_equals_numpy(corrected, path, decay):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)).astype("float32"), rng.normal(size=(5, 4, 3)).astype("float32")
    variable = _variable(path, start)
    optimizer = AdamW(0.1, weight_decay_rate=0.3, bias_correction=corrected)
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
    expected = _numpy_adamw(start, gradients, [0.1] * 5, decay, corrected)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=2e-5, atol=1e-6)


def test_sparse_and_dense_gradients_of_one_table_give_the_same_update():
    dense = np.zeros((6, 2), "float32")
    dense[[1, 4]] = [[3.0, 1.0], [2.0, -1.0]]
    sparse = tf.IndexedSlices(tf.constant([[1.0, 1.0], [2.0, -1.0], [2.0, 0.0]]), [1, 4, 1], [6, 2])
    tables = [_variable("bert/table", np.ones((6, 2), "float32")) for _ in range(2)]
    for table, gradient in zip(tables, (tf.constant(dense), sparse), strict=True):
        AdamW(0.1).apply([gradient], [table])
    np.testing.assert_array_equal(tables[0].numpy(), tables[1].numpy())


def test_config_round_trip_keeps_the_exclusion():
    optimizer = AdamW(LinearWarmup(1.0, 10, 2), exclude_from_decay=("beta",), bias_correction=False)
    again = AdamW.from_config(optimizer.get_config())
    assert list(again.exclude_from_decay) == ["beta"] and again.bias_correction is False
    assert float(again.learning_rate) == 0.0 and again.get_config() == optimizer.get_config()


def test_two_replicas_clip_the_sum_like_one_device():
    rng = np.random.default_rng(1)
    start = rng.normal(size=(3, 2)).astype("float32")
    halves = 5 * rng.normal(size=(2, 3, 2)).astype("float32")
    single = _variable("kernel", start)
    AdamW(0.1, epsilon=1.0).apply([tf.constant(halves.sum(0))], [single])

    strategy = strategy_for("mirrored")
    with strategy.scope():
        mirrored = keras.Variable(start, name="kernel")
        optimizer = AdamW(0.1, epsilon=1.0)
        optimizer.build([mirrored])

    @tf.function
    def step():
        def replica():
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply([tf.gather(tf.constant(halves), index)], [mirrored])

        strategy.run(replica)

    step()
    assert int(optimizer.iterations.numpy()) == 1
    np.testing.assert_allclose(mirrored.numpy(), single.numpy(), rtol=1e-6)
