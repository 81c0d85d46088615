"""A run that was stopped anywhere gives, bit for bit, what one gives that was not."""

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.training import Checkpoints, Terminated, end_on_sigterm
from kbert.training.checkpointing import write_arrays
from kbert.training.faults import StopSignals
from kbert.training.loop import _Run
from tests.training import small_run

ROOT = Path(__file__).resolve().parents[2]


def metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run: variables, history and the lines of its metrics file."""
    folder = tmp_path_factory.mktemp("whole")
    return *small_run.run(folder), metrics(folder)


@pytest.fixture(scope="module")
def whole_measured(tmp_path_factory):
    """The same with a measure, and without checkpoints within an epoch."""
    folder = tmp_path_factory.mktemp("measured")
    return *small_run.run(folder, every_steps=1000, evaluate=lambda: {"score": 0.5}), metrics(folder)


def assert_same(run, whole, folder):
    values, history = run
    assert len(values) == len(whole[0])
    for a, b in zip(values, whole[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == whole[1]
    assert metrics(folder) == whole[2]


class StopAt(keras.callbacks.Callback):
    """Does something when the run has come to a step."""

    def __init__(self, step, action):
        super().__init__()
        self.step, self.action = step, action

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch * small_run.STEPS + batch + 1 >= self.step:
            self.action()


class Crash(Exception):
    pass


def crash():
    raise Crash


def test_the_run_is_one_in_which_every_part_matters(whole):
    """Dropout seeds move, losses change, and the metrics file has a line for each call and epoch."""
    values, history, lines = whole
    assert len(history) == small_run.EPOCHS and len({logs["loss"] for logs in history}) == small_run.EPOCHS
    assert [v[1] for v in values if v.shape == (2,)] == [small_run.STEPS * small_run.EPOCHS]
    steps = [line["step"] for line in lines if "epoch" not in line]
    assert steps[:6] == [4, 7, 8, 10, 14, 18] and steps[-1] == 40


@pytest.mark.slow_after_first
@pytest.mark.parametrize("step", [1, 8, 10, 23, 40])
def test_a_crash_at_any_step_changes_nothing(step, whole, tmp_path):
    """Before the first checkpoint, after one, at the end of an epoch, far on, and at the very end."""
    with pytest.raises(Crash):
        small_run.run(tmp_path, callbacks=[StopAt(step, crash)])
    assert_same(small_run.run(tmp_path), whole, tmp_path)


def test_a_run_that_is_complete_is_not_run_again(whole, tmp_path):
    small_run.run(tmp_path)
    assert_same(small_run.run(tmp_path, callbacks=[StopAt(0, crash)]), whole, tmp_path)


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_saves_first(number, error, whole, tmp_path, monkeypatch):
    """In the middle of a call of four steps, from step 10 to 14."""
    before, call = signal.getsignal(number), _Run._call

    def signalled(run, count):
        totals = call(run, count)
        if run.state.step == 12:
            signal.raise_signal(number)
        return totals

    with monkeypatch.context() as slow:
        slow.setattr("kbert.training.loop.CALL_SECONDS", 0.0)  # Each step is a part of its own.
        slow.setattr(_Run, "_call", signalled)
        with pytest.raises(error) as stopped:
            small_run.run(tmp_path)
    assert signal.getsignal(number) is before
    if error is Terminated:
        assert stopped.value.code == 75
    assert Checkpoints(tmp_path / "checkpoints").steps() == [12, 10]  # 10 is the end of an epoch.
    values, history, lines = *small_run.run(tmp_path), metrics(tmp_path)
    for a, b in zip(values, whole[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == whole[1]
    parts = (12, 14)
    assert [line["step"] for line in lines if line["step"] in parts] == [12, 14]
    of_others = [[line for line in each if line["step"] not in parts] for each in (lines, whole[2])]
    assert of_others[0] == of_others[1]


@pytest.mark.parametrize("way", ["killed while it measures", "killed after it measured", "signalled before"])
def test_an_epoch_that_was_not_measured_is_not_trained_again(way, whole_measured, tmp_path):
    """As where SIGTERM comes, and the patience of whoever sent it ends before the measure does."""
    measured = []

    def measure():
        measured.append(None)
        if way == "killed while it measures" and len(measured) == 2:
            raise Crash
        return {"score": 0.5}

    def stop(*_):
        if way == "killed after it measured" and len(measured) == 2:
            raise Crash

    begun = [StopAt(20, lambda: signal.raise_signal(signal.SIGTERM))] if way == "signalled before" else []
    stopping = [*begun, keras.callbacks.LambdaCallback(on_epoch_end=stop)]
    with pytest.raises((Crash, Terminated)):
        small_run.run(tmp_path, callbacks=stopping, every_steps=1000, evaluate=measure)
    assert Checkpoints(tmp_path / "checkpoints").steps()[0] == 20
    assert len(measured) == (1 if way == "signalled before" else 2)
    steps = []
    seen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    run = small_run.run(tmp_path, callbacks=[seen], every_steps=1000, evaluate=lambda: {"score": 0.5})
    assert_same(run, whole_measured, tmp_path)
    assert steps == [3, 7, 9] * 2  # Of the third and the fourth epoch.


def test_sigterm_outside_of_a_run_has_the_same_exit_code(caplog):
    before = signal.getsignal(signal.SIGTERM)
    try:
        end_on_sigterm()
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGTERM)
            assert signals.received == signal.SIGTERM  # Within a run it is held as ever.
        with caplog.at_level("INFO", logger="absl"), pytest.raises(Terminated) as stopped:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.code == 75 and "SIGTERM: leaving; the same command goes on" in caplog.text


def test_a_signal_that_comes_while_the_workers_agree_is_not_lost():
    def interrupted(values):
        signal.raise_signal(signal.SIGTERM)
        return values

    with StopSignals() as signals:
        signals.agree(interrupted)
        assert signals.agreed is None
        signals.agree(list)
        assert signals.agreed == signal.SIGTERM
        with pytest.raises(Terminated):
            signals.leave()


@pytest.mark.slow
def test_accumulation_goes_on_too(tmp_path):
    values, history = small_run.run(accumulate=3)
    with pytest.raises(Crash):
        small_run.run(tmp_path, accumulate=3, callbacks=[StopAt(17, crash)])
    again, history_again = small_run.run(tmp_path, accumulate=3)
    for a, b in zip(values, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == history_again


@pytest.mark.slow
def test_two_replicas_go_on_too(tmp_path):
    values, history = small_run.run(strategy="mirrored")
    with pytest.raises(Crash):
        small_run.run(tmp_path, strategy="mirrored", callbacks=[StopAt(17, crash)])
    again, history_again = small_run.run(tmp_path, strategy="mirrored")
    for a, b in zip(values, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == history_again


@pytest.mark.slow
def test_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(whole, tmp_path):
    small_run.run(tmp_path)
    folder = tmp_path / "checkpoints"
    assert Checkpoints(folder).steps() == [40, 35]
    content = (folder / "step-000000040.npz").read_bytes()
    places = {"cut off": content[: len(content) // 2], "empty": b""}
    for place in random.Random(3).sample(range(len(content)), 40):
        places[f"bit {place}"] = content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
    variables = [keras.Variable(v) for v in whole[0]]
    for what, damaged in places.items():
        (folder / "step-000000040.npz").write_bytes(damaged)
        for variable in variables:
            variable.assign(tf.zeros_like(variable.value))
        notes = Checkpoints(folder).restore(variables)
        if notes["step"] == 40:  # The bit was one of those that mean nothing, such as a time.
            for variable, value in zip(variables, whole[0], strict=True):
                np.testing.assert_array_equal(variable, value, err_msg=what)
    (folder / "step-000000040.npz").write_bytes(places["cut off"])
    assert_same(small_run.run(tmp_path), whole, tmp_path)


def test_without_a_good_checkpoint_nothing_is_guessed(tmp_path):
    small_run.run(tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="all 2 checkpoints are damaged"):
        small_run.run(tmp_path)


def test_a_checkpoint_that_cannot_be_opened_is_not_taken_for_a_damaged_one(tmp_path):
    """Such as another user's; nobody shall be told to remove it."""
    variables = [keras.Variable([1.0])]
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, variables, {})
    (tmp_path / "step-000000002.npz").mkdir()  # Which nobody can open, not even the administrator.
    with pytest.raises(OSError, match="step-000000002.npz"):
        checkpoints.restore(variables)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(whole, tmp_path):
    """A limit on the size of files, which fails in the middle of writing as a full disk does."""
    folder = tmp_path / "checkpoints"
    size = 3000

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(InputError, match=r"step-000000020.npz: could not be written .*saved before"):
            small_run.run(tmp_path, callbacks=[StopAt(18, fill)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in folder.iterdir()) == ["step-000000010.npz", "step-000000014.npz"]
    assert_same(small_run.run(tmp_path), whole, tmp_path)


def test_another_run_is_refused(tmp_path):
    small_run.run(tmp_path, epochs=1)
    with pytest.raises(InputError, match="steps_per_epoch=10, which cannot go on with 5"):
        small_run.run(tmp_path, steps_per_epoch=5)
    variables = [keras.Variable([1.0])]
    with pytest.raises(InputError, match="holds 14 variables, but model and optimizer have 1"):
        Checkpoints(tmp_path / "checkpoints").restore(variables)
    Checkpoints(tmp_path / "other", settings={"seed": 1, "sizes": (1, 2)}).save(3, variables, {})
    with pytest.raises(InputError, match="seed=1, which cannot go on with 2"):
        Checkpoints(tmp_path / "other", settings={"seed": 2, "sizes": (1, 2)}).restore(variables)
    with pytest.raises(InputError, match=r"has shape \(1,\), but .* has \(2,\)"):
        Checkpoints(tmp_path / "other", settings={"seed": 1, "sizes": (1, 2)}).restore(
            [keras.Variable([1.0, 2.0])]
        )


def test_a_folder_that_another_run_trains_into_is_refused(whole, tmp_path):
    """Both would write the same files; one of them would end with the other's weights."""
    folder, refused = tmp_path / "checkpoints", "checkpoints: another process trains into it; wait"

    def start_again():
        with pytest.raises(InputError, match=refused):
            small_run.run(tmp_path)

    assert_same(small_run.run(tmp_path, callbacks=[StopAt(18, start_again)]), whole, tmp_path)
    with Checkpoints(tmp_path / "new").held():
        pass
    assert folder.exists() and not (tmp_path / "new").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="locks of Linux")
