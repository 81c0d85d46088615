"""`in_int8`: a trained model becomes one that multiplies in 8 bits, for inference."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from kbert.layers import Int8Dense
from kbert.models.lora import require_merged
from kbert.models.paths import weight_paths
from kbert.models.text_model import as_features, as_rows

#: How much of a column's large values goes from the inputs into the weights; SmoothQuant's α.
SMOOTHING = 0.75
#: Share of the activations between the two matrices, in percent, that keep within the upper bound. The few
#: that are far beyond would take most of the steps for themselves.
PERCENTILE = 99.995


def in_int8(model: keras.Model, batches: Iterable[Any]) -> keras.Model:
    """A copy of a model whose encoder's projections are `kbert.layers.Int8Dense`; it can only answer.

    Embeddings, normalizations, attention weights and heads stay in float32. The kernels may be set again, so
    each call puts them in the processor's order anew: that doubles the time of a short text alone, and is
    little beside a batch. An export does so once.

    Args:
        model: With an encoder as `bert`; built, without LoRA's factors.
        batches: Inputs like those to come, as the encoder takes them; what they lead to, padding included,
            decides on the ranges. Some hundred texts are enough.

    Raises:
        InputError: LoRA's factors are not merged.
        ValueError: There is no batch.

    Reference:
        Xiao et al., 2023, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
        Models", equation 4.
    """
    require_merged(model)
    copy = type(model).from_config({**model.get_config(), "dtype": "float32", "int8": True})
    copy.build()
    plain, projections = dict(_projections(model)), dict(_projections(copy))
    observers = {name: _Bounds() if layer.chained else _Ranges() for name, layer in projections.items()}
    _observe(model, plain, observers, batches)
    for name, layer in projections.items():
        kernel = np.asarray(plain[name].kernel)
        layer.take(kernel, plain[name].bias, observers[name].found(kernel))
    taken = {id(weight) for layer in projections.values() for weight in layer.weights}
    values = weight_paths(model)
    for path, weight in weight_paths(copy).items():
        if id(weight) not in taken:
            weight.assign(values[path])
    return copy


def _projections(model) -> Iterator[tuple[str, Int8Dense | Any]]:
    """The four of each block, by name."""
    for index, block in enumerate(model.bert.blocks):
        yield f"{index} qkv", block.attention.qkv
        yield f"{index} attended", block.attention.output_dense
        yield f"{index} intermediate", block.intermediate
        yield f"{index} output", block.output_dense


class _Ranges:
    """The largest absolute values of columns, and what of them the weights can take over."""

    def __init__(self):
        self.largest: Any = 0.0

    def see(self, rows: np.ndarray) -> None:
        self.largest = np.maximum(self.largest, np.abs(rows).max(axis=0))

    def found(self, kernel: np.ndarray) -> np.ndarray:
        largest, weights = (np.maximum(values, 1e-6) for values in (self.largest, np.abs(kernel).max(axis=1)))
        scales = largest**SMOOTHING / weights ** (1 - SMOOTHING)
        return scales * (largest / scales).max()


class _Bounds:
    """The least value, and the one that nearly all are below: the mean of the batches'."""

    def __init__(self):
        self.least, self.high = 0.0, []

    def see(self, rows: np.ndarray) -> None:
        self.least = min(self.least, float(rows.min()))
        self.high.append(np.percentile(rows, PERCENTILE))

    def found(self, kernel: np.ndarray) -> np.ndarray:
        return np.array([self.least, max(float(np.mean(self.high)), 1e-6)], np.float32)


def _observe(model, projections, observers, batches) -> None:
    with contextlib.ExitStack() as watched:
        for name, layer in projections.items():
            watched.enter_context(_seen_by(observers[name], layer))
        count = 0
        for inputs in batches:
            model.bert(as_rows(as_features(inputs)), training=False)
            count += 1
    if not count:
        raise ValueError("no texts to measure the ranges of 8-bit numbers on; give some hundred")


@contextlib.contextmanager
def _seen_by(observer, layer):
    """Has a layer show what comes in."""
    plain = layer.call

    def call(inputs, *args, **kwargs):
        rows = np.asarray(inputs, np.float32)
        observer.see(rows.reshape(-1, rows.shape[-1]))
        return plain(inputs, *args, **kwargs)

    layer.call = call
    try:
        yield
    finally:
        del layer.call
