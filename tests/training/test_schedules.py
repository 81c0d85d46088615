"""Schedules against NumPy, step by step, against Google's figures, and through their configs."""

import json

import keras
import numpy as np
import pytest

from kbert.training.schedules import (
    CosineWarmup,
    LinearWarmup,
    PolynomialWarmup,
    WarmupStableDecay,
    schedule_for,
)

PEAK, TOTAL, WARMUP = 3e-4, 100, 10
STEPS = np.arange(TOTAL + 10)


def numpy_rates(after_warmup):
    """The rate at each of STEPS in float64; `after_warmup` is a function of steps up to TOTAL."""
    clamped = np.minimum(STEPS, TOTAL)
    return np.where(STEPS < WARMUP, PEAK * STEPS / WARMUP, after_warmup(clamped))


def share_left(step):
    return (TOTAL - step) / (TOTAL - WARMUP)


CASES = {
    "linear": (
        LinearWarmup(PEAK, TOTAL, WARMUP),
        lambda step: PEAK * share_left(step),
    ),
    "linear as Google counts": (
        LinearWarmup(PEAK, TOTAL, WARMUP, decay_from_start=True),
        lambda step: PEAK * (1 - step / TOTAL),
    ),
    "polynomial": (
        PolynomialWarmup(PEAK, TOTAL, WARMUP, power=2.5, end=1e-5),
        lambda step: 1e-5 + (PEAK - 1e-5) * share_left(step) ** 2.5,
    ),
    "polynomial as Google counts": (
        PolynomialWarmup(PEAK, TOTAL, WARMUP, power=0.5, end=1e-5, decay_from_start=True),
        lambda step: 1e-5 + (PEAK - 1e-5) * (1 - step / TOTAL) ** 0.5,
    ),
    "cosine": (
        CosineWarmup(PEAK, TOTAL, WARMUP, end=2e-5),
        lambda step: 2e-5 + (PEAK - 2e-5) * (1 + np.cos(np.pi * (1 - share_left(step)))) / 2,
    ),
    "stable": (
        WarmupStableDecay(PEAK, TOTAL, WARMUP, decay_steps=30, end=2e-5),
        lambda step: np.where(step < 70, PEAK, 2e-5 + (PEAK - 2e-5) * (TOTAL - step) / 30),
    ),
}
each_case = pytest.mark.parametrize("schedule, after_warmup", CASES.values(), ids=CASES)


@each_case
def test_every_step_equals_numpy(schedule, after_warmup):
    np.testing.assert_allclose(
        np.array(schedule(STEPS)), numpy_rates(after_warmup), rtol=1e-5, atol=1e-6 * PEAK
    )


@each_case
def test_first_and_last_step_are_exact(schedule, after_warmup):
    assert float(schedule(0)) == 0.0
    if not getattr(schedule, "decay_from_start", False):
        assert np.float32(schedule(WARMUP)) == np.float32(PEAK)
    end = np.float32(getattr(schedule, "end", 0.0))
    assert np.float32(schedule(TOTAL)) == end and np.float32(schedule(10 * TOTAL)) == end


@each_case
def test_config_round_trip_gives_the_same_rates(schedule, after_warmup):
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(json.loads(json.dumps(config)))
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()
    np.testing.assert_array_equal(np.array(again(STEPS)), np.array(schedule(STEPS)))


@pytest.mark.parametrize("decay_from_start", [True, False])
def test_without_warmup_the_first_step_has_the_peak(decay_from_start):
    assert np.float32(LinearWarmup(PEAK, TOTAL, 0, decay_from_start)(0)) == np.float32(PEAK)
    assert np.float32(CosineWarmup(PEAK, TOTAL)(0)) == np.float32(PEAK)


@pytest.mark.parametrize(
    "schedule",
    [
        LinearWarmup(PEAK, 4, 4),
        PolynomialWarmup(PEAK, 4, 4, power=2.0),
        CosineWarmup(PEAK, 4, 4),
        WarmupStableDecay(PEAK, 4, 4, 0),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_a_run_that_is_all_warmup_ends_at_zero(schedule):
    expected = np.float32(PEAK) * np.array([0, 0.25, 0.5, 0.75, 0, 0], "float32")
    np.testing.assert_allclose(np.array(schedule(np.arange(6))), expected, rtol=1e-6)


@pytest.mark.golden
def test_linear_and_polynomial_equal_googles(shared):
    cases = json.loads((shared / "golden/optimizer/optimizer.json").read_text())["schedules"]
    assert cases
    for case in cases:
        settings = (case["init_lr"], case["num_train_steps"], case["num_warmup_steps"] or 0)
        for schedule in (
            LinearWarmup(*settings, decay_from_start=True),
            PolynomialWarmup(*settings, power=1.0, decay_from_start=True),
        ):
            rates = [float(schedule(step)) for step in case["steps"]]
            np.testing.assert_allclose(rates, case["learning_rate"], rtol=2e-5, atol=1e-7 * case["init_lr"])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LinearWarmup(PEAK, 10, 11), "warmup_steps=11, total_steps=10"),
        (lambda: CosineWarmup(PEAK, 0), "at least one step"),
        (lambda: WarmupStableDecay(PEAK, 10, 4, 7), "decay_steps=7; expected 0 to 6"),
    ],
)
def test_contradictions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name, at_20, at_95", [("linear", 80 / 90, 5 / 90), ("google", 0.8, 0.05),
                                                ("cosine", None, None), ("stable", 1.0, 0.5)])  # fmt: skip
def test_schedules_by_name(name, at_20, at_95):
    schedule = schedule_for(name, 1.0, total_steps=100, warmup_steps=10)
    assert [float(schedule(step)) for step in (0, 5, 100)] == [0.0, 0.5, 0.0]
    if at_20 is not None:
        np.testing.assert_allclose([float(schedule(step)) for step in (20, 95)], [at_20, at_95], rtol=1e-5)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="expected one of linear, google, cosine, stable"):
        schedule_for("exponential", 1.0, 100, 10)
