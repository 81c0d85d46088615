"""The product of `Int8Dense` by oneDNN, the library that TensorFlow multiplies with on processors.

TensorFlow has one operation for all of it, product, sum of the bias, activation and rounding, but no Python
function for that: it is what its own graph optimizer puts in. So the node is written out here.
"""

import functools

import numpy as np
import tensorflow as tf

from kbert.layers.activations import activation as activation_function

_FUSED = {None: [], "relu": ["Relu"], "gelu": ["GeluExact"], "gelu_tanh": ["GeluApproximate"]}


@functools.cache
def is_available() -> bool:
    """Whether this TensorFlow has the operation, and gives the right numbers with it."""
    rows, kernel = np.full((1, 2), 0.5, np.float32), np.array([[63, 4], [63, -50]], np.int8)
    try:
        with tf.init_scope(), tf.device("CPU"):  # Out of the graph that may be in the making.
            ones = tf.ones(2)
            found = int8_product(tf.constant(rows), ones, tf.constant(kernel), 127 * ones, 0 * ones)
            found = np.asarray(found)
    except (tf.errors.OpError, ValueError):
        return False
    return np.allclose(found, rows @ kernel.astype(float), rtol=0.01)


def int8_product(rows, inputs, kernel, kernel_ranges, bias, activation=None, output_bounds=None, keep=False):
    """As `kbert.layers.int8.int8_product`; with `keep`, a graph reads kernel and bias but once."""
    values = (rows, inputs, kernel, kernel_ranges, bias, output_bounds)
    rows, inputs, kernel, kernel_ranges, bias, output_bounds = (
        None if value is None else tf.convert_to_tensor(value) for value in values
    )
    product = functools.partial(_int8_product, keep=keep)
    if tf.executing_eagerly():  # The operation lives in graphs alone; this one is shared by all layers.
        product = functools.partial(_compiled, keep=False)
    return product(rows, inputs, kernel, kernel_ranges, bias, activation, output_bounds)


def _int8_product(rows, inputs, kernel, kernel_ranges, bias, activation, output_bounds, keep):
    if rows.dtype == tf.uint8:
        mode, rows, ranges = "MIN_FIRST", tf.bitcast(rows, tf.quint8), [inputs[0], inputs[1]]
    else:
        one = tf.constant(1.0)
        mode, ranges = "SCALED", [-one, one]
        rows = tf.raw_ops.QuantizeV2(
            input=rows / inputs, min_range=-one, max_range=one, T=tf.qint8, mode=mode,
            round_mode="HALF_TO_EVEN", narrow_range=True,
        ).output  # fmt: skip
    tensors = [rows, tf.bitcast(kernel, tf.qint8), bias]
    ranges += [-kernel_ranges, kernel_ranges]
    steps = ["BiasAdd", *_FUSED.get(activation, [])]
    if output_bounds is not None and activation in _FUSED:
        ranges += [output_bounds[0], output_bounds[1]]
        return tf.bitcast(_node(tensors, ranges, [*steps, "Requantize"], tf.quint8, mode, keep), tf.uint8)
    outputs = _node(tensors, ranges, [*steps, "Dequantize"], tf.float32, mode, keep)
    if activation not in _FUSED:
        outputs = activation_function(activation)(outputs)
    return outputs if output_bounds is None else _in_steps(outputs, output_bounds)


_compiled = tf.function(_int8_product, autograph=False, reduce_retracing=True)


def _in_steps(values, bounds):
    """By plain operations: `QuantizeV2` rounds the lower bound too on some processors, up to a step off."""
    low, high = bounds[0], bounds[1]
    steps = tf.round((values - low) * (255 / (high - low)))
    return tf.cast(tf.clip_by_value(steps, 0, 255), tf.uint8)


def _node(tensors, ranges, steps, dtype, mode, keep):
    """The operation itself, (B, units)."""
    more = [tf.float32] * 2 if dtype == tf.quint8 else []  # The range, which is the one that was given.
    attributes = {
        "Tdevice_inputs": _types([tensor.dtype for tensor in tensors]),
        "Thost_inputs": _types([tensor.dtype for tensor in ranges]),
        "Tdevice_outputs": _types([dtype]),
        "Thost_outputs": _types(more),
        "T1": _type(tensors[0].dtype),
        "T2": _type(tf.qint8),
        "Tbias": _type(tf.float32),
        "U": _type(tf.float32),
        "Tout": _type(dtype),
        "transpose_a": _value(b=False),
        "transpose_b": _value(b=False),
        # Then oneDNN keeps the kernel in the order that it multiplies it in, whatever the variable becomes.
        "is_weight_const": _value(b=keep),
        "is_bias_const": _value(b=keep),
        "fused_ops": _value(list={"s": [step.encode() for step in steps]}),
        "input_quant_mode": _value(s=mode.encode()),
        "output_quant_mode": _value(s=b"MIN_FIRST"),
        "leakyrelu_alpha": _value(f=0.2),
    }
    graph = tf.compat.v1.get_default_graph()
    node = graph.create_op(
        "_QuantizedMatMul", [*tensors, *ranges], [dtype, *more], attrs=attributes, name="int8_product"
    )
    outputs = node.outputs[0]
    outputs.set_shape([tensors[0].shape[0], tensors[1].shape[1]])
    return outputs


def _value(**values):
    return tf.compat.v1.AttrValue(**values)


def _type(dtype):
    return _value(type=dtype.as_datatype_enum)


def _types(dtypes):
    return _value(list={"type": [dtype.as_datatype_enum for dtype in dtypes]})
