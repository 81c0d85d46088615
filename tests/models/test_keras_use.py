"""Every model as someone uses it who knows Keras and nothing of kbert: compile, fit, save, load, export.

`weight_paths.json` beside this file freezes the names of all weights, which checkpoints are made of. Where
they change on purpose, say so in the changelog under "Checkpoints", and write it anew:
`python -c "from tests.models.test_keras_use import write_weight_paths; write_weight_paths()"`
"""

import functools
import inspect
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kbert import BertConfig, models
from tests.model_contract import numbers

ROOT = Path(__file__).resolve().parents[2]
PATHS_FILE = Path(__file__).with_name("weight_paths.json")

CONFIG = BertConfig(
    vocab_size=101, hidden_dim=32, num_layers=2, num_heads=2, intermediate_dim=64, max_length=40
)
ROWS, LENGTH, PLACES, CHOICES = 16, 7, 3, 4
UNUSED_TOKEN = 100  # In no input, so that the row of the table that it has is seen in the output only.

RNG = np.random.default_rng(31)
SOFTMAX = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SIGMOID = keras.losses.BinaryCrossentropy(from_logits=True)


@dataclass(frozen=True)
class Case:
    """A model, and what its user gives to Keras.

    Args:
        model_class: The model.
        arguments: Of its constructor, besides the config.
        inputs: Dict of arrays of `ROWS` rows.
        targets: Dict of arrays of as many rows.
        losses: Of `compile`; None where the model brings its own.
        metrics: Of `compile`.
        unmoved: Ends of the paths of weights whose gradient is 0 by nature.
    """

    model_class: type
    inputs: dict
    targets: dict
    losses: dict | None
    arguments: dict = field(default_factory=dict)
    metrics: dict | None = None
    unmoved: tuple[str, ...] = ()


def texts(*shape, **more):
    """Texts of 4 to `LENGTH` tokens."""
    tokens = RNG.integers(5, UNUSED_TOKEN, (*shape, LENGTH)).astype("int32")
    mask = (np.arange(LENGTH) < RNG.integers(4, LENGTH + 1, (*shape, 1))).astype("int32")
    segments = (np.arange(LENGTH) >= 3).astype("int32") * mask
    return {"token_ids": tokens * mask, "segment_ids": segments, "padding_mask": mask, **more}


def mostly(value, *shape, below):
    """Labels that a few steps are enough to learn something of: most are the same."""
    return np.where(RNG.random(shape) < 0.8, value, RNG.integers(0, below, shape)).astype("int32")


def vectors(*shape):
    return RNG.normal(1.0, 0.3, (*shape, CONFIG.hidden_dim)).astype("float32")


POSITIONS = np.tile([[1, 2, 3]], (ROWS, 1)).astype("int32")
MASK_IDS = mostly(9, ROWS, PLACES, below=UNUSED_TOKEN)
LABEL = mostly(1, ROWS, below=2)

CASES = {
    "Bert": Case(
        models.Bert,
        texts(ROWS),
        {"sequence_output": vectors(ROWS, LENGTH), "pooled_output": 0.5 * vectors(ROWS)},
        {"sequence_output": "mse", "pooled_output": "mse"},
    ),
    "BertPretrainer": Case(
        models.BertPretrainer,
        texts(ROWS, mask_positions=POSITIONS),
        {"mlm_logits": MASK_IDS, "nsp_logits": LABEL},
        {"mlm_logits": SOFTMAX, "nsp_logits": SOFTMAX},
    ),
    "BertMaskedLM": Case(
        models.BertMaskedLM,
        texts(ROWS, mask_positions=POSITIONS),
        {"mlm_logits": MASK_IDS},
        {"mlm_logits": SOFTMAX},
        metrics={"mlm_logits": "accuracy"},
    ),
    "BertClassifier": Case(
        models.BertClassifier,
        texts(ROWS),
        {"logits": mostly(2, ROWS, below=3)},
        {"logits": SOFTMAX},
        arguments={"num_classes": 3},
        metrics={"logits": "accuracy"},
    ),
    "BertClassifier multi": Case(
        models.BertClassifier,
        texts(ROWS),
        {"logits": mostly(1, ROWS, 3, below=2).astype("float32")},
        {"logits": SIGMOID},
        arguments={"num_classes": 3, "kind": "multi"},
        metrics={"logits": keras.metrics.BinaryAccuracy(threshold=0.0)},
    ),
    "BertClassifier regression": Case(
        models.BertClassifier,
        texts(ROWS),
        {"logits": RNG.normal(2, 0.3, ROWS).astype("float32")},
        {"logits": "mse"},
        arguments={"num_classes": 1, "kind": "regression"},
        metrics={"logits": "mae"},
    ),
    "BertTagger": Case(
        models.BertTagger,
        texts(ROWS, word_positions=POSITIONS),
        {"logits": mostly(2, ROWS, PLACES, below=5)},
        {"logits": SOFTMAX},
        arguments={"num_tags": 5},
        metrics={"logits": "accuracy"},
    ),
    "BertTagger crf": Case(
        models.BertTagger,
        texts(ROWS, word_positions=POSITIONS),
        {"tag_ids": mostly(2, ROWS, PLACES, below=5)},
        None,
        arguments={"num_tags": 5, "crf": True},
    ),
    "BertSpanFinder": Case(
        models.BertSpanFinder,
        texts(ROWS),
        {"start_logits": mostly(1, ROWS, below=4), "end_logits": mostly(3, ROWS, below=4)},
        {"start_logits": SOFTMAX, "end_logits": SOFTMAX},
        metrics={"start_logits": "accuracy", "end_logits": "accuracy"},
        unmoved=("span/bias",),
    ),
    "BertMultipleChoice": Case(
        models.BertMultipleChoice,
        texts(ROWS, CHOICES),
        {"logits": mostly(0, ROWS, below=CHOICES)},
        {"logits": SOFTMAX},
        metrics={"logits": "accuracy"},
        unmoved=("choice/bias",),
    ),
    # Vectors of another model as targets: how a smaller embedder is made from a larger one.
    "BertEmbedder": Case(
        models.BertEmbedder, texts(ROWS), {"embedding": vectors(ROWS)}, {"embedding": "cosine_similarity"}
    ),
    "BertEmbedder pairs": Case(
        models.BertEmbedder,
        texts(ROWS, 2),
        {"embedding": vectors(ROWS, 2)},
        {"embedding": "mse"},
        arguments={"pooling": "max", "normalize": False},
    ),
}

