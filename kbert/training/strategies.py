"""Which devices a run uses, and what its processes must agree on."""

import json
import os
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kbert.errors import InputError

STRATEGIES = ("default", "mirrored", "multi_worker", "tpu")


def strategy_for(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of that name.

    Args:
        name: `"default"`: one device, whichever TensorFlow prefers. `"mirrored"`: all GPUs of this machine,
            or all logical CPUs where there is none. `"multi_worker"`: all processes that the environment
            variable TF_CONFIG names, each started with the same command; to be asked for before anything
            else is done with TensorFlow. `"tpu"`: the TPU that TPU_NAME names, or this machine's; written
            by TensorFlow's rules, and tried on none. The batch is divided among all devices.

    Raises:
        InputError: `"multi_worker"` without TF_CONFIG, or another one where TF_CONFIG names several workers.
        ValueError: The name is none of these.
    """
    if name in STRATEGIES and name != "multi_worker" and (count := _workers_of_environment()) > 1:
        raise InputError(
            f"TF_CONFIG names {count} workers, but with strategy {name!r} each of them would train alone and "
            f"write to the same folder; give pretrain.py --strategy=multi_worker, and start other scripts "
            f"without tf_scripts/launch_local.py"
        )
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
    if name == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise InputError(
                "strategy 'multi_worker': the environment has no TF_CONFIG, which names the workers; on one "
                "machine tf_scripts/launch_local.py sets it, on several your scheduler does"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=os.environ.get("TPU_NAME", ""))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    raise ValueError(f"strategy {name!r} is unknown; expected one of {', '.join(STRATEGIES)}")


def is_chief(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether this process is the one that writes files: the chief, or worker 0, or the only one.

    Args:
        strategy: Default: the one in whose scope this is called.
    """
    resolver = (strategy or tf.distribute.get_strategy()).cluster_resolver
    if resolver is None or resolver.task_type is None:
        return True
    if resolver.task_type == "worker" and "chief" not in resolver.cluster_spec().jobs:
        return resolver.task_id == 0
    return resolver.task_type in ("chief", "master")


def is_tpu() -> bool:
    """Whether the strategy in whose scope this is called is for TPUs, whose compiler must know all shapes."""
    return isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether several processes train together."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def summing_over_workers(strategy: tf.distribute.Strategy) -> Callable[[Sequence[float]], np.ndarray]:
    """A function that adds up numbers over all processes; all of them must call it at the same place.

    Decisions such as "stop now" have to be the same in all workers, or one would wait for ever. What only
    the chief knows is agreed on by adding its number to everybody else's zero.
    """
    if not is_multi_worker(strategy):
        return lambda values: np.asarray(values, np.float64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float64)])
    def total(values):
        sums = strategy.reduce(
            tf.distribute.ReduceOp.SUM, strategy.run(tf.identity, args=(values,)), axis=None
        )
        # Each replica of a worker brought the worker's numbers.
        return sums / (strategy.num_replicas_in_sync // _workers(strategy))

    return lambda values: total(tf.constant(values, tf.float64)).numpy()


def _workers(strategy) -> int:
    return _count(strategy.cluster_resolver.cluster_spec().as_dict())


def _workers_of_environment() -> int:
    """How many processes TF_CONFIG names; 0 where it is not set, or says nothing of a cluster."""
    try:
        return _count(json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster") or {})
    except (ValueError, AttributeError):  # No JSON, or of another form: nobody trains by it.
        return 0


def _count(jobs) -> int:
    return sum(len(jobs.get(job, ())) for job in ("chief", "master", "worker"))


def spread_seeds(model: keras.Model) -> None:
    """Gives each replica random numbers of its own; from the same seeds they would drop the same units."""
    strategy = tf.distribute.get_strategy()
    seeds = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    if strategy.num_replicas_in_sync == 1 or not seeds:
        return

    @tf.function
    def spread():
        strategy.run(shift)

    def shift():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        for seed in seeds:
            # The first replica keeps its seed: it is the one that a checkpoint holds.
            seed.assign_add(tf.stack([tf.cast(number, seed.dtype) * 1_000_003, tf.zeros([], seed.dtype)]))

    spread()