def test_where_there_are_no_locks_runs_go_on(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with Checkpoints(tmp_path).held(), Checkpoints(tmp_path).held():
        assert "cannot be locked ([Errno 37] No locks available)" in caplog.text
    monkeypatch.setattr("kbert.training.checkpointing.fcntl", None)  # As on Windows.
    with Checkpoints(tmp_path).held(), Checkpoints(tmp_path).held():
        pass


def test_every_dtype_comes_back(tmp_path):
    values = [np.float32(np.pi), np.int64(2**60 + 1), np.array([True, False]), np.array([1, 2**31], "uint32")]
    variables = [keras.Variable(v, dtype=v.dtype.name) for v in values]
    variables.append(keras.Variable(np.linspace(-3, 3, 7), dtype="bfloat16"))
    before = [np.asarray(v) for v in variables]
    Checkpoints(tmp_path).save(1, variables, {})
    for variable in variables:
        variable.assign(tf.zeros_like(variable.value))
    Checkpoints(tmp_path).restore(variables)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), value)
        assert np.asarray(variable).dtype == value.dtype


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, small_run.__file__, str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def finish(folder, *arguments):
    assert start(folder, *arguments).wait(timeout=300) == 0
    with np.load(folder / "final.npz") as file:
        return [file[name] for name in file.files]