each_case = pytest.mark.parametrize("name", CASES)


@dataclass(frozen=True)
class Used:
    case: Case
    model: keras.Model
    before: list[np.ndarray]
    history: dict[str, list[float]]
    outputs: dict[str, Any]


@functools.cache
def used(name):
    """The model after two epochs; trained once for all the tests that look at it."""
    case = CASES[name]
    keras.utils.set_random_seed(7)
    model = case.model_class(CONFIG.replace(num_layers=1), **case.arguments)
    model.build()
    before = [np.array(weight) for weight in model.trainable_weights]
    # Keras's own choice is XLA, which takes longest to compile: see the slow test below.
    jit_compile = keras.backend.backend() != "tensorflow"
    model.compile(optimizer="adam", loss=case.losses, metrics=case.metrics, jit_compile=jit_compile)
    history = model.fit(case.inputs, case.targets, batch_size=4, epochs=2, verbose=0).history
    return Used(case, model, before, history, numbers(model(case.inputs)))


def test_the_table_has_every_model():
    bases = (models.HeadModel, models.AdaptableModel, models.TextModel)
    public = {value for value in vars(models).values() if inspect.isclass(value) and value not in bases}
    public = {value for value in public if issubclass(value, keras.Model)}
    assert public == {case.model_class for case in CASES.values()}


@pytest.mark.slow
@each_case
def test_fit_lowers_the_loss_and_moves_every_weight(name):
    result = used(name)
    first, last = result.history["loss"]
    assert last < first
    still = [
        weight.path
        for weight, old in zip(result.model.trainable_weights, result.before, strict=True)
        if np.array_equal(np.asarray(weight), old) and not weight.path.endswith(result.case.unmoved)
    ]
    assert not still


@pytest.mark.slow
@each_case
def test_predict_and_evaluate_agree_with_a_call(name):
    result = used(name)
    predicted = result.model.predict(result.case.inputs, batch_size=8, verbose=0)
    assert set(predicted) == set(result.outputs)
    for key, value in result.outputs.items():
        np.testing.assert_allclose(predicted[key], value, rtol=1e-4, atol=1e-5, err_msg=key)
    logs = result.model.evaluate(
        result.case.inputs, result.case.targets, batch_size=ROWS, verbose=0, return_dict=True
    )
    expected = result.model.compute_loss(y=result.case.targets, y_pred=result.outputs, training=False)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-4)
    measured = [key for key in logs if "accuracy" in key or "mae" in key]
    assert len(measured) == len(result.case.metrics or {})


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends have nothing but XLA")
@each_case
def test_xla_trains_alike(name):
    case, losses = CASES[name], []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(7)
        # Without dropout: XLA draws other random numbers.
        config = CONFIG.replace(num_layers=1, dropout=0.0, attention_dropout=0.0)
        model = case.model_class(config, **case.arguments)
        # Plain descent: Adam's step of each weight takes XLA longer to compile than all the model.
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss=case.losses, jit_compile=jit_compile)
        history = model.fit(case.inputs, case.targets, batch_size=4, epochs=2, verbose=0, shuffle=False)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strategies are TensorFlow's")
