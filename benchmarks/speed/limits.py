"""What the machine can do: the rate of its matrix products, and the arithmetic that a token needs."""

import statistics
import time
from collections.abc import Mapping, Sequence

#: The candidate that only measures the machine.
PEAK = "peak"
#: A peer that takes this many times as long in bfloat16 as in float32 is nobody's choice there.
TOO_SLOW = 10


def work_off_peak(turns):
    """A candidate's process that tells how fast a product of two 2048 x 2048 matrices is."""
    import tensorflow as tf

    sides = [tf.random.stateless_normal([2048] * 2, [1, number]) for number in range(2)]
    halves = [tf.cast(side, tf.bfloat16) for side in sides]

    def rate(pair):
        rates = []
        for _ in range(12):
            began = time.perf_counter()
            tf.matmul(*pair)[0, 0].numpy()
            rates.append(2 * 2048**3 / (time.perf_counter() - began))
        return statistics.median(rates[2:])

    turns.introduce()
    while True:
        turns.end(float32_flops=rate(sides), bfloat16_flops=rate(halves))


def torch_bfloat16_slowdown() -> float:
    """How many times as long torch takes for a matrix product in bfloat16 as for one in float32.

    Less than 1 where the processor multiplies bfloat16 itself; 300 on one with AVX2 alone (AMD Zen 1, torch
    2.13), for torch then goes number by number.
    """
    import torch

    def seconds(dtype):
        side, taken = torch.ones([256, 256], dtype=dtype), []
        for _ in range(4):
            began = time.perf_counter()
            side @ side
            taken.append(time.perf_counter() - began)
        return min(taken)

    return seconds(torch.bfloat16) / seconds(torch.float32)


def training_flop(config, lengths: Sequence[int], mask_rate: float) -> float:
    """Floating-point operations of the matrix products of training, for a real token.

    3 (2 N + 4 L d s + 2 m d (V + d)), with N = L (4 d² + 2 d f) weights of the blocks, s the mean length
    that a token meets, E[len²] / E[len], and m the share of the tokens that are guessed. It is the work
    of the whole model, the same for all candidates: what one of them need not compute counts as done.

    Args:
        config: `BertConfig`.
        lengths: Of the rows, in pieces.
        mask_rate: Share of the tokens that the MLM head sees; 0 without it.
    """
    layers, width = config.num_layers, config.hidden_dim
    weights = layers * (4 * width**2 + 2 * width * config.intermediate_dim)
    met = sum(length * length for length in lengths) / sum(lengths)
    head = 2 * mask_rate * width * (config.vocab_size + width)
    return 3 * (2 * weights + 4 * layers * width * met + head)


def median_peaks(turns: Sequence[Mapping]) -> dict[str, float]:
    """`float32_gflops` and `bfloat16_gflops` of the turns of `PEAK`."""
    return {
        f"{name}_gflops": statistics.median(turn[f"{name}_flops"] for turn in turns) / 1e9
        for name in ("float32", "bfloat16")
    }


def rates(turns: Sequence[Mapping], lengths: Sequence[int], flop: float, peaks, bfloat16: bool) -> dict:
    """What the turns of a candidate come to, in real tokens a second: their median, and the ends.

    Args:
        turns: What it said.
        lengths: Of the rows of a turn.
        flop: Of a real token.
        peaks: Of `median_peaks`.
        bfloat16: Whether it is compared with bfloat16's rate.
    """
    found = sorted(sum(lengths) / turn["seconds"] for turn in turns)
    median = statistics.median(found)
    return {
        "real_tokens_per_second": median,
        "slowest": found[0],
        "fastest": found[-1],
        "share_of_peak": median * flop / peaks["bfloat16_gflops" if bfloat16 else "float32_gflops"] / 1e9,
        "peak_mib": turns[-1]["peak_mib"],
        "seconds": [turn["seconds"] for turn in turns],
    }
