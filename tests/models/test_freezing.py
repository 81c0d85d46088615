"""Weights that do not train: told before there are any, and kept by files of Keras."""

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
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
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