@pytest.mark.parametrize("name, dtype", [("BertMaskedLM", "float32"), ("BertClassifier", "mixed_bfloat16")])
def test_two_replicas_train_as_one(name, dtype):
    import tensorflow as tf

    case, weights = CASES[name], []
    config = CONFIG.replace(num_layers=1, dropout=0.0, attention_dropout=0.0)
    # The default sums by collectives, which in eager mode a second strategy of a process disturbs.
    to_one = tf.distribute.ReductionToOneDevice()
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=to_one)
    for strategy in (tf.distribute.get_strategy(), mirrored):
        keras.utils.set_random_seed(7)
        with strategy.scope():
            model = case.model_class(config, dtype=dtype, **case.arguments)
            model.build()
            model.compile(keras.optimizers.SGD(0.1), loss=case.losses, run_eagerly=True)
        model.fit(case.inputs, case.targets, batch_size=ROWS, verbose=0, shuffle=False)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-5 if dtype == "float32" else 1e-3)


def test_targets_by_other_names_than_outputs_are_refused():
    case = CASES["BertClassifier"]
    model = case.model_class(CONFIG, **case.arguments)
    model.compile(loss=case.losses, run_eagerly=True)
    with pytest.raises(ValueError, match="targets are named label, losses logits; expected the names of out"):
        model.train_on_batch(case.inputs, {"label": case.targets["logits"]})


#: What the fresh process does: nothing is told to it but the names of the files.
FRESH = """
import sys
from pathlib import Path

import keras
import numpy as np

import kbert.models

for path in Path(sys.argv[1]).glob("*.keras"):
    model = keras.models.load_model(path)
    inputs = dict(np.load(path.with_suffix(".inputs.npz")))
    results = {key: keras.ops.convert_to_numpy(value) for key, value in model(inputs).items()}
    results["paths"] = np.array([weight.path for weight in model.weights])
    results["compiled"] = np.array(model.compiled and type(model.optimizer).__name__)
    if "mlm_logits" in results:
        table = (model if hasattr(model, "embeddings") else model.bert).embeddings.token_embeddings
        rows = np.array(table)
        rows[int(sys.argv[2]), 0] += 1.0  # All of the row alike would change nothing behind a LayerNorm.
        table.assign(rows)
        results["moved_mlm_logits"] = keras.ops.convert_to_numpy(model(inputs)["mlm_logits"])
    np.savez(path.with_suffix(".outputs.npz"), **results)
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Of each model, what a process finds that has never seen it but in its file."""
    folder = tmp_path_factory.mktemp("saved")
    for name in CASES:
        result = used(name)
        result.model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.inputs.npz", **result.case.inputs)
    process = subprocess.run(
        [sys.executable, "-c", FRESH, str(folder), str(UNUSED_TOKEN)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": keras.backend.backend()},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return {name: dict(np.load(folder / f"{name}.outputs.npz")) for name in CASES}


@pytest.mark.slow
@each_case
def test_a_fresh_process_loads_the_same_model(name, fresh):
    result = used(name)
    assert list(fresh[name]["paths"]) == [weight.path for weight in result.model.weights]
    assert fresh[name]["compiled"] == "Adam"
    for key, value in result.outputs.items():
        np.testing.assert_allclose(fresh[name][key], value, rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "mlm_logits" in case.targets])
def test_a_fresh_process_finds_the_tie_intact(name, fresh):
    assert sum("token_embeddings" in path for path in fresh[name]["paths"]) == 1
    change = np.abs(fresh[name]["moved_mlm_logits"] - fresh[name]["mlm_logits"]).max((0, 1))
    assert change[UNUSED_TOKEN] > 0.1 and np.delete(change, UNUSED_TOKEN).max() == 0


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")
@each_case
def test_the_export_gives_the_same_numbers(name, tmp_path):
    import tensorflow as tf

    result = used(name)
    result.model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    # Another batch size; those inputs alone that every model has; of pairs each text for itself.
    axes, few = result.model.input_axes, {}
    for key in ("token_ids", "segment_ids", "padding_mask"):
        value = result.case.inputs[key]
        few[key] = value.reshape(-1, *value.shape[1 - axes :])[:3]
    for key, value in numbers(result.model(few)).items():
        np.testing.assert_allclose(exported.serve(few)[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


def weight_paths(case):
    """The sorted paths of a model's weights."""
    model = case.model_class(CONFIG, **case.arguments)
    model.build()
    return sorted(weight.path for weight in model.weights)


def write_weight_paths():
    """Writes `weight_paths.json` as the code has it now; see the top of this file before calling it."""
    paths = {name: weight_paths(case) for name, case in CASES.items()}
    PATHS_FILE.write_text(json.dumps(paths, indent=1) + "\n", encoding="utf-8")


@each_case
def test_weight_paths_are_a_file_format(name):
    assert weight_paths(CASES[name]) == json.loads(PATHS_FILE.read_text(encoding="utf-8"))[name]
