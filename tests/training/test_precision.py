"""Half the bits: every way to divide the work takes the steps of one device, and those are float32's."""

import io

import keras
import numpy as np
import pytest

from kbert.training import dtype_policy
from tests.training import small_run
from tests.training.test_multi_worker import final, launch

OPTIONS = {"dropout": 0, "steps_per_epoch": 20, "epochs": 1}
#: The distance from 1 to the next number. Sums that are divided otherwise are rounded otherwise, each by half
#: of this; the roundings of 20 steps partly cancel. A mean of means would end 37 % of the way off.
EPSILON = {"bfloat16": 2.0**-7, "float16": 2.0**-10}


def moved(values):
    """What 20 steps added to the weights, as one vector."""
    keras.utils.set_random_seed(7)
    start = [np.asarray(w) for w in small_run.small_model(0).trainable_weights]
    trained = [v for v in values if v.dtype == np.float32][: len(start)]
    return np.concatenate([(b - a).ravel() for a, b in zip(start, trained, strict=True)])


def gap(one, other):
    """Length of the difference, as a share of the way."""
    return np.linalg.norm(one - other) / np.linalg.norm(one)


def run(precision, **options):
    return moved(small_run.run(dtype=dtype_policy(precision), **OPTIONS, **options)[0])


@pytest.mark.parametrize(
    ("processor", "policy"),
    [
        ("vendor_id : GenuineIntel flags : avx512f avx512_bf16 amx_bf16", "mixed_bfloat16"),
        ("vendor_id : GenuineIntel flags : avx512f avx512_bf16", "float32"),
        ("vendor_id : AuthenticAMD flags : avx512f avx512_bf16", "mixed_bfloat16"),
        ("vendor_id : AuthenticAMD flags : avx2", "float32"),
    ],
)
def test_auto_is_bfloat16_where_its_products_are_the_faster_ones(processor, policy, monkeypatch):
    monkeypatch.setattr(
        "kbert.training.precision.open", lambda *_, **__: io.StringIO(processor), raising=False
    )
    assert dtype_policy("auto") == policy


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(EPSILON))
def test_replicas_and_micro_batches_take_the_steps_of_one_device(precision):
    exact, one = run("float32", batch_size=16), run(precision, batch_size=16)
    assert EPSILON[precision] / 100 < gap(exact, one) < EPSILON[precision]
    for name, way in {
        "accumulation": {"batch_size": 4, "accumulate": 4},
        "two replicas": {"batch_size": 16, "strategy": "mirrored"},
        "both": {"batch_size": 4, "accumulate": 4, "strategy": "mirrored"},
    }.items():
        assert gap(one, run(precision, **way)) < EPSILON[precision], name


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(EPSILON))
def test_two_workers_take_the_steps_of_one_device(precision, tmp_path):
    """With micro-batches, so that all that can be joined is."""
    options = {**OPTIONS, "dtype": dtype_policy(precision), "batch_size": 4, "accumulate": 4}
    process = launch(tmp_path, *(f"{name}={value}" for name, value in options.items()))
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert gap(run(precision, batch_size=16), moved(final(tmp_path))) < EPSILON[precision]
