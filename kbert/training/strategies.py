"""Which devices a run uses."""

import tensorflow as tf

STRATEGIES = ("default", "mirrored")


def strategy_for(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of that name.

    Args:
        name: `"default"` (one device, whichever TensorFlow prefers) or `"mirrored"` (all GPUs of this
            machine, or all logical CPUs where there is none; the batch is divided among them).

    Raises:
        ValueError: The name is none of these.
    """
    if name == "default":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = [device.name for device in tf.config.list_logical_devices("GPU")]
        if devices:
            return tf.distribute.MirroredStrategy(devices)
        # Between CPUs the default, a ring, fails in the second strategy of a process.
        return tf.distribute.MirroredStrategy(
            [device.name for device in tf.config.list_logical_devices("CPU")],
            cross_device_ops=tf.distribute.ReductionToOneDevice(),
        )
    raise ValueError(f"strategy {name!r} is unknown; expected one of {', '.join(STRATEGIES)}")