def wait_for_step(folder, step, process):
    while process.poll() is None:
        path = folder / "metrics.jsonl"
        if path.exists() and any(f'"step": {n},' in path.read_text() for n in range(step, step + 4)):
            return
        time.sleep(0.002)
    raise AssertionError(f"the run ended before step {step}, with {process.returncode}")


@pytest.mark.slow
def test_kill_9_at_five_random_steps_changes_nothing(tmp_path):
    arguments = ("steps_per_epoch=100", "steps_per_call=2", "every_steps=9")
    whole = finish(tmp_path / "whole", *arguments)
    folder = tmp_path / "killed"
    chance = random.Random()
    for step in sorted(chance.sample(range(5, 390), 5)):
        process = start(folder, *arguments)
        wait_for_step(folder, step, process)
        time.sleep(chance.random() * 0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL, f"step {step}"
    for a, b in zip(finish(folder, *arguments), whole, strict=True):
        np.testing.assert_array_equal(a, b)
    assert metrics(folder) == metrics(tmp_path / "whole")


@pytest.mark.slow
def test_kill_9_while_a_checkpoint_is_written_changes_nothing(tmp_path):
    whole = finish(tmp_path / "whole")
    folder = tmp_path / "killed"
    for array in (1, 9):  # In the first checkpoint, and in one of the later ones.
        process = start(folder, f"kill_during_array={array}")
        assert process.wait(timeout=300) == -signal.SIGKILL
        assert [path for path in (folder / "checkpoints").iterdir() if path.name.endswith(".partial")]
    for a, b in zip(finish(folder), whole, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not [path for path in (folder / "checkpoints").iterdir() if path.name.endswith(".partial")]


def test_a_checkpoint_is_written_where_no_folder_can_be_opened(tmp_path, monkeypatch):
    """As on Windows."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "step-000000001.npz"
    with monkeypatch.context() as windows:
        windows.setattr(os, "open", refuse)
        windows.setattr(os, "name", "nt")
        write_arrays(path, {"a": np.arange(3)})
    with np.load(path) as file:
        assert file["a"].tolist() == [0, 1, 2]
