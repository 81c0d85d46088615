"""`without_autotuning`: data that are let go of at once."""

import tensorflow as tf


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset, which TensorFlow does not try to make faster while it is read.

    For rows of ids there is little to win, since a step takes far longer than its batch. And there is time to
    lose: the thread that tunes sleeps 10 ms, then twice as long each time, up to a minute, and about every
    second iterator cannot be deleted before that thread has woken up (TensorFlow 2.21). So a run of two
    minutes, or a measurement of three seconds, would end by waiting for up to as long again.

    With `num_parallel_calls=tf.data.AUTOTUNE` a map then uses all cores.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
