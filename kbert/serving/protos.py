"""Tensors as protocol buffers, read with suspicion and written as TF Serving writes them."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from kbert.serving.status import invalid
from kbert.serving.tensors import type_name

#: A few bytes of protobuf can announce any shape; this bounds what a request may fill (elements).
MAX_ELEMENTS = 2**24

_VALUE_FIELDS = {
    "string": "string_val",
    "float": "float_val",
    "double": "double_val",
    "int32": "int_val",
    "int16": "int_val",
    "int8": "int_val",
    "uint16": "int_val",
    "uint8": "int_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
}


def read_inputs(protos: Mapping) -> dict[str, np.ndarray]:
    """The inputs of a predict request.

    Args:
        protos: TensorProto by input name.

    Returns:
        Arrays by input name; strings are object arrays of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT for a proto that is no tensor.
    """
    arrays, left = {}, MAX_ELEMENTS
    for name, proto in protos.items():
        arrays[name] = _read(name, proto, left)
        left -= arrays[name].size
    return arrays


def _read(name: str, proto, most: int) -> np.ndarray:
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(sizes, default=0) < 0 or math.prod(sizes) > most:
        raise invalid(
            f"Tensor {name} has an unusable shape {sizes}; at most {MAX_ELEMENTS} elements are taken at once"
        )
    try:
        return tf.make_ndarray(proto)
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise invalid(f"Tensor {name} does not hold what its type and shape say: {error}") from error


def read_examples(source) -> list[bytes]:
    """The examples of a `tensorflow.serving.Input`, serialized, its context in each of them."""
    if source.WhichOneof("kind") == "example_list_with_context":
        part = source.example_list_with_context
        # Messages that follow one another are merged; an example's own features win.
        context = part.context.SerializeToString()
        return [context + example.SerializeToString() for example in part.examples]
    return [example.SerializeToString() for example in source.example_list.examples]


def write_tensor(array: np.ndarray):
    """A TensorProto with its values in the typed fields.

    `tf.make_tensor_proto` would pack numbers into `tensor_content`, where clients that read `float_val`, as
    they do with TF Serving's answers, find nothing.

    Args:
        array: Strings are object arrays of bytes.

    Returns:
        The proto.
    """
    name = type_name(array.dtype)
    if name not in _VALUE_FIELDS:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _VALUE_FIELDS[name]).extend(array.reshape(-1).tolist())
    return proto
