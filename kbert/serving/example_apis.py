"""TF Serving's Classify and Regress: signatures that take `tf.train.Example`s and have agreed names.

TF Serving looks at the names only, not at what the signature calls its method: Classify wants the input
`inputs` and the outputs `classes` and `scores`, or one of them; Regress the input `inputs` and the output
`outputs`. `kbert.export` gives classifiers a signature `classify` and regression one called `regress`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kbert.serving.loaded_model import DEFAULT_SIGNATURE
from kbert.serving.service import Servable
from kbert.serving.status import ServingError, invalid

_INPUTS = "inputs"
_CLASSES, _SCORES = "classes", "scores"
_OUTPUTS = "outputs"


class Classes(NamedTuple):
    """What Classify gives; what the signature lacks is "" or 0.0.

    Args:
        labels: object of bytes (B, C).
        scores: float32 (B, C).
    """

    labels: np.ndarray
    scores: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """B and C."""
        return self.scores.shape


def classify(model: Servable, signature: str, examples: Sequence[bytes]) -> Classes:
    """Labels with their scores for each example.

    Args:
        model: The served model.
        signature: Name of the signature; empty for the default one.
        examples: Serialized `tf.train.Example`s.

    Returns:
        B is the number of examples.

    Raises:
        ServingError: There is no such signature, it does not fit, or the graph refused an example.
    """
    spec = _spec(model, signature)
    if len(spec.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(spec.outputs)}")
    if _INPUTS not in spec.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {_debug_string(spec)}")
    names = [name for name in (_CLASSES, _SCORES) if name in spec.outputs]
    if not names:
        expected = f'outputs to contain at least one of "{_CLASSES}" or "{_SCORES}"'
        raise invalid(f"Expected classification signature {expected}. Signature was: {_debug_string(spec)}")
    found = model.predict(signature, {_INPUTS: _column(examples)}, names)
    for name, kind in ((_CLASSES, np.dtype(object)), (_SCORES, np.dtype(np.float32))):
        if name in found:
            _check(name, found[name], kind, len(examples))
    if len({array.shape for array in found.values()}) > 1:
        sizes = " vs. ".join(str(found[name].shape[1]) for name in names)
        raise invalid(f"Tensors class and score should match in dim_size(1). Got {sizes}")
    shape = found[names[0]].shape
    return Classes(
        found.get(_CLASSES, np.full(shape, b"", object)), found.get(_SCORES, np.zeros(shape, np.float32))
    )


def regress(model: Servable, signature: str, examples: Sequence[bytes]) -> np.ndarray:
    """One number for each example; arguments and errors as of `classify`.

    Returns:
        float32 (B,).
    """
    spec = _spec(model, signature)
    if len(spec.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    for name, tensors, what in ((_INPUTS, spec.inputs, "inputs"), (_OUTPUTS, spec.outputs, "outputs")):
        if name not in tensors:
            message = f"No regression {what} found in SignatureDef: {_debug_string(spec)}"
            raise ServingError("FAILED_PRECONDITION", message)
    values = model.predict(signature, {_INPUTS: _column(examples)})[_OUTPUTS]
    if values.ndim not in (1, 2) or values.shape[1:] not in ((), (1,)):
        shape = list(values.shape)
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {shape}"
        )
    if len(values) != len(examples):
        raise invalid(f"Input batch size did not match output batch size: {len(examples)} vs. {len(values)}")
    if values.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {values.dtype}")
    return values.reshape(-1)


def _spec(model: Servable, signature: str):
    spec = model.signature_defs.get(signature or DEFAULT_SIGNATURE)
    if spec is None:
        raise invalid(f"No signature was found with the name: {signature or DEFAULT_SIGNATURE}")
    if len(spec.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    return spec


def _column(examples: Sequence[bytes]) -> np.ndarray:
    if not examples:
        raise invalid("Input is empty.")
    column = np.empty(len(examples), object)
    column[:] = examples
    return column


def _check(name: str, array: np.ndarray, kind: np.dtype, count: int) -> None:
    if array.ndim != 2:
        shape = list(array.shape)
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {shape}")
    if array.dtype != kind:
        expected = "DT_STRING" if kind.hasobject else "DT_FLOAT"
        raise invalid(f"Expected {name} Tensor of {expected}. Got: {array.dtype}")
    if len(array) != count:
        raise invalid(f"Expected {name} output batch size of {count}. Got: {len(array)}")


def _debug_string(spec) -> str:
    # Protobuf marks what it prints for people, lest a program read it.
    return f"goo.gle/debugstr    \n{spec}"
