"""`TextModel`: a `keras.Model` that reads token ids; and the shapes in which they may come."""

import keras
from keras import ops

from kbert import features
from kbert.layers.int8 import constant_kernels
from kbert.models.packed_rows import refuse_packing

#: What the encoder reads of a dict that may hold more.
ENCODER_INPUTS = (features.TOKEN_IDS, features.SEGMENT_IDS, features.PADDING_MASK)


@keras.saving.register_keras_serializable(package="kbert")
class TextModel(keras.Model):
    """A `keras.Model` that turns a dict of ids into a dict of outputs; the base of all of kbert's.

    Where Keras would guess wrongly for such a model, this class says how it is.
    """

    #: Axes of `token_ids`: batch and sequence, and whatever a subclass has between.
    input_axes = 2

    def __init__(self, *args, **kwargs):
        # Ids that are floats, as Keras makes them under a strategy to learn shapes, are not to be rounded.
        super().__init__(*args, **{"autocast": False, **kwargs})

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """Keras's own export, which takes all inputs for floats unless told; here they are ids.

        Without `input_signature` the exported function takes `token_ids`, `segment_ids` and `padding_mask`,
        int32, of any batch size and length.
        """
        if input_signature is None:
            shape = (None,) * self.input_axes
            input_signature = [{name: keras.InputSpec(shape=shape, dtype="int32") for name in ENCODER_INPUTS}]
        with constant_kernels():
            super().export(filepath, format, verbose, input_signature, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if isinstance(self.loss, dict) and isinstance(y, dict) and not self.loss.keys() & y.keys():
            raise ValueError(
                f"targets are named {', '.join(y)}, losses {', '.join(self.loss)}; expected the names of "
                f"outputs for both"
            )
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        # Outputs without a target, such as hidden states, are no predictions; Keras would ask for one.
        if isinstance(y, dict):
            y_pred = {name: output for name, output in y_pred.items() if name in y} or y_pred
        return super().compute_metrics(x, y, y_pred, sample_weight)


def as_json(policy: keras.DTypePolicy) -> str | dict:
    """A dtype policy as `get_config` gives it: its name, which alone does not say what is in a map."""
    is_map = isinstance(policy, keras.dtype_policies.DTypePolicyMap)
    return keras.dtype_policies.serialize(policy) if is_map else policy.name


def as_features(inputs) -> dict:
    """The inputs as a dict, `token_ids` int32, without those that are None; a bare tensor is `token_ids`.

    Raises:
        ValueError: A dict without `token_ids` or with names that kbert does not know, or ids that are ragged
            or of half precision.
    """
    if not isinstance(inputs, dict):
        inputs = {features.TOKEN_IDS: inputs}
    inputs = {name: value for name, value in inputs.items() if value is not None}
    if features.TOKEN_IDS not in inputs:
        raise ValueError(
            f"inputs have the keys {sorted(inputs)}; expected {features.TOKEN_IDS!r} and, optionally, "
            f"{features.SEGMENT_IDS!r} and {features.PADDING_MASK!r}"
        )
    unknown = [str(name) for name in inputs if name not in features.FEATURES]
    if unknown:  # A mask by another name would be left out, and padding taken for tokens.
        raise ValueError(
            f"inputs have the unknown keys {sorted(unknown)}; expected {features.TOKEN_IDS!r} and, "
            f"optionally, {features.SEGMENT_IDS!r} and {features.PADDING_MASK!r}; what your own layers read "
            f"is for them alone"
        )
    ids = ops.convert_to_tensor(inputs[features.TOKEN_IDS])
    if hasattr(ids, "row_splits"):
        raise ValueError(
            "token_ids are ragged; expected rows of one length, as from ids.to_tensor(), and a padding_mask"
        )
    dtype = keras.backend.standardize_dtype(ids.dtype)
    is_exact = not keras.backend.is_float_dtype(dtype) or dtype in ("float32", "float64")
    if not is_exact:  # In mixed precision Keras has rounded them to other tokens'.
        raise ValueError(f"token_ids are {dtype}; expected int32, as from keras.Input(shape, dtype='int32')")
    return {**inputs, features.TOKEN_IDS: ops.cast(ids, "int32")}


def check_rows(inputs: dict) -> None:
    """Refuses, where shapes are known, what would be broadcast to wrong numbers without a word.

    Args:
        inputs: Of `as_features`.

    Raises:
        ValueError: `token_ids` are not (B, S), or `segment_ids` or `padding_mask` are of another shape.
    """
    shape = tuple(inputs[features.TOKEN_IDS].shape)
    if len(shape) != 2:
        raise ValueError(
            f"token_ids have the shape {shape}; expected (batch, length), and other inputs by name, in a dict"
        )
    for name in (features.SEGMENT_IDS, features.PADDING_MASK):
        other = tuple(inputs[name].shape) if name in inputs else shape
        sizes = zip(shape, other, strict=False)
        if len(other) != 2 or any(None not in pair and pair[0] != pair[1] for pair in sizes):
            raise ValueError(f"{name} has the shape {other}, token_ids {shape}; expected the same")


def as_rows(inputs: dict) -> dict:
    """The encoder's inputs with all axes before the last made one: int32 (B, K, S) becomes (B·K, S).

    The encoder knows texts in rows only; a question's choices or the texts of a pair are rows to it.

    Raises:
        ValueError: The rows are of several texts.
    """
    refuse_packing(inputs)
    length = ops.shape(inputs[features.TOKEN_IDS])[-1]
    return {name: ops.reshape(inputs[name], (-1, length)) for name in ENCODER_INPUTS if name in inputs}
