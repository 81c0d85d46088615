"""In which number format a run computes."""

import tensorflow as tf

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def dtype_policy(precision: str) -> str:
    """The Keras dtype policy for a precision: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`.

    Weights, normalizations, softmax and losses stay in float32 under all of them.

    Args:
        precision: `"float32"`, `"bfloat16"`, `"float16"` (for GPUs older than bfloat16; `fit` then scales
            the loss), or `"auto"`: bfloat16 where the device multiplies matrices of it faster than those of
            float32 (a GPU or TPU; a CPU with AMX, or AMD's AVX512-BF16), else float32.

    Raises:
        ValueError: The precision is none of these.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        precision = "bfloat16" if _bfloat16_is_faster() else "float32"
    return precision if precision == "float32" else f"mixed_{precision}"


def _bfloat16_is_faster() -> bool:
    if tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU"):
        return True
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            words = set(file.read().split())
    except OSError:  # No Linux: say nothing about the processor.
        return False
    # Intel's AVX512-BF16 starts one product a cycle where float32 starts two; AMD's starts two of both.
    return "amx_bf16" in words or {"avx512_bf16", "AuthenticAMD"} <= words
