"""What is shown and kept: progress, metrics file, curves, best weights."""

import gc
import json
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.training import AdamW, BestWeights, Checkpoints, CurvesImage, ProgressLog, SummaryLog, fit, loop
from kbert.training.callbacks import read_metrics, seconds_trained
from tests.training import small_run

TOKENS = {"tokens": lambda inputs: tf.math.count_nonzero(inputs > 0)}


def lines_of(caplog):
    return [record.getMessage() for record in caplog.records]


def test_progress_shows_rates_of_what_is_counted(caplog, monkeypatch):
    """A clock that moves half a second a look; positive inputs are the tokens."""
    ticks = iter(np.arange(0, 1000, 0.5))
    # A clock for the callbacks alone: other threads of the process look at the common one.
    monkeypatch.setattr("kbert.training.callbacks.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    with caplog.at_level("INFO", logger="absl"):
        history = small_run.run(
            callbacks=[ProgressLog(0.0)], steps_per_call=5, steps_per_epoch=5, epochs=3, counts=TOKENS
        )[1]
    steps = [line for line in lines_of(caplog) if line.startswith("step")]
    assert [line.split()[1] for line in steps] == ["5/15", "10/15", "15/15"]
    # The first call compiles and has no speed; the second took half a second, with the epoch's tokens.
    assert "steps/s" not in steps[0]
    assert f"10.0 steps/s  {history[1]['tokens'] / 0.5:,.0f} tokens/s, 0:00 left" in steps[1]
    assert "learning_rate 0.0" in steps[0] and "accuracy" in steps[0]


@pytest.mark.slow
def test_counts_are_sums_over_batches_and_replicas():
    options = {"steps_per_epoch": 6, "epochs": 1, "counts": TOKENS, "steps_per_call": 4}
    inputs = [x for x, _ in small_run.batches().take(6)]
    expected = sum(int(np.count_nonzero(x > 0)) for x in inputs)
    assert expected > 100
    assert small_run.run(**options)[1][0]["tokens"] == expected
    assert small_run.run(strategy="mirrored", **options)[1][0]["tokens"] == expected
    assert small_run.run(batch_size=4, accumulate=2, **options)[1][0]["tokens"] == expected


def test_the_metrics_file_has_every_call_and_epoch(tmp_path):
    history = small_run.run(tmp_path, epochs=2, evaluate=lambda: {"score": 0.5})[1]
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows if "epoch" not in row] == [4, 7, 8, 10, 14, 18, 20]
    epochs = [row for row in rows if "epoch" in row]
    assert [(row["epoch"], row["step"]) for row in epochs] == [(1, 10), (2, 20)]
    for row, logs in zip(epochs, history, strict=True):
        assert {name: row[name] for name in logs} == logs and row["val_score"] == 0.5
    assert all(a["seconds"] <= b["seconds"] for a, b in zip(rows, rows[1:], strict=False))


def test_a_line_that_was_cut_off_is_no_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1}]
    assert read_metrics(tmp_path / "none.jsonl") == []
    path.write_text('{"seconds": 2.5}\n{"seconds": 9.25}\n{"sec')
    assert seconds_trained(path) == 9.25 and seconds_trained(tmp_path / "none.jsonl") == 0


def test_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    metrics, image = tmp_path / "metrics.jsonl", tmp_path / "curves.png"
    small_run.run(tmp_path, callbacks=[CurvesImage(metrics, image)], epochs=2)
    with Image.open(image) as picture:
        # A panel each for loss, first, second, accuracy and the learning rate.
        assert picture.height > picture.width * 1.2 and len(picture.convert("RGB").getcolors(1 << 20)) > 20


def test_without_matplotlib_a_line_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with caplog.at_level("INFO", logger="absl"):
        small_run.run(
            tmp_path, callbacks=[CurvesImage(tmp_path / "metrics.jsonl", tmp_path / "x.png")], epochs=1
        )
    assert any(".[plots]" in line for line in lines_of(caplog)) and not (tmp_path / "x.png").exists()


