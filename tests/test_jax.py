"""The layers and models on JAX: the tests of both packages, and the numbers of TensorFlow.

Run as a script, `python -m tests.test_jax FILE.npz`, this file computes the numbers on the backend that
KERAS_BACKEND names, from weights and inputs of NumPy's seeds; the test does so on both and compares.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def run_on_jax(*arguments):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500
    )


@pytest.fixture(autouse=True)
def jax():
    # Not imported: JAX in this process would be one more owner of its threads and memory.
    if subprocess.run([sys.executable, "-c", "import jax"], capture_output=True).returncode:
        pytest.skip('pip install "jax[cpu]" brings the other backend')


@pytest.mark.slow
def test_layers_and_models_pass_their_tests_on_jax():
    done = run_on_jax("-m", "pytest", "-q", "tests/layers", "tests/models")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_importing_layers_and_models_on_jax_leaves_tensorflow_alone():
    done = run_on_jax("-c", "import sys, kbert.layers, kbert.models; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"jax", "keras", "kbert.models.bert"} <= loaded
    assert not {name for name in loaded if name.split(".")[0].startswith("tensorflow")}


@pytest.mark.slow
def test_outputs_and_gradients_are_those_of_tensorflow(tmp_path):
    results = tmp_path / "results.npz"
    expected = compute()
    done = run_on_jax("-m", "tests.test_jax", str(results))
    assert done.returncode == 0, done.stderr
    with np.load(results) as got:
        assert sorted(got) == sorted(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(got[name], value, atol=1e-5, err_msg=name)
            assert np.abs(value).max() > 1e-4, f"{name} says nothing"


def cases():
    """Name -> a model without dropout, and the losses to differentiate, by output."""
    import keras

    from kbert import BertConfig
    from kbert.models import Bert, BertClassifier, BertPretrainer

    config = BertConfig(
        vocab_size=101,
        hidden_dim=32,
        num_layers=1,
        num_heads=2,
        intermediate_dim=64,
        max_length=8,
        extended_length=12,
        dropout=0.0,
        attention_dropout=0.0,
    )
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    models = {
        "bert": (Bert(config), {"sequence_output": "mse", "pooled_output": "mse"}),
        "pretrainer": (BertPretrainer(config), {"mlm_logits": entropy, "nsp_logits": entropy}),
        "classifier": (BertClassifier(config, 3, remat=True), {"logits": entropy}),
    }
    for model, _ in models.values():
        model.build()
    return models


def compute():
    """The outputs of all cases, and the gradient of every weight, by name."""
    import keras

    rng = np.random.default_rng(6)
    mask = np.arange(11) < np.array([[11], [4], [9]])
    inputs = {
        "token_ids": rng.integers(0, 101, mask.shape).astype("int32"),
        "segment_ids": rng.integers(0, 2, mask.shape).astype("int32"),
        "padding_mask": mask.astype("int32"),
        "mask_positions": np.array([[1, 10], [3, 0], [2, 8]], "int32"),
    }
    targets = {
        "sequence_output": rng.normal(size=(3, 11, 32)),
        "pooled_output": rng.normal(size=(3, 32)),
        "mlm_logits": rng.integers(0, 101, (3, 2)),
        "nsp_logits": np.array([0, 1, 1]),
        "logits": np.array([2, 0, 1]),
    }
    results = {}
    for name, (model, losses) in cases().items():
        model.set_weights([rng.normal(0, 0.2, weight.shape) for weight in model.weights])
        before = {weight.path: np.array(weight) for weight in model.weights}
        # A step of plain descent at rate 1 moves each weight by its gradient, on any backend.
        model.compile(keras.optimizers.SGD(1.0), losses, jit_compile=keras.backend.backend() != "tensorflow")
        for output, value in model.predict_on_batch(inputs).items():
            results[f"{name}: {output}"] = value
        model.train_on_batch(inputs, {output: targets[output] for output in losses})
        for weight in model.weights:
            results[f"{name}: gradient of {weight.path}"] = before[weight.path] - np.array(weight)
    return results


if __name__ == "__main__":
    np.savez(sys.argv[1], **compute())
