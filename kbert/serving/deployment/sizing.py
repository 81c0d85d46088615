"""Memory, threads and times of a deployment, from the weights, the versions and the processors."""

import math
from dataclasses import dataclass

from kbert.serving.deployment.plan import Plan

_MIB = 2**20

#: The server's program, its threads and the largest batches, without weights, in MiB.
_BASE_MIB = 1024

#: The same with CUDA's libraries, in MiB.
_BASE_GPU_MIB = 4096

#: The largest batch that the server puts together.
MAX_BATCH_SIZE = 32

#: A start is given this time and what reading the weights from a slow volume takes, in seconds.
_START_SECONDS = 600
_SLOW_BYTES_PER_SECOND = 20e6


@dataclass(frozen=True)
class Sizing:
    """The numbers of a deployment.

    Args:
        memory_mib: Limit of one server, in MiB.
        threads: Requests that one server takes in at once, over REST and over gRPC.
        startup_seconds: How long a start may take before it counts as failed.
        batch_threads: Batches that are computed at once.
        batch_timeout_micros: How long a request waits for others to share its batch, in microseconds.
    """

    memory_mib: int
    threads: int
    startup_seconds: int
    batch_threads: int
    batch_timeout_micros: int


def size(plan: Plan) -> Sizing:
    """Computes the numbers of a deployment.

    A new version is loaded before an old one goes, so there is room for one more than are served; half a
    version on top is what reading a checkpoint takes. One version thus needs 2.5 times its weights.

    Args:
        plan: What is served.

    Returns:
        The numbers.
    """
    weights = max(version.weights_bytes for version in plan.loaded)
    base = _BASE_GPU_MIB if plan.choices.gpu else _BASE_MIB
    memory = base + (len(plan.loaded) + 1.5) * weights / _MIB
    seconds = _START_SECONDS + len(plan.loaded) * weights / _SLOW_BYTES_PER_SECOND
    return Sizing(
        memory_mib=math.ceil(memory / 64) * 64,
        # Batches fill up only if twice as many requests are let in; the server's own number, four for each
        # processor, turned away 12 callers on 2 processors.
        threads=max(2 * MAX_BATCH_SIZE, 8 * plan.choices.cpus),
        startup_seconds=round(seconds / 60) * 60,
        batch_threads=2 if plan.choices.gpu else plan.choices.cpus,
        batch_timeout_micros=2000 if plan.choices.gpu else 5000,
    )
