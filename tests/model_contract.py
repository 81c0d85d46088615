"""What every model with a head must do: one call, `assert_model_contract`, and one for its export.

Keras and NumPy only, so that it runs on every backend. It knows no model by name.
"""

import keras
import numpy as np

ENCODER_INPUTS = ("token_ids", "segment_ids", "padding_mask")


def make_inputs(config, shape=(3, 7), seed=0):
    """The three inputs of the encoder, int32 of this shape; the second row ends in padding."""
    rng = np.random.default_rng(seed)
    mask = np.ones(shape, "int32")
    mask[1, ..., 4:] = 0
    return {
        "token_ids": rng.integers(0, config.vocab_size, shape).astype("int32"),
        "segment_ids": rng.integers(0, config.num_segments, shape).astype("int32"),
        "padding_mask": mask,
    }


def randomised(model, scale=0.2):
    """The model, with weights large enough for every path through it to show."""
    rng = np.random.default_rng(11)
    model.build()
    for weight in model.weights:
        weight.assign(np.asarray(weight) + rng.normal(0, scale, weight.shape))
    return model


def numbers(outputs):
    """A model's outputs as NumPy arrays."""
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def assert_model_contract(make, inputs, targets, folder, *, unmoved=()):
    """Asserts the contract; the message of a failure begins with the clause that is broken.

    - inputs: each one counts for every output that ends in "logits";
    - mask: what is in padding and how much of it there is changes no real position;
    - defaults: no mask means no padding, no segments the first segment;
    - precision: under `mixed_bfloat16` weights and logits are float32, near float32's numbers;
    - saving: a `.keras` file gives the same class, config, weight paths and outputs;
    - training: one step of `compile` and `train_on_batch` changes every trainable weight.

    Args:
        make: Gives a new model; takes `dtype`.
        inputs: Dict of arrays, with padding and all `ENCODER_INPUTS`.
        targets: Name of an output -> class ids, for a softmax cross-entropy.
        folder: To save in.
        unmoved: Ends of the paths of weights whose gradient is 0.
    """
    model = randomised(make())
    _check_inputs(model, inputs)
    _check_mask(model, inputs)
    _check_defaults(model, inputs)
    _check_precision(model, make(dtype="mixed_bfloat16"), inputs)
    _check_saving(model, inputs, folder)
    _check_training(model, inputs, targets, unmoved)


def assert_export_gives_the_same(model, inputs, folder):
    """Asserts that a SavedModel has the model's outputs, with Keras's default call if that will do."""
    import tensorflow as tf

    expected = numbers(model(inputs))
    signature = None
    if set(inputs) != set(ENCODER_INPUTS):
        signature = [
            {
                name: keras.InputSpec(shape=(None,) * value.ndim, dtype="int32")
                for name, value in inputs.items()
            }
        ]
    model.export(folder, verbose=False, input_signature=signature)
    archive = tf.saved_model.load(folder)
    served = numbers(archive.serve(inputs))
    assert served.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(served[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def _check_inputs(model, inputs):
    changes = {
        "token_ids": (inputs["token_ids"] + 1) % model.config.vocab_size,
        "segment_ids": 1 - inputs["segment_ids"],
        "padding_mask": np.ones_like(inputs["padding_mask"]),
    }
    changes |= {name: value + 1 for name, value in inputs.items() if name not in changes}
    expected = _at_real(numbers(model(inputs)), inputs["padding_mask"])
    logits = [name for name in expected if name.endswith("logits")]
    assert logits
    for changed, value in changes.items():
        outputs = _at_real(numbers(model({**inputs, changed: value})), inputs["padding_mask"])
        for name in logits:
            moved = np.abs(outputs[name] - expected[name]).max()
            assert moved > 1e-3, f"inputs: {changed} does not count for {name}"


def _check_mask(model, inputs):
    mask = inputs["padding_mask"]
    expected = _at_real(numbers(model(inputs)), mask)
    rewritten = {
        **inputs,
        "token_ids": np.where(mask, inputs["token_ids"], 5),
        "segment_ids": np.where(mask, inputs["segment_ids"], 1),
    }
    _assert_equal("mask: padding was seen", _at_real(numbers(model(rewritten)), mask), expected)
    wider = [(0, 0)] * (mask.ndim - 1) + [(0, 4)]
    longer = {**inputs, **{name: np.pad(inputs[name], wider) for name in ENCODER_INPUTS}}
    outputs = _at_real(numbers(model(longer)), longer["padding_mask"])
    _assert_equal("mask: more padding, other outputs", outputs, expected)


def _at_real(outputs, mask):
    """The outputs, without values at padding where there is one for each position."""
    return {
        name: value[mask.astype(bool)] if value.shape[: mask.ndim] == mask.shape else value
        for name, value in outputs.items()
    }


def _check_defaults(model, inputs):
    rest = {name: value for name, value in inputs.items() if name not in ENCODER_INPUTS}
    few = rest | {"token_ids": inputs["token_ids"]}
    segments = np.zeros_like(inputs["segment_ids"])
    full = few | {"segment_ids": segments, "padding_mask": np.ones_like(segments)}
    _assert_equal("defaults: not those of the encoder", numbers(model(few)), numbers(model(full)))


def _check_precision(exact, mixed, inputs):
    mixed.build()
    mixed.set_weights(exact.get_weights())
    assert {weight.dtype for weight in mixed.weights} == {"float32"}, "precision: weights"
    # Weights of the usual size: large ones would show bfloat16's rounding and nothing else.
    for model in (exact, mixed):
        model.set_weights([0.3 * weight for weight in model.get_weights()])
    outputs, expected = mixed(inputs), numbers(exact(inputs))
    for name in (name for name in expected if name.endswith("logits")):
        dtype = keras.backend.standardize_dtype(outputs[name].dtype)
        assert dtype == "float32", f"precision: {name} is {dtype}"
        difference = np.abs(numbers(outputs)[name] - expected[name]).max()
        assert difference < 0.1, f"precision: {name} is {difference} off"
        assert difference > 0, f"precision: bfloat16 was not used for {name}"


def _check_saving(model, inputs, folder):
    model.save(folder / "contract.keras")
    again = keras.models.load_model(folder / "contract.keras")
    assert type(again) is type(model), "saving: another class"
    assert again.get_config() == model.get_config(), "saving: another config"
    assert [w.path for w in again.weights] == [w.path for w in model.weights], "saving: other weights"
    _assert_equal("saving: other outputs", numbers(again(inputs)), numbers(model(inputs)))


def _check_training(model, inputs, targets, unmoved):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # The step itself is quicker than compiling it; JAX compiles what is eager too, piece by piece.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.SGD(1.0), dict.fromkeys(targets, entropy), run_eagerly=eager)
    before = [np.array(weight) for weight in model.trainable_weights]
    model.train_on_batch(inputs, targets)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        moved = np.abs(np.asarray(weight) - old).max()
        if weight.path.endswith(tuple(unmoved)):
            assert moved < 1e-5, f"training: {weight.path} moved by {moved}, and was said not to"
        else:
            assert moved > 1e-5, f"training: {weight.path} moved by {moved} only"


def _assert_equal(clause, outputs, expected):
    assert outputs.keys() == expected.keys(), clause
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=2e-5, err_msg=f"{clause}: {name}")


class Around(keras.Model):
    """A user's model, within whose call the weights of one of kbert's are made."""

    def __init__(self, inner):
        super().__init__(name="around")
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)
