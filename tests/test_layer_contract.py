"""The contract itself: a sound layer passes it, and a layer broken in one way fails the clause for it."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.layer_contract import assert_layer_contract

INPUTS = np.random.default_rng(3).normal(size=(4, 5, 6)).astype("float32")
SCALE = np.random.default_rng(4).normal(size=(4, 5, 1)).astype("float32")
INIT = {"units": 3, "dropout": 0.4}


@keras.saving.register_keras_serializable(package="kbert_tests")
class Sound(keras.layers.Layer):
    """A projection, an optional factor and a dropout; the classes below each spoil one thing of it."""

    def __init__(self, units, dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dropout = dropout
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, inputs_shape, scale_shape=None):
        self.kernel = self.add_weight(name="kernel", shape=(inputs_shape[-1], self.units))
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, inputs, scale=None, training=None):
        outputs = ops.add(ops.matmul(inputs, self.kernel), self.bias)
        outputs = outputs if scale is None else ops.multiply(outputs, scale)
        return self.dropout_layer(outputs, training=training)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}


def registered(layer_class):
    return keras.saving.register_keras_serializable(package="kbert_tests")(layer_class)


@registered
class DropsAnArgument(Sound):
    def get_config(self):
        return {k: v for k, v in super().get_config().items() if k != "dropout"}


@registered
class RoundsAnArgument(Sound):
    def __init__(self, units, dropout=0.1, **kwargs):
        super().__init__(units, round(dropout), **kwargs)


@registered
class ForgetsItsName(Sound):
    @classmethod
    def from_config(cls, config):
        return cls(config["units"], config["dropout"])


@registered
class MovesItsConfig(Sound):
    def build(self, inputs_shape, scale_shape=None):
        super().build(inputs_shape)
        self.units = [self.units]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@registered
class LeavesASublayerUnbuilt(Sound):
    def build(self, inputs_shape, scale_shape=None):
        super().build(inputs_shape)
        self.late = keras.layers.Dense(inputs_shape[-1], dtype=self.dtype_policy, name="late")

    def call(self, inputs, scale=None, training=None):
        return super().call(self.late(inputs), scale, training)


@registered
class TrainsASublayerAlways(Sound):
    def build(self, inputs_shape, scale_shape=None):
        super().build(inputs_shape)
        self.inner = keras.layers.Dense(self.units, dtype=self.dtype_policy, name="inner")
        self.inner.build((*inputs_shape[:-1], self.units))

    def call(self, inputs, scale=None, training=None):
        return self.inner(super().call(inputs, scale, training))


@registered
class TellsAnotherShape(Sound):
    def compute_output_shape(self, inputs_shape, scale_shape=None):
        return (*inputs_shape[:-1], self.units + 1)


@registered
class TellsAnotherType(Sound):
    def call(self, inputs, scale=None, training=None):
        return ops.cast(super().call(inputs, scale, training), "float32")

    def compute_output_shape(self, inputs_shape, scale_shape=None):
        return (*inputs_shape[:-1], self.units)


@registered
class FloatsAllTheWay(Sound):
    def call(self, inputs, scale=None, training=None):
        return ops.cast(super().call(inputs, scale, training), "float32")


@registered
class LosesPrecision(Sound):
    def call(self, inputs, scale=None, training=None):
        # 1000 + x has no digits left for x in bfloat16.
        outputs = super().call(inputs, scale, training)
        return ops.subtract(ops.add(outputs, 1000.0), 1000.0) if self.compute_dtype == "bfloat16" else outputs


class IsNotRegistered(Sound):
    pass


@registered
class SavesHalf(Sound):
    def save_own_variables(self, store):
        store["kernel"] = np.asarray(self.kernel)

    def load_own_variables(self, store):
        self.kernel.assign(store["kernel"])


@registered
class StopsTheGradient(Sound):
    def call(self, inputs, scale=None, training=None):
        return super().call(inputs, scale, training) + 0 * ops.sum(self.unused)

    def build(self, inputs_shape, scale_shape=None):
        super().build(inputs_shape)
        self.unused = self.add_weight(name="unused", shape=(2,))


@registered
class DropsUnseeded(Sound):
    def call(self, inputs, scale=None, training=None):
        if training:
            inputs = inputs * np.random.default_rng().normal()
        return super().call(inputs, scale, training)


@registered
class DropsTheSameAlways(Sound):
    def call(self, inputs, scale=None, training=None):
        outputs = super().call(inputs, scale, training=False)
        if training:
            outputs = keras.random.dropout(outputs, self.dropout, seed=1)
        return outputs


@registered
class DropsTheSameInEachCall(Sound):
    def __init__(self, units, dropout=0.1, **kwargs):
        super().__init__(units, dropout, **kwargs)
        self.seed = keras.random.randint((), 0, 1000)

    def call(self, inputs, scale=None, training=None):
        outputs = super().call(inputs, scale, training=False)
        if training:
            outputs = keras.random.dropout(outputs, self.dropout, seed=int(self.seed))
        return outputs


@registered
class DropsAtInference(Sound):
    def call(self, inputs, scale=None, training=None):
        return super().call(inputs, scale, training=True)


@registered
class DiffersInAGraph(Sound):
    def call(self, inputs, scale=None, training=None):
        return super().call(inputs, scale, training) + (1.0 if hasattr(inputs, "numpy") else 0.0)


@pytest.mark.parametrize(
    "call_kwargs", [None, {"scale": SCALE}, {"training": False}], ids=["", "tensor", "option"]
)
def test_sound_layer_passes(call_kwargs):
    assert_layer_contract(Sound, INIT, INPUTS, call_kwargs)


def test_several_positional_inputs():
    assert_layer_contract(Sound, INIT, (INPUTS, SCALE))


def test_float32_outputs_under_mixed_precision_are_said_by_the_caller():
    assert_layer_contract(FloatsAllTheWay, INIT, INPUTS, mixed_dtype="float32")


@pytest.mark.parametrize(
    "layer_class, message",
    [
        (DropsAnArgument, r"config: arguments missing from get_config: \['dropout'\]"),
        (RoundsAnArgument, r"config: dropout=0, but 0.4 was given"),
        (ForgetsItsName, "config: does not survive JSON"),
        (MovesItsConfig, "config: moved by build"),
        (LeavesASublayerUnbuilt, "build: by shape and by call give different weights"),
        (TrainsASublayerAlways, r"frozen: trains \['.*inner/kernel', '.*inner/bias'\]"),
        (TellsAnotherShape, "spec: shape"),
        (TellsAnotherType, "spec: dtype bfloat16 told, float32 came, under mixed_bfloat16"),
        (FloatsAllTheWay, r"precision: outputs are \['float32'\]"),
        (LosesPrecision, "precision: far from"),
        (IsNotRegistered, "saving: IsNotRegistered is not registered"),
        (SavesHalf, "saving: other outputs"),
        (StopsTheGradient, r"training: a step leaves unchanged \['.*unused'\]"),
        (DropsUnseeded, "dropout: the same seed"),
        (DropsTheSameAlways, "dropout: the seed changes nothing"),
        (DropsTheSameInEachCall, "dropout: two calls"),
        (DropsAtInference, "dropout: drops at inference"),
        (DiffersInAGraph, "compiled: "),
    ],
    ids=lambda value: getattr(value, "__name__", "fails"),
)
def test_broken_layer_fails(layer_class, message):
    with pytest.raises(AssertionError, match=message):
        assert_layer_contract(layer_class, INIT, (INPUTS, SCALE))
