"""What a run shows while it works: a line of progress, and curves for TensorBoard."""

import time

import keras
import tensorflow as tf
from absl import logging


class ProgressLog(keras.callbacks.Callback):
    """Logs step, loss, accuracy, speed and remaining time, every few seconds and at the end of an epoch.

    Args:
        every_seconds: Least time between two lines.
    """

    def __init__(self, every_seconds: float = 5.0):
        super().__init__()
        self.every_seconds = every_seconds

    def on_train_begin(self, logs=None):
        self._started = self._last_line = time.monotonic()
        self._first_done = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        done = self._epoch * self.params["steps"] + batch + 1
        if self._first_done is None:  # The first call compiles; it says nothing about the speed.
            self._first_done, self._started = done, now
        if now - self._last_line < self.every_seconds:
            return
        self._last_line = now
        total = self.params["epochs"] * self.params["steps"]
        line = f"step {done}/{total}  {_format(logs)}"
        if done > self._first_done:
            speed = (done - self._first_done) / (now - self._started)
            line += f"  {speed:.1f} steps/s, {(total - done) / speed:.0f} s left"
        logging.info("%s", line)

    def on_epoch_end(self, epoch, logs=None):
        logging.info("epoch %d/%d done: %s", epoch + 1, self.params["epochs"], _format(logs))


class SummaryLog(keras.callbacks.Callback):
    """Writes the means of every call of the loop, the learning rate and the epochs' results for TensorBoard.

    Args:
        log_dir: Folder of the event files.
        optimizer: Its learning rate is written.
    """

    def __init__(self, log_dir: str, optimizer: keras.optimizers.Optimizer):
        super().__init__()
        self.log_dir = log_dir
        self.optimizer = optimizer

    def on_train_begin(self, logs=None):
        self._writer = tf.summary.create_file_writer(self.log_dir)

    def on_train_batch_end(self, batch, logs=None):
        rate = float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))
        self._write({**(logs or {}), "learning_rate": rate}, "train/")

    def on_epoch_end(self, epoch, logs=None):
        self._write(logs or {}, "epoch/")

    def on_train_end(self, logs=None):
        self._writer.close()

    def _write(self, values, prefix):
        step = int(keras.ops.convert_to_numpy(self.optimizer.iterations))
        with self._writer.as_default(step):
            for name, value in values.items():
                tf.summary.write(prefix + name, tf.constant(value, tf.float32), metadata=_scalar_metadata())


def _scalar_metadata():
    """Marks a value as a TensorBoard scalar; `tf.summary.scalar` would need the tensorboard package."""
    metadata = tf.compat.v1.SummaryMetadata(data_class=1)  # DATA_CLASS_SCALAR
    metadata.plugin_data.plugin_name = "scalars"
    return metadata


def _format(logs) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
