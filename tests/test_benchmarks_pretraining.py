"""The arithmetic of the benchmarks of pretraining, and short runs of them."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kbert.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def _load(name):
    """A benchmark as a module, with its flags taken back: two of them may share a name."""
    from absl import flags

    known = set(flags.FLAGS)
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec.loader.exec_module(module)
    sys.path.pop(0)
    for flag in set(flags.FLAGS) - known:
        delattr(flags.FLAGS, flag)
    return module


@pytest.fixture(scope="module")
def pretraining():
    return _load("pretraining")


@pytest.fixture(scope="module")
def pretraining_data():
    return _load("pretraining_data")


@pytest.fixture(scope="module")
def weak_scaling():
    return _load("weak_scaling")


def test_masked_loss_is_the_cross_entropy_of_the_slots_in_use(pretraining_data):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 3, 7)).astype("float32") * 5
    ids = rng.integers(0, 7, (2, 3)).astype("int32")
    weights = np.array([[1, 1, 0], [1, 0, 0]], "float32")
    expected = sum(
        np.log(np.exp(logits[i, j].astype("float64")).sum()) - logits[i, j, ids[i, j]]
        for i, j in [(0, 0), (0, 1), (1, 0)]
    )
    total, weight = pretraining_data.masked_loss(logits, ids, weights)
    assert float(weight) == 3
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_the_time_to_a_loss_is_that_of_the_first_crossing(pretraining):
    losses = [10.0, 8.0, 7.0, 7.5, 6.0]
    curve = [{"seconds": 30.0 * i, "loss": loss} for i, loss in enumerate(losses)]
    assert pretraining.seconds_to(curve, 9.0) == 15
    assert pretraining.seconds_to(curve, 7.25) == 52.5  # not the later crossing
    assert pretraining.seconds_to(curve, 6.0) == 120
    assert pretraining.seconds_to(curve, 11.0) == 0
    assert pretraining.seconds_to(curve, 5.9) is None


def test_the_fit_gives_back_the_latency_and_the_bandwidth_of_the_model(weak_scaling):
    latency, bandwidth = 0.004, 5e8
    exposed = [(size, size / bandwidth + 2 * latency) for size in (18e6, 45e6, 120e6)]
    assert weak_scaling.fitted(exposed) == pytest.approx((latency, bandwidth))


def test_the_prediction_is_the_formula_of_the_docs(weak_scaling):
    assert weak_scaling.predicted(2, 1.0, 1e8, 0.0, 1e9) == pytest.approx(1 / 1.1)
    # 2·7/8 of 1e8 bytes at 1e9 a second, 14 waits of 10 ms, and the slowest of 8 at a deviation of 0.02 s.
    waiting = 0.175 + 0.14 + 0.02 * math.sqrt(2 * math.log(8))
    assert weak_scaling.predicted(8, 2.0, 1e8, 0.01, 1e9, 0.02) == pytest.approx(2 / (2 + waiting))


def test_two_processes_need_two_cores(load_benchmark, monkeypatch):
    weak_scaling = load_benchmark("weak_scaling")
    weak_scaling.FLAGS(["weak_scaling", "--data_dir=records", "--vocab=vocab.txt"])
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5})
    monkeypatch.setattr(weak_scaling, "measure", lambda size: pytest.fail("measured"))
    with pytest.raises(InputError, match="one core: two processes"):
        weak_scaling.main()


def _run(name, *flags):
    return subprocess.run(
        [sys.executable, str(ROOT / f"benchmarks/{name}.py"), *map(str, flags)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_a_short_run_against_keras_hub(shared, tmp_path):
    pytest.importorskip("keras_hub")
    done = _run(
        "pretraining", f"--data={shared}/data", f"--output={tmp_path}", "--size=tiny", "--seconds=1",
        "--slice_seconds=1", "--held_out_rows=16",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    losses = {}
    for name in ("kbert", "keras_hub"):
        first, *_, last = found["curves"][name]
        assert first["seconds"] == 0 < last["seconds"] and last["steps"] > 0
        assert first["loss"] < 1.05 * math.log(30522)
        losses[name] = first["loss"], last["loss"]
    assert losses["keras_hub"][1] < losses["keras_hub"][0]
    # Ours begins at the frequencies of the tokens, below which the few steps of a second need not come.
    assert losses["kbert"][0] < 0.8 * losses["keras_hub"][0]
    assert losses["kbert"][1] != losses["kbert"][0]
    assert losses["kbert"][1] < 1.05 * losses["kbert"][0]
    assert (tmp_path / "curves.json").exists()
