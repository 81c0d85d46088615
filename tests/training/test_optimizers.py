"""AdamW against Google's own trajectories, against a NumPy restatement, and over replicas."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.training import AdamW, LinearWarmup
from kbert.training.lamb import Lamb, _norm
from kbert.training.optimizers import BertAdamW

ROOT = Path(__file__).resolve().parents[2]


def _variable(path, value):
    variable = keras.Variable(value, name=path.rsplit("/", 1)[-1])
    variable._path = path
    return variable


@pytest.mark.slow
@pytest.mark.golden
def test_twenty_updates_equal_googles(shared):
    cases = json.loads((shared / "golden/optimizer/optimizer.json").read_text())["optimizer_cases"]
    vectors = np.load(shared / "golden/optimizer/adamw.npz")
    assert cases
    for case in cases:
        schedule = LinearWarmup(
            case["init_lr"], case["num_train_steps"], case["num_warmup_steps"], decay_from_start=True
        )
        optimizer = BertAdamW(schedule)
        config = optimizer.get_config()
        assert config["exclude_from_decay"] == case["exclude_from_weight_decay"]
        assert config["max_gradient_norm"] == case["clip_global_norm"]
        for name in ("weight_decay_rate", "beta_1", "beta_2", "epsilon", "bias_correction"):
            assert config[name] == case[name]
        keys = [f"{case['name']}/{name.replace('/', '.')}" for name in case["variables"]]
        variables = [
            _variable(name, vectors[f"{key}/init"]) for name, key in zip(case["variables"], keys, strict=True)
        ]
        for step in range(case["steps"]):
            optimizer.apply([tf.constant(vectors[f"{key}/grads"][step]) for key in keys], variables)
            for key, variable in zip(keys, variables, strict=True):
                index = optimizer._get_variable_index(variable)
                for name, value in {
                    "values": variable,
                    "m": optimizer._momentums[index],
                    "v": optimizer._velocities[index],
                }.items():
                    expected = vectors[f"{key}/{name}"][step]
                    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=2e-7, err_msg=key)


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


@pytest.mark.parametrize("corrected", [True, False])
def test_lamb_equals_numpy(corrected):
    """Two weights and a zero one; only those that decay have a trust ratio."""
    rng = np.random.default_rng(3)
    paths = ["bert/layer_0/kernel", "bert/layer_0/output/bias", "bert/layer_0/zero"]
    starts = [rng.normal(size=(4, 3)), 7 * rng.normal(size=3), np.zeros((2, 2))]
    variables = [_variable(path, start.astype("float32")) for path, start in zip(paths, starts, strict=True)]
    optimizer = Lamb(0.1, weight_decay_rate=0.3, bias_correction=corrected, max_gradient_norm=None)
    moments = [(0.0, 0.0)] * 3
    for t in range(1, 6):
        gradients = [rng.normal(size=start.shape) * 0.01 for start in starts]
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients], variables)
        for i, (gradient, decays) in enumerate(zip(gradients, [True, False, True], strict=True)):
            m, v = moments[i]
            m, v = moments[i] = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            m_hat, v_hat = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if corrected else (m, v)
            update, ratio = m_hat / (np.sqrt(v_hat) + 1e-6), 1.0
            if decays:
                update = update + 0.3 * starts[i]
                weight_norm, update_norm = np.linalg.norm(starts[i]), np.linalg.norm(update)
                ratio = weight_norm / update_norm if weight_norm > 0 and update_norm > 0 else 1.0
            starts[i] = starts[i] - 0.1 * ratio * update
            np.testing.assert_allclose(variables[i].numpy(), starts[i], rtol=2e-5, atol=1e-6)


def test_lamb_leaves_a_zero_weight_without_gradient_finite():
    variable = _variable("kernel", np.zeros((2, 2), "float32"))
    Lamb(0.1).apply([tf.zeros((2, 2))], [variable])
    np.testing.assert_array_equal(variable.numpy(), 0.0)


def test_norms_of_large_weights_keep_their_digits():
    values = np.random.default_rng(0).normal(size=(30522, 64)).astype("float32") + 3
    assert float(_norm(tf.constant(values))) == pytest.approx(
        np.linalg.norm(values.astype(np.float64)), rel=2e-5
    )


def test_rates_fall_with_depth():
    """First updates of Adam are lr·sign(g), so each weight shows its own rate."""
    expected = {
        "net/embeddings/table": 0.125,
        "net/embeddings/layer_norm/gamma": 0.125,
        "net/layer_0/attention/kernel": 0.25,
        "net/layer_1/attention_layer_norm/gamma": 0.5,
        "net/pooler/kernel": 1.0,
        "classifier/kernel": 1.0,
    }
    variables = [_variable(path, np.zeros(2, "float32")) for path in expected]
    for optimizer in (AdamW(0.1, layer_decay=0.5, epsilon=1e-12), AdamW(0.1, epsilon=1e-12)):
        for variable in variables:
            variable.assign([0.0, 0.0])
        optimizer.apply([tf.constant([1.0, -2.0])] * len(variables), variables)
        for variable, factor in zip(variables, expected.values(), strict=True):
            factor = factor if optimizer.layer_decay else 1.0
            np.testing.assert_allclose(variable.numpy(), [-0.1 * factor, 0.1 * factor], rtol=1e-5)


def test_a_lower_rate_also_decays_less():
    """The zero gradient leaves only the decay, lr · λ · w."""
    variables = [_variable(path, np.ones(2, "float32")) for path in ("embeddings/table", "head/kernel")]
    AdamW(0.1, weight_decay_rate=0.5, layer_decay=0.1).apply([tf.zeros(2)] * 2, variables)
    np.testing.assert_allclose(variables[0].numpy(), 1 - 0.1 * 0.5 * 0.1, rtol=1e-6)
    np.testing.assert_allclose(variables[1].numpy(), 1 - 0.1 * 0.5, rtol=1e-6)


def test_options_of_one_replica_are_refused():
    for option in ("global_clipnorm", "clipnorm", "weight_decay", "loss_scale_factor"):
        with pytest.raises(ValueError, match=option):
            AdamW(0.1, **{option: 1.0})
    for option in ({"use_ema": True}, {"gradient_accumulation_steps": 4}):
        with pytest.raises(ValueError, match="average_decay"):
            Lamb(0.1, **option)


def test_exclusion_is_by_pattern():
    paths = {"a/bias": False, "a/biased/kernel": True, "layer_norm/beta": False, "b/output": True}
    variables = [_variable(path, np.ones(1, "float32")) for path in paths]
    optimizer = AdamW(1.0, weight_decay_rate=0.5, exclude_from_decay=(r"/bias$", "layer_norm/"))
    optimizer.apply([tf.zeros(1)] * 4, variables)
    decayed = [bool(variable.numpy() < 1) for variable in variables]
    assert decayed == list(paths.values())


@pytest.mark.parametrize("optimizer", [AdamW, BertAdamW, Lamb])
def test_names_of_models_around_exclude_nothing(optimizer):
    paths = {"bias_study/bert/layer_0/kernel": True, "layer_norm_study/bert/layer_0/layer_norm/gamma": False,
             "bias_study/bert/layer_0/bias": False}  # fmt: skip
    built = optimizer(0.1)
    built.build([_variable(path, np.ones(1, "float32")) for path in paths])
    assert built._decays == list(paths.values())


@pytest.mark.parametrize("optimizer", [AdamW, BertAdamW, Lamb])
def test_one_pattern_is_not_taken_for_a_list_of_letters(optimizer):
    with pytest.raises(ValueError, match="exclude_from_decay='bias'; expected a list"):
        optimizer(0.1, exclude_from_decay="bias")


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_weights_of_other_dtypes_are_refused(dtype):
    variables = [
        _variable("table", np.ones(2, "float32")),
        keras.Variable(np.ones(2), dtype=dtype, name="kernel"),
    ]
    with pytest.raises(ValueError, match=f"kernel is {dtype}; expected weights of float32"):
        Lamb(0.1).build(variables)


def test_sparse_and_dense_gradients_of_one_table_give_the_same_update():
    dense = np.zeros((6, 2), "float32")
    dense[[1, 4]] = [[3.0, 1.0], [2.0, -1.0]]
    sparse = tf.IndexedSlices(tf.constant([[1.0, 1.0], [2.0, -1.0], [2.0, 0.0]]), [1, 4, 1], [6, 2])
    tables = [_variable("bert/table", np.ones((6, 2), "float32")) for _ in range(2)]
    for table, gradient in zip(tables, (tf.constant(dense), sparse), strict=True):
        AdamW(0.1).apply([gradient], [table])
    np.testing.assert_array_equal(tables[0].numpy(), tables[1].numpy())


@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(LinearWarmup(1.0, 10, 2), exclude_from_decay=("beta",), bias_correction=False),
        BertAdamW(0.5, bias_correction=True, layer_decay=0.9, weight_decay_rate=0.1),
        Lamb(LinearWarmup(1.0, 10), epsilon=1e-3, average_decay=0.99, max_gradient_norm=None),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_config_round_trip_keeps_every_option(optimizer):
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(json.loads(json.dumps(config)))
    assert type(again) is type(optimizer) and again.get_config() == optimizer.get_config()
    assert list(again.exclude_from_decay) == list(optimizer.exclude_from_decay)
    assert float(again.learning_rate) == float(optimizer.learning_rate)


OPTIMIZERS = {
    "adamw": lambda: AdamW(0.1, epsilon=1.0, layer_decay=0.5, average_decay=0.5),
    "bert_adamw": lambda: BertAdamW(0.1, epsilon=1.0),
    "lamb": lambda: Lamb(0.1, epsilon=1.0, weight_decay_rate=0.3, layer_decay=0.5, average_decay=0.5),
}


SPARSE_ROWS = np.array([[1, 4, 1], [0, 4, 2]], "int32")
PATHS = ["embeddings/table", "layer_0/kernel", "layer_1/kernel", "layer_0/bias", "unused"]
SHAPES = [(6, 2), (3, 2), (3, 2), (2,), (2,)]


def three_updates(strategy, make):
    """A looked-up table, equal shapes, and a weight without gradient; each replica has its share.

    Returns the variables of model and optimizer, as they are on each device.
    """
    rng = np.random.default_rng(1)
    starts = [rng.normal(size=shape).astype("float32") for shape in SHAPES]
    halves = [5 * rng.normal(size=(2, 3, 2)).astype("float32") for _ in range(3)]
    biases = 5 * rng.normal(size=(2, 2)).astype("float32")
    with strategy.scope():
        variables = [_variable(path, start) for path, start in zip(PATHS, starts, strict=True)]
        optimizer = make()
        optimizer.build(variables)

    def replica(share):
        def mine(gradient):
            return tf.reduce_sum(tf.gather(gradient, share), 0)

        rows = tf.reshape(tf.gather(SPARSE_ROWS, share), [-1])
        values = tf.reshape(tf.gather(halves[0], share), [-1, 2])
        table = tf.IndexedSlices(values, rows, SHAPES[0])
        optimizer.apply([table, mine(halves[1]), mine(halves[2]), mine(biases), None], variables)

    @tf.function
    def step():
        replicas = strategy.num_replicas_in_sync
        strategy.run(
            lambda: replica(
                [0, 1] if replicas == 1
                else tf.reshape(tf.distribute.get_replica_context().replica_id_in_sync_group, [1])
            )
        )  # fmt: skip

    for _ in range(3):
        step()
    return [
        [component.numpy() for component in strategy.experimental_local_results(variable.value)]
        for variable in [*variables, *optimizer.variables]
    ]


@pytest.mark.slow_after_first
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_replicas_do_what_one_device_does(make, devices):
    reduction = tf.distribute.ReductionToOneDevice()
    mirrored = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)], reduction)
    one = three_updates(tf.distribute.get_strategy(), make)
    assert not np.allclose(one[1][0], one[2][0], atol=0.1)
    for (expected,), components in zip(one, three_updates(mirrored, make), strict=True):
        assert len(components) == devices
        for component in components:
            np.testing.assert_allclose(component, expected, rtol=1e-5, atol=1e-7)


def as_worker(index, ports, folder):
    """A process of its own: what `three_updates` makes of AdamW and Lamb, as an `.npz` for each."""
    code = (
        "import numpy, tensorflow as tf\n"
        "strategy = tf.distribute.MultiWorkerMirroredStrategy()\n"
        "from tests.training import test_optimizers as tests\n"
        "for name, make in tests.OPTIMIZERS.items():\n"
        "    values = tests.three_updates(strategy, make)\n"
        f"    numpy.savez(rf'{folder}/{{name}}-{index}.npz', *[value for value, in values])\n"
    )
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
    environment = {**os.environ, "TF_CONFIG": config, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_two_worker_processes_do_what_one_device_does(tmp_path):
    """There the update is compiled, on variables that are distributed over the processes."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = [first.getsockname()[1], second.getsockname()[1]]
    workers = [as_worker(index, ports, tmp_path) for index in range(2)]
    try:
        outputs = [worker.communicate(timeout=120)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], outputs
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    for name, make in OPTIMIZERS.items():
        one = three_updates(tf.distribute.get_strategy(), make)
        for index in range(2):
            with np.load(tmp_path / f"{name}-{index}.npz") as file:
                for (expected,), key in zip(one, file.files, strict=True):
                    np.testing.assert_allclose(file[key], expected, rtol=1e-5, atol=1e-7, err_msg=name)