class StopAfter(keras.callbacks.Callback):
    """Ends the process' run without a word, as a crash does."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def on_train_batch_end(self, batch, logs=None):
        self.calls -= 1
        if self.calls == 0:
            raise KeyError


def shown(folder, obeyed=True):
    """Tag -> steps, as TensorBoard reads them: a START takes back what is from its step on."""
    steps = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            if obeyed and event.session_log.status == tf.compat.v1.SessionLog.START:
                steps = {tag: [step for step in found if step < event.step] for tag, found in steps.items()}
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return steps


@pytest.mark.slow
def test_the_curves_of_a_run_that_goes_on_have_no_step_twice(tmp_path):
    """Stopped before the first checkpoint, and then three steps after it."""

    def run(*more):
        optimizer = AdamW(1e-3)
        log = SummaryLog(str(tmp_path / "logs"), optimizer)
        fit(
            small_run.small_model(), optimizer, small_run.TwoLosses(), small_run.batches(),
            steps_per_epoch=10, epochs=2, steps_per_call=2, callbacks=[log, *more],
            checkpoints=Checkpoints(tmp_path / "checkpoints", 7),
        )  # fmt: skip

    for calls in (2, 6):
        with pytest.raises(KeyError):
            run(StopAfter(calls))
        gc.collect()  # The end of a process, which writes what its files still wait for.
        time.sleep(1.1)  # Event files are named by the second.
    run()
    steps = shown(tmp_path / "logs")
    assert steps["train/loss"] == [2, 4, 6, 7, 8, 10, 12, 14, 16, 18, 20]
    assert steps["epoch/loss"] == [10, 20]
    assert len(shown(tmp_path / "logs", obeyed=False)["train/loss"]) == 11 + 2 + 2


SCORES = [0.5, 0.8, 0.7, 0.8, 0.1, 0.9]


@pytest.mark.slow_after_first
@pytest.mark.parametrize(("larger", "best", "epochs"), [(True, 1, 4), (False, 0, 3)])
def test_the_best_weights_are_kept_and_a_run_without_progress_ends(larger, best, epochs, tmp_path):
    """Patience of two epochs; a value that is only equal is not better. Stopped in between, and gone on."""
    seen = {}

    class Watch(keras.callbacks.Callback):
        def __init__(self, crash_in=None):
            super().__init__()
            self.crash_in = crash_in

        def on_epoch_end(self, epoch, logs=None):
            seen[epoch] = [np.asarray(w) for w in self.model.weights]
            if epoch == self.crash_in:
                raise KeyError

    def run(watch, scores):
        keeper = BestWeights(tmp_path / "best.npz", "val_score", larger_is_better=larger, patience=2)
        return keeper, small_run.run(
            tmp_path, callbacks=[keeper, watch], epochs=6, every_steps=10, steps_per_call=10,
            evaluate=lambda: {"score": scores.pop(0)},
        )[1]  # fmt: skip

    with pytest.raises(KeyError):
        run(Watch(crash_in=1), SCORES[:])
    keeper, history = run(Watch(), SCORES[1:])  # From the end of the first epoch.
    assert [logs["val_score"] for logs in history] == SCORES[:epochs]
    model = small_run.small_model()
    keeper.restore(model)
    for a, b in zip(model.weights, seen[best], strict=True):
        np.testing.assert_array_equal(a, b)
    # Started once more, it knows that it had ended.
    assert run(Watch(), [])[1] == history


@pytest.mark.parametrize(("scores", "epochs"), [([0.0] * 6, 5), ([0.0, 0.1, 0.0, 0.2, 0.1, 0.1], 6)])
def test_patience_may_count_from_a_later_epoch_on(scores, epochs, tmp_path):
    """The head alone may score 0 for a while; the epochs from the fourth one on are the first that count."""
    keeper = BestWeights(
        tmp_path / "best.npz", "val_score", larger_is_better=True, patience=2, patience_from=3
    )
    keeper.set_params({"history": []})
    keeper.set_model(small_run.small_model())
    keeper.model.stop_training = False
    for epoch, score in enumerate(scores):
        keeper.params["history"].append({"val_score": score})
        keeper.on_epoch_end(epoch, keeper.params["history"][-1])
        if keeper.model.stop_training:
            break
    assert epoch + 1 == epochs


def test_a_metric_that_is_not_measured_is_named(tmp_path):
    """Also where a callback adds it to the logs, of which the history does not know."""
    added = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_los=0.5))
    with pytest.raises(InputError, match="'val_los' is not measured.*there are accuracy, first, loss"):
        small_run.run(epochs=1, callbacks=[added, BestWeights(tmp_path / "best.npz", "val_los")])


def test_the_batch_of_a_loss_that_is_not_finite_is_kept(tmp_path):
    """The third step of five in one call; the checkpoint of the second stays the last."""
    rows = np.arange(48, dtype="float32").reshape(8, 6)
    rows[5, 2] = np.nan
    targets = {"label": np.zeros(8, "int32"), "weight": np.ones(8, "float32")}
    targets["other_weight"] = targets["weight"]
    targets["record_number"] = np.arange(100, 108)
    data = tf.data.Dataset.from_tensor_slices((rows, targets)).batch(1)
    checkpoints = Checkpoints(tmp_path, every_steps=2)
    message = (
        "loss is nan at step 3;.* its batch of the records 104, 105 is in .*bad-batch-of-step-3.npz, and the "
        "checkpoint of step 2 is intact$"
    )
    with pytest.raises(FloatingPointError, match=message):
        fit(
            small_run.small_model(), AdamW(1e-3), small_run.TwoLosses(), data,
            steps_per_epoch=4, steps_per_call=4, accumulate=2, checkpoints=checkpoints,
        )  # fmt: skip
    assert checkpoints.steps() == [2]
    with np.load(tmp_path / "bad-batch-of-step-3.npz") as file:
        np.testing.assert_array_equal(file["1/inputs/value"], rows[5:6])
        assert sorted(file.files)[0] == "0/inputs/value" and "0/targets/weight" in file.files


def test_of_several_workers_the_chief_alone_keeps_the_batch(tmp_path, monkeypatch):
    """All of them see the NaN at once, and would write to one file."""
    monkeypatch.setattr(loop, "is_chief", lambda strategy=None: False)
    with pytest.raises(FloatingPointError, match="at step 1; lower the learning rate, or train in float32$"):
        fit(
            small_run.small_model(), AdamW(float("inf")), small_run.TwoLosses(), small_run.batches(),
            steps_per_epoch=1, checkpoints=Checkpoints(tmp_path, 1),
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("every_steps", [1, 100], ids=["checkpoint", "epoch"])
def test_weights_that_are_not_finite_are_neither_saved_nor_measured(every_steps, tmp_path):
    """The last step before a checkpoint, or of an epoch, made them so: its own loss is still a number."""
    checkpoints = Checkpoints(tmp_path, every_steps)
    message = r"kernel is not finite at step 1;.* is in .*bad-batch-of-step-1\.npz$"
    with pytest.raises(FloatingPointError, match=message):
        fit(
            small_run.small_model(), AdamW(float("inf")), small_run.TwoLosses(), small_run.batches(),
            steps_per_epoch=1 if every_steps > 1 else 2, checkpoints=checkpoints, evaluate=pytest.fail,
        )  # fmt: skip
    assert checkpoints.steps() == []
