"""Weights that do not train: told before there are any, and kept by files of Keras."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kbert.models import Bert, BertClassifier

RNG = np.random.default_rng(29)
TOKENS = RNG.integers(5, 100, (8, 6)).astype("int32")


@pytest.fixture
def small_config(tiny_config):
    return tiny_config.replace(num_layers=1)


def paths(weights):
    """Below the model."""
    return [weight.path.split("/", 1)[1] for weight in weights]


def with_head(bert):
    """A functional model of a bare encoder and a layer of Keras."""
    token_ids = keras.Input((6,), dtype="int32", name="token_ids")
    pooled = bert({"token_ids": token_ids})["pooled_output"]
    return keras.Model(token_ids, keras.layers.Dense(2, name="scores")(pooled))


def test_an_encoder_frozen_before_it_has_weights(tiny_config):
    model = BertClassifier(tiny_config, 3)
    model.bert.trainable = False
    model.build()
    assert paths(model.trainable_weights) == ["classifier/kernel", "classifier/bias"]
    model.bert.trainable = True
    assert paths(model.trainable_weights) == paths(model.weights)


def test_parts_frozen_before_they_have_weights(tiny_config):
    model = BertClassifier(tiny_config, 3)
    model.bert.trainable = False
    model.bert.pooler.trainable = True
    model.build()
    assert paths(model.trainable_weights) == [
        "bert/pooler/dense/kernel",
        "bert/pooler/dense/bias",
        "classifier/kernel",
        "classifier/bias",
    ]


@pytest.mark.parametrize("make", [Bert, lambda config, **kwargs: BertClassifier(config, 3, **kwargs)])
def test_a_model_made_frozen(make, tiny_config):
    model = make(tiny_config, trainable=False)
    model.build()
    assert not [weight.path for weight in model.weights if weight.trainable]


def test_an_encoder_made_frozen_in_another_model(tiny_config):
    model = with_head(Bert(tiny_config, trainable=False))
    assert [weight.path for weight in model.trainable_weights] == ["scores/kernel", "scores/bias"]


def freeze_encoder(model):
    model.bert.trainable = False


def freeze_all_but_the_pooler(model):
    model.bert.trainable = False
    model.bert.pooler.trainable = True


def freeze_weights(model):
    for weight in model.bert.embeddings.weights + model.bert.blocks[0].attention.weights:
        weight.trainable = False


def adapt_all_but_the_pooler(model):
    model.enable_lora(2)
    for weight in model.bert.pooler.weights:
        weight.trainable = True


WAYS = [freeze_encoder, freeze_all_but_the_pooler, freeze_weights, adapt_all_but_the_pooler]


def fit(model, targets):
    """One step, eagerly: to compile it takes longer."""
    if not model.compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        losses = {name: loss for name in targets} if isinstance(targets, dict) else loss
        model.compile(keras.optimizers.Adam(0.01), losses, run_eagerly=True)
    model.run_eagerly = True
    model.fit(TOKENS, targets, verbose=0)


def saved_and_loaded(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def assert_trains_on(again, model, targets):
    """The loaded model trains what the saved one did, with its moments, and leaves the rest as it is."""
    trained = paths(model.trainable_weights)
    assert 0 < len(trained) < len(model.weights)
    assert paths(again.trainable_weights) == trained
    for one, other in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    before = [np.array(weight) for weight in again.weights]
    fit(again, targets)
    moved = [not np.array_equal(old, w) for old, w in zip(before, again.weights, strict=True)]
    assert moved == [weight.trainable for weight in again.weights]


@pytest.mark.slow_after_first
@pytest.mark.parametrize("freeze", WAYS)
def test_a_keras_file_keeps_what_is_frozen(freeze, small_config, tmp_path):
    targets = {"logits": np.arange(8) % 3}
    model = BertClassifier(small_config, 3)
    model.build()
    freeze(model)
    fit(model, targets)
    again = saved_and_loaded(model, tmp_path)
    assert_trains_on(again, model, targets)
    flags = [[layer.trainable for layer in (m.bert, m.bert.pooler, m.classifier)] for m in (again, model)]
    assert flags[0] == flags[1]


@pytest.mark.slow_after_first
@pytest.mark.parametrize("freeze", [freeze_encoder, freeze_weights])
def test_a_keras_file_of_a_functional_model_keeps_what_is_frozen(freeze, small_config, tmp_path):
    targets = np.arange(8) % 2
    bert = Bert(small_config)
    model = with_head(bert)
    freeze(SimpleNamespace(bert=bert))
    fit(model, targets)
    assert_trains_on(saved_and_loaded(model, tmp_path), model, targets)


def test_what_was_loaded_frozen_can_be_told_to_train(small_config, tmp_path):
    model = BertClassifier(small_config, 3)
    model.build()
    model.bert.trainable = False
    again = saved_and_loaded(saved_and_loaded(model, tmp_path), tmp_path)
    assert paths(again.trainable_weights) == ["classifier/kernel", "classifier/bias"]
    again.bert.trainable = True
    assert paths(again.trainable_weights) == paths(again.weights)


def test_files_that_say_nothing_of_it_are_read(small_config):
    model = BertClassifier(small_config, 3)
    model.build_from_config({"shapes_dict": {}, "lora": {"rank": 2, "alpha": 2.0}})
    ends = {path.split("/")[-1] for path in paths(model.trainable_weights) if path.startswith("bert/")}
    assert ends == {"lora_a", "lora_b"}


@pytest.mark.parametrize("make", [Bert, lambda config, **kwargs: BertClassifier(config, 3, **kwargs)])
@pytest.mark.parametrize("trainable", [True, False])
def test_the_config_says_whether_a_model_trains(make, trainable, small_config):
    model = make(small_config, trainable=trainable)
    assert type(model).from_config(model.get_config()).trainable is trainable
