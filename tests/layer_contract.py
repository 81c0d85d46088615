"""What every Keras layer of kbert must do, as one call: `assert_layer_contract`.

It runs on every backend: Keras and NumPy only. It knows no layer by name; what is special about one is
said by the caller.
"""

import inspect
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np


def assert_layer_contract(layer_class, init_kwargs, inputs, call_kwargs=None, *, mixed_dtype="bfloat16"):
    """Asserts the contract; the message of a failure begins with the clause that is broken.

    - config: each constructor argument is in it under its own name, JSON gives it back, and neither
      `build` nor a call moves it;
    - dropout: the same seed gives the same outputs, another one others, each call others; none at inference;
    - build: by shape and by a call give the same weights and outputs;
    - frozen: a layer that was told not to train before it was built has no weight that trains;
    - spec: what Keras is told about the outputs beforehand is what comes;
    - precision: under `mixed_bfloat16` weights are float32, outputs of `mixed_dtype`, near float32's;
    - saving: a `.keras` file gives the same outputs, without `custom_objects`;
    - training: one step changes every trainable weight;
    - compiled: the outputs of a compiled graph are the eager ones.

    Args:
        layer_class: The layer.
        init_kwargs: Of its constructor; give every argument a value other than its default.
        inputs: Array, or tuple of arrays, the positional arguments of its call; no two alike. Of a batch size
            unlike all other axes of tensors that have no batch axis, such as a table.
        call_kwargs: More arguments of the call, by name; arrays among them are inputs like the others.
        mixed_dtype: Of the floating-point outputs under `mixed_bfloat16`, or a list where they differ.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    case = _Case(layer_class, init_kwargs, tensors, dict(call_kwargs or {}))
    _check_config(case)
    _check_dropout(case)
    _check_build(case)
    _check_frozen(case)
    _check_spec(case)
    _check_precision(case, mixed_dtype)
    _check_saving(case)
    _check_training(case)
    _check_compiled(case)


@dataclass
class _Case:
    layer_class: type
    init_kwargs: dict
    positional: tuple
    call_kwargs: dict
    named_tensors: dict = field(init=False)
    options: dict = field(init=False)

    def __post_init__(self):
        self.named_tensors = {k: v for k, v in self.call_kwargs.items() if isinstance(v, np.ndarray)}
        self.options = {k: v for k, v in self.call_kwargs.items() if k not in self.named_tensors}

    def make(self, **changes):
        return self.layer_class(**{**self.init_kwargs, **changes})

    def make_built(self, **changes):
        """A layer whose weights are all away from where initializers put them."""
        layer = self.make(**changes)
        self.call(layer)
        generator = np.random.default_rng(0)
        for weight in layer.weights:
            if "float" in str(weight.dtype):
                weight.assign(np.asarray(weight) + generator.normal(0, 0.1, weight.shape))
        return layer

    def call(self, layer, **options):
        return layer(*self.positional, **self.named_tensors, **{**self.options, **options})

    def shapes(self):
        """Name of the call argument + "_shape" -> shape, as Keras hands them to `build`."""
        bound = inspect.signature(self.layer_class.call).bind(None, *self.positional, **self.named_tensors)
        tensors = {name: value for name, value in bound.arguments.items() if isinstance(value, np.ndarray)}
        return {f"{name}_shape": value.shape for name, value in tensors.items()}

    def symbolic(self):
        """The tensors of the call as symbols of an unknown batch size.

        A tensor whose first axis is not as long as the first input's (a table) keeps its whole shape.
        """

        def symbol(array):
            batch = None if len(array) == len(self.positional[0]) else len(array)
            return keras.Input(batch_shape=(batch, *array.shape[1:]), dtype=str(array.dtype))

        return [symbol(array) for array in self.positional], {
            name: symbol(array) for name, array in self.named_tensors.items()
        }

    def functional(self, layer):
        positional, named = self.symbolic()
        return keras.Model([*positional, *named.values()], layer(*positional, **named, **self.options))

    def arrays(self):
        return [*self.positional, *self.named_tensors.values()]


def _numbers(outputs):
    arrays = [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)]
    return [array.astype("float32") if "float" in str(array.dtype) else array for array in arrays]


def _assert_equal(clause, got, expected, **tolerance):
    for one, other in zip(_numbers(got), _numbers(expected), strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 1e-5, "atol": 1e-6, **tolerance}, err_msg=clause)


def _check_config(case):
    layer = case.make()
    before = layer.get_config()
    parameters = inspect.signature(case.layer_class.__init__).parameters.values()
    named = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {"self"}
    assert named <= set(before), f"config: arguments missing from get_config: {sorted(named - set(before))}"
    for name, value in case.init_kwargs.items():
        if isinstance(value, (str, int, float, bool, type(None))) and name != "dtype":
            assert before[name] == value, f"config: {name}={before[name]!r}, but {value!r} was given"
    after_json = case.layer_class.from_config(json.loads(json.dumps(before))).get_config()
    assert _json(after_json) == _json(before), "config: does not survive JSON and from_config"
    case.call(layer)
    assert _json(layer.get_config()) == _json(before), "config: moved by build or call"


def _json(config):
    return json.dumps(config, sort_keys=True)


def _check_dropout(case):
    rates = {k: v for k, v in case.init_kwargs.items() if "dropout" in k and isinstance(v, float)}
    if not any(rates.values()):
        return

    weights = [np.array(weight) for weight in case.make_built().weights]

    def two_calls(seed):
        keras.utils.set_random_seed(seed)
        layer = case.make_built()
        layer.set_weights(weights)
        return [_numbers(case.call(layer, training=True)) for _ in range(2)]

    def differ(one, other):
        return any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    first, again, other = two_calls(1), two_calls(1), two_calls(2)
    assert not differ(first[0], again[0]), "dropout: the same seed gives different outputs"
    assert differ(first[0], other[0]), "dropout: the seed changes nothing"
    assert differ(first[0], first[1]), "dropout: two calls drop the same"
    layer = case.make_built()
    assert not differ(_numbers(case.call(layer)), _numbers(case.call(layer))), "dropout: drops at inference"


def _check_build(case):
    by_call, by_shape = case.make_built(), case.make()
    shapes = case.shapes()
    wanted = inspect.signature(by_shape.build).parameters
    if len(shapes) == 1:
        by_shape.build(*shapes.values())
    else:
        by_shape.build(**{name: shape for name, shape in shapes.items() if name in wanted})

    def describe(layer):
        return [(w.path.partition("/")[2], tuple(w.shape), w.dtype, w.trainable) for w in layer.weights]

    assert describe(by_shape) == describe(by_call), "build: by shape and by call give different weights"
    by_shape.set_weights([np.asarray(weight) for weight in by_call.weights])
    _assert_equal(
        "build: by shape and by call compute different outputs", case.call(by_shape), case.call(by_call)
    )


def _check_frozen(case):
    given, set_later = case.make(trainable=False), case.make()
    set_later.trainable = False
    for layer in (given, set_later):
        case.call(layer)
        trains = [weight.path for weight in layer.weights if weight.trainable]
        assert not trains, f"frozen: trains {trains}"


def _check_spec(case):
    for policy in ("float32", "mixed_bfloat16"):
        layer = case.make(dtype=policy)
        positional, named = case.symbolic()
        spec = layer(*positional, **named, **case.options)
        eager = case.call(layer)
        keras.tree.assert_same_structure(spec, eager)
        for told, came in zip(keras.tree.flatten(spec), keras.tree.flatten(eager), strict=True):
            dtypes = keras.backend.standardize_dtype(told.dtype), keras.backend.standardize_dtype(came.dtype)
            assert dtypes[0] == dtypes[1], f"spec: dtype {dtypes[0]} told, {dtypes[1]} came, under {policy}"
            fits = len(told.shape) == len(came.shape) and all(
                axis in (None, size) for axis, size in zip(told.shape, came.shape, strict=True)
            )
            assert fits, f"spec: shape {told.shape} told, {tuple(came.shape)} came"


def _check_precision(case, mixed_dtype):
    full, mixed = case.make_built(dtype="float32"), case.make(dtype="mixed_bfloat16")
    case.call(mixed)
    kinds = {str(weight.dtype) for weight in mixed.weights if "float" in str(weight.dtype)}
    assert kinds <= {"float32"}, f"precision: weights of {sorted(kinds)} under mixed_bfloat16"
    mixed.set_weights([np.asarray(weight) for weight in full.weights])
    expected, outputs = _numbers(case.call(full)), keras.tree.flatten(case.call(mixed))
    dtypes = [keras.backend.standardize_dtype(output.dtype) for output in outputs]
    floating = [dtype for dtype in dtypes if "float" in dtype]
    wanted = mixed_dtype if isinstance(mixed_dtype, list) else [mixed_dtype] * len(floating)
    assert floating == wanted, f"precision: outputs are {floating} under mixed_bfloat16, expected {wanted}"
    for output, reference in zip(outputs, expected, strict=True):
        # bfloat16 keeps 8 bits: a few roundings in a row stay within 5 % of the largest value.
        bound = 0.05 * max(1e-3, float(np.abs(reference).max(initial=0)))
        _assert_equal("precision: far from the float32 result", output, reference, rtol=0, atol=bound)


def _check_saving(case):
    name = case.layer_class.__name__
    registered = keras.saving.get_registered_name(case.layer_class)
    assert registered != name, f"saving: {name} is not registered (register_keras_serializable)"
    model = case.functional(case.make_built())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        loaded = keras.saving.load_model(path, compile=False)
    arrays = case.arrays()
    _assert_equal("saving: other outputs after .keras", loaded(arrays), model(arrays), rtol=0, atol=0)


def _check_training(case):
    layer = case.make_built()
    if not layer.trainable_weights:
        return
    whole = case.functional(layer)
    floating = [output for output in keras.tree.flatten(whole.outputs) if "float" in str(output.dtype)]
    model = keras.Model(whole.inputs, {str(number): output for number, output in enumerate(floating)})
    model.compile(keras.optimizers.SGD(1.0), loss={name: "mse" for name in model.output}, run_eagerly=True)
    before = [np.array(weight) for weight in layer.trainable_weights]
    generator = np.random.default_rng(1)
    targets = {name: generator.normal(size=output.shape) for name, output in model(case.arrays()).items()}
    model.train_on_batch(case.arrays(), targets)
    still = [
        weight.path
        for weight, old in zip(layer.trainable_weights, before, strict=True)
        if np.array_equal(np.asarray(weight), old)
    ]
    assert not still, f"training: a step leaves unchanged {still}"


def _check_compiled(case):
    layer = case.make_built()
    model = case.functional(layer)
    # TensorFlow compiles to a graph without XLA; JAX knows only XLA.
    model.compile(jit_compile=keras.backend.backend() != "tensorflow")
    compiled = model.predict_on_batch(case.arrays())
    _assert_equal("compiled: other outputs than eager ones", compiled, case.call(layer))
