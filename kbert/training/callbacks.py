"""What a run shows while it works: a line of progress, a file of its figures, and curves for TensorBoard."""

import json
import os
import time
from pathlib import Path

import keras
import tensorflow as tf
from absl import logging

from kbert.training.strategies import is_chief


class ProgressLog(keras.callbacks.Callback):
    """Logs step, loss, speed and remaining time, every few seconds and at the end of an epoch.

    What `fit` counts, such as tokens, is shown as a rate. Of several workers only the chief speaks.

    Args:
        every_seconds: Least time between two lines.
    """

    def __init__(self, every_seconds: float = 5.0):
        super().__init__()
        self.every_seconds = every_seconds

    def on_train_begin(self, logs=None):
        self._speaks = is_chief()
        self._first_done = None
        self._last_line = time.monotonic()
        self._counted = dict.fromkeys(self.params["counts"], 0.0)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        logs, now = logs or {}, time.monotonic()
        done = self._epoch * self.params["steps"] + batch + 1
        if self._first_done is None:  # The first call compiles; it says nothing about the speed.
            self._first_done, self._started = done, now
        else:
            for name in self._counted:
                self._counted[name] += logs[name]
        if self._speaks and now - self._last_line >= self.every_seconds:
            self._last_line = now
            self._line(done, now - self._started, logs)

    def on_epoch_end(self, epoch, logs=None):
        if self._speaks:
            logging.info("epoch %d/%d done: %s", epoch + 1, self.params["epochs"], _format(logs))

    def _line(self, done, seconds, logs):
        total = self.params["epochs"] * self.params["steps"]
        figures = {name: value for name, value in logs.items() if name not in self._counted}
        line = f"step {done}/{total}  {_format(figures)}"
        if done > self._first_done:
            speed = (done - self._first_done) / seconds
            rates = "".join(f"  {count / seconds:,.0f} {name}/s" for name, count in self._counted.items())
            line += f"  {speed:.1f} steps/s{rates}, {_duration((total - done) / speed)} left"
        logging.info("%s", line)


class MetricsFile(keras.callbacks.Callback):
    """Writes the figures of a run as JSON lines, one for each call of the loop and each epoch.

    A line has `step` (of the whole run), `seconds` since the run began, and the logs; that of an epoch also
    `epoch`, counted from 1. A run that goes on from a checkpoint first removes the lines after it, and
    counts the seconds on from there: in the end there is one line for each, as if it had not been
    interrupted. Only a call that a signal ended early has two, of its first steps and of the others.

    Args:
        path: File to append to; its folder is made if missing. A run from the start replaces it.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = Path(path)

    def on_train_begin(self, logs=None):
        self._writes = is_chief()
        if self._writes:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            first, epochs = self.params["first_step"], len(self.params["history"])
            rows = read_metrics(self.path)
            kept = [row for row in rows if row["step"] <= first and row.get("epoch", 0) <= epochs]
            partial = self.path.with_name(f".{self.path.name}.partial")
            partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
            partial.replace(self.path)
            self._started = time.monotonic() - (kept[-1]["seconds"] if kept else 0.0)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._step = self._epoch * self.params["steps"] + batch + 1
        self._write({}, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._step = (epoch + 1) * self.params["steps"]
        self._write({"epoch": epoch + 1}, logs)

    def _write(self, more, logs):
        if self._writes:
            seconds = round(time.monotonic() - self._started, 3)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self._step, "seconds": seconds, **more, **logs}) + "\n")


def read_metrics(path: str | os.PathLike) -> list[dict[str, float]]:
    """The lines of a `MetricsFile`; none where there is no file, and without a last one that was cut off."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def seconds_trained(path: str | os.PathLike) -> float:
    """What a run took by its `MetricsFile`, its parts before an interruption with it."""
    return max((row["seconds"] for row in read_metrics(path)), default=0.0)


class SummaryLog(keras.callbacks.Callback):
    """Writes the means of every call of the loop, the learning rate and the epochs' results for TensorBoard.

    A run that was killed has written more than its last checkpoint knows. One that goes on, or begins anew in
    the same folder, tells TensorBoard from which step on it is to forget what older files say.

    Args:
        log_dir: Folder of the event files.
        optimizer: Its count of updates is the step of the curves.
    """

    def __init__(self, log_dir: str, optimizer: keras.optimizers.Optimizer):
        super().__init__()
        self.log_dir = log_dir
        self.optimizer = optimizer

    def on_train_begin(self, logs=None):
        self._writer = None
        if is_chief():
            _forget_from(self._step() + 1, self.log_dir)
            self._writer = tf.summary.create_file_writer(self.log_dir)

    def on_train_batch_end(self, batch, logs=None):
        self._write(logs or {}, "train/")

    def on_epoch_end(self, epoch, logs=None):
        self._write(logs or {}, "epoch/")

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()

    def _write(self, values, prefix):
        if self._writer is None:
            return
        with self._writer.as_default(self._step()):
            for name, value in values.items():
                tf.summary.write(prefix + name, tf.constant(value, tf.float32), metadata=_scalar_metadata())

    def _step(self) -> int:
        return int(keras.ops.convert_to_numpy(self.optimizer.iterations))


def _forget_from(step: int, log_dir: str) -> None:
    """Writes the event that says so; today's writers of TensorFlow have no call for it."""
    start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    with tf.Graph().as_default():  # This writer knows no eager execution, and needs none.
        writer = tf.compat.v1.summary.FileWriter(log_dir)
        writer.add_session_log(start, step)
        writer.close()


def _scalar_metadata():
    """Marks a value as a TensorBoard scalar; `tf.summary.scalar` would need the tensorboard package."""
    metadata = tf.compat.v1.SummaryMetadata(data_class=1)  # DATA_CLASS_SCALAR
    metadata.plugin_data.plugin_name = "scalars"
    return metadata


def _format(logs) -> str:
    return "  ".join(
        f"{name} {value:.4f}" if value >= 0.001 or value == 0 else f"{name} {value:.2e}"
        for name, value in (logs or {}).items()
    )


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
