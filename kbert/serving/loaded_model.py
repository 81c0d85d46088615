"""One version of a model in memory, loaded the way TF Serving loads it, and its signatures to run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the tokenizer ops that a text signature contains

from kbert.errors import InputError
from kbert.serving.status import CODES, ServingError, invalid
from kbert.serving.tensors import TensorSlot, show_shape, type_name

#: The signature that a request without a name means.
DEFAULT_SIGNATURE = "serving_default"

#: How long a run may take where nobody says otherwise, as in warm-up.
RUN_SECONDS = 30.0


class LoadedModel:
    """One version of a model in a session of its own, through the TF1 loader.

    `tf.saved_model.load` would be simpler, but it runs models on which TF Serving fails; this loader restores
    variables by name and runs the initializers, as TF Serving's C++ loader does.

    Args:
        path: The folder of the version, which its integer name tells.
        name: The name clients ask for.

    Raises:
        InputError: The version cannot be loaded.
    """

    def __init__(self, path: Path, name: str):
        self.path = path
        self.name = name
        self.version = int(path.name)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            with self._session.graph.as_default():
                loaded = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(path))
        except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
            self._session.close()
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{path}: cannot be loaded as a SavedModel with the tag 'serve': {reason}"
            ) from error
        self.signature_defs = loaded.signature_def
        self._inputs = {name: _slots(signature.inputs) for name, signature in self.signature_defs.items()}
        self._outputs = {name: _slots(signature.outputs) for name, signature in self.signature_defs.items()}

    def close(self) -> None:
        """Frees the session; no request may follow."""
        self._session.close()

    def input_types(self, signature: str) -> dict[str, str] | None:
        """Type names of a signature's inputs by input name; None if there is no such signature."""
        slots = self._inputs.get(signature)
        return None if slots is None else {name: slot.type for name, slot in slots.items()}

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        seconds: float = RUN_SECONDS,
    ) -> dict[str, np.ndarray]:
        """Runs a signature; safe to call from several threads.

        Args:
            signature: Name of the signature; empty for the default one.
            inputs: Arrays by input name; strings are object arrays of bytes.
            output_filter: Names of the outputs to compute; empty for all.
            seconds: How long it may take.

        Returns:
            Arrays by output name; strings are object arrays of bytes.

        Raises:
            ServingError: The inputs do not fit the signature, the graph refused them, or time is over.
        """
        signature = signature or DEFAULT_SIGNATURE
        if signature not in self._inputs:
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
        feeds = self._feeds(self._inputs[signature], inputs)
        fetches = _select(self._outputs[signature], output_filter)
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, round(seconds * 1000)))
        try:
            results = self._session.run(fetches, feeds, options=options)
        except tf.errors.OpError as error:
            # The session rewrites messages with Python stack traces; the cause has TensorFlow's own words.
            original = error.__context__ if isinstance(error.__context__, tf.errors.OpError) else error
            raise ServingError(CODES[original.error_code], original.message) from error
        return {name: _as_array(result) for name, result in results.items()}

    def _feeds(
        self, slots: Mapping[str, TensorSlot], inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        missing, extra = sorted(slots.keys() - inputs.keys()), sorted(inputs.keys() - slots.keys())
        if len(slots) != len(inputs):
            sizes = f"{len(inputs)}!={len(slots)}"
            names = f"len({{{','.join(sorted(inputs))}}}) != len({{{','.join(sorted(slots))}}})"
            difference = f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}."
            raise invalid(f"input size does not match signature: {sizes} {names}. {difference}")
        if extra:
            expected = f"Inputs expected to be in the set {{{','.join(sorted(slots))}}}."
            raise invalid(f"input tensor alias not found in signature: {extra[0]}. {expected}")
        for index, (name, slot) in enumerate(sorted(slots.items())):
            found = type_name(inputs[name].dtype)
            if found != slot.type:
                raise invalid(f"Expects arg[{index}] to be {slot.type} but {found} is provided")
            if not slot.takes(inputs[name].shape):
                # A C++ session leaves this to `tf.ensure_shape` in the graph, or crashes: see kbert.export.
                argument = f"_arg_{slot.tensor.replace(':', '_')}_{index}"
                shapes = f"{show_shape(inputs[name].shape)} is not compatible with expected shape"
                raise invalid(f"Shape of tensor {argument} {shapes} {show_shape(slot.shape or ())}.")
        return {slots[name].tensor: array for name, array in inputs.items()}


def _select(slots: Mapping[str, TensorSlot], names: Sequence[str]) -> dict[str, str]:
    seen = set()
    for name in names:
        if name not in slots:
            expected = f"Outputs expected to be in the set {{{','.join(sorted(slots))}}}."
            raise invalid(f"output tensor alias not found in signature: {name} {expected}")
        if name in seen:
            raise invalid(f"duplicate output tensor alias: {name}")
        seen.add(name)
    for name in names or slots:
        if slots[name].type == "invalid":
            # `__saved_model_init_op` names what was run when the model was loaded.
            raise invalid(f"output {name} is an operation without a value: {slots[name].tensor}")
    return {name: slots[name].tensor for name in names or slots}


def _slots(infos: Mapping) -> dict[str, TensorSlot]:
    """The tensors of a signature, in plain Python, sorted by name."""
    slots = {}
    for name, info in sorted(infos.items()):
        shape = info.tensor_shape
        sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
        slots[name] = TensorSlot(info.name, _type(info.dtype), sizes)
    return slots


def _type(number: int) -> str:
    return type_name(np.dtype(tf.as_dtype(number).as_numpy_dtype)) if number else "invalid"


def _as_array(result: object) -> np.ndarray:
    # NumPy's own conversion of bytes would cut trailing NULs.
    return np.array(result, object) if isinstance(result, bytes) else np.asarray(result)
