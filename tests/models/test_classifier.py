"""The kinds of classifiers: one arithmetic, three meanings, three objectives."""

import json
from functools import partial

import keras
import numpy as np
import pytest

from kbert.models import (
    BertClassifier,
    ClassificationObjective,
    MultiLabelObjective,
    RegressionObjective,
    objective_of,
)
from tests.model_contract import assert_model_contract, make_inputs

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(0, 2, size=(6, 4)).astype("float32")


def numbers(terms):
    return {name: [float(value) for value in pair] for name, pair in terms.items()}


def test_contract(tiny_config, tmp_path):
    make = partial(BertClassifier, tiny_config, num_classes=3, kind="multi")
    assert_model_contract(make, make_inputs(tiny_config), {"logits": np.array([2, 0, 1])}, tmp_path)


@pytest.mark.parametrize("kind, num_classes", [("single", 3), ("multi", 3), ("regression", 1)])
def test_all_kinds_compute_the_same_head(kind, num_classes, tiny_config):
    model = BertClassifier(tiny_config, num_classes, kind=kind)
    inputs = {"token_ids": RNG.integers(1, 100, (2, 7)).astype("int32")}
    logits = np.asarray(model(inputs)["logits"])
    kernel, bias = (np.asarray(weight) for weight in model.classifier.weights)
    pooled = np.asarray(model.bert(inputs)["pooled_output"])
    assert logits.shape == (2, num_classes)
    np.testing.assert_allclose(logits, pooled @ kernel + bias, atol=1e-6)


@pytest.mark.parametrize(
    "kind, num_classes, complaint",
    [
        ("single", 1, "num_classes=1.*at least 2"),
        ("multi", 0, "num_classes=0.*at least 1"),
        ("regression", 2, "num_classes=2.*exactly 1"),
        ("ordinal", 3, "kind='ordinal'.*'single', 'multi', 'regression'"),
    ],
)
def test_each_kind_says_how_many_classes_it_has(kind, num_classes, complaint, tiny_config):
    with pytest.raises(ValueError, match=complaint):
        BertClassifier(tiny_config, num_classes, kind=kind)


def test_the_kind_is_kept_and_without_one_it_is_single(tiny_config):
    config = BertClassifier(tiny_config, 1, kind="multi").get_config()
    assert BertClassifier.from_config(json.loads(json.dumps(config))).kind == "multi"
    old = {key: value for key, value in config.items() if key != "kind"} | {"num_classes": 3}
    assert BertClassifier.from_config(old).kind == "single"


def test_a_folder_from_before_there_were_kinds_is_read(tiny_config, tmp_path):
    checkpoints = pytest.importorskip("kbert.checkpoints")
    model = BertClassifier(tiny_config, 3)
    checkpoints.save_folder(tmp_path, model)
    spec = json.loads((tmp_path / "kbert.json").read_text())
    assert spec["head"].pop("kind") == "single"
    (tmp_path / "kbert.json").write_text(json.dumps(spec))
    again = checkpoints.load(tmp_path)
    assert again.kind == "single" and again.num_classes == 3


@pytest.mark.parametrize("kind, num_classes", [("multi", 1), ("multi", 3), ("regression", 1)])
def test_a_folder_keeps_the_kind(kind, num_classes, tiny_config, tmp_path):
    checkpoints = pytest.importorskip("kbert.checkpoints")
    checkpoints.save_folder(tmp_path, BertClassifier(tiny_config, num_classes, kind=kind))
    again = checkpoints.load(tmp_path)
    assert (again.kind, again.num_classes) == (kind, num_classes)


@pytest.mark.parametrize(
    "kind, num_classes, objective",
    [
        ("single", 2, ClassificationObjective),
        ("multi", 2, MultiLabelObjective),
        ("regression", 1, RegressionObjective),
    ],
)
def test_the_objective_of_a_kind(kind, num_classes, objective, tiny_config):
    assert type(objective_of(BertClassifier(tiny_config, num_classes, kind=kind))) is objective


def test_multi_label_terms():
    labels = RNG.integers(0, 2, LOGITS.shape).astype("float32")
    labels[0] = LOGITS[0] > 0  # One row is right as a whole.
    terms = numbers(MultiLabelObjective()({"logits": LOGITS}, {"labels": labels}))
    p = 1 / (1 + np.exp(-LOGITS.astype("float64")))
    losses = -np.log(np.where(labels == 1, p, 1 - p))
    right = (p > 0.5) == (labels == 1)
    assert set(terms) == {*MultiLabelObjective.losses, *MultiLabelObjective.metrics}
    np.testing.assert_allclose(terms["loss"], [losses.sum(), 24], rtol=1e-5)
    assert terms["label_accuracy"] == [right.sum(), 24]
    assert terms["accuracy"] == [right.all(1).sum(), 6] and 1 <= right.all(1).sum() < 6
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True)(labels, LOGITS)
    np.testing.assert_allclose(terms["loss"][0] / terms["loss"][1], keras_loss, rtol=1e-5)


def test_regression_terms():
    scores = RNG.normal(size=6).astype("float32")
    logits = LOGITS[:, :1]
    terms = numbers(RegressionObjective()({"logits": logits}, {"score": scores}))
    difference = logits[:, 0].astype("float64") - scores
    assert set(terms) == {*RegressionObjective.losses, *RegressionObjective.metrics}
    np.testing.assert_allclose(terms["loss"], [(difference**2).sum(), 6], rtol=1e-5)
    np.testing.assert_allclose(terms["absolute_error"], [np.abs(difference).sum(), 6], rtol=1e-5)


@pytest.mark.slow_after_first
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kbert.training is TensorFlow's")
@pytest.mark.parametrize("kind", ["multi", "regression"])
def test_it_learns_eight_texts(kind, tiny_config):
    import tensorflow as tf

    from kbert.training import AdamW, fit

    tokens = np.random.default_rng(1).integers(5, 100, (8, 6)).astype("int32")
    # Each row has labels of its own, several and none among them.
    labels = (np.arange(8)[:, None] >> np.arange(3) & 1).astype("float32")
    scores = np.linspace(-1, 2, 8).astype("float32")
    multi = kind == "multi"
    config = tiny_config.replace(num_layers=1, dropout=0.0, attention_dropout=0.0)
    model = BertClassifier(config, 3 if multi else 1, kind=kind)
    model.build()
    batches = tf.data.Dataset.from_tensors(({"token_ids": tokens}, {"labels": labels, "score": scores}))
    logs = fit(model, AdamW(3e-3), objective_of(model), batches.repeat(90), steps_per_epoch=30, epochs=3)
    assert logs[-1]["loss"] < 0.2 * logs[0]["loss"]
    logits = np.asarray(model({"token_ids": tokens})["logits"])
    if multi:
        assert ((logits > 0) == (labels == 1)).all()
    else:
        np.testing.assert_allclose(logits[:, 0], scores, atol=0.4)
