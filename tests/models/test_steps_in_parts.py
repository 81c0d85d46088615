"""Batches computed in parts: gradients and terms of the whole, for every kind of model and input."""

import keras
import numpy as np
import pytest

from kbert.models import (
    BertClassifier,
    BertPretrainer,
    BertTagger,
    ClassificationObjective,
    PretrainingObjective,
    TaggingObjective,
)
from tests.model_contract import make_inputs, randomised
from tests.models.test_packed_rows import packed, texts_of

if keras.backend.backend() != "tensorflow":
    pytest.skip("kbert.training is TensorFlow's", allow_module_level=True)
import tensorflow as tf

from kbert.training.steps import TrainSteps

RNG = np.random.default_rng(3)


class Kept(keras.optimizers.SGD):
    """Puts each gradient in the place of its weight, where it can be looked at."""

    def apply(self, grads, trainable_variables=None):
        for gradient, variable in zip(grads, self._trainable_variables, strict=True):
            variable.assign(gradient)


def gradients_and_terms(model, objective, data, parts):
    """The gradients are found in the weights, which are what they were afterwards."""
    before = model.get_weights()
    steps = TrainSteps(model, Kept(0.1), objective, {"rows": lambda inputs: len(inputs)}, parts=parts)
    _, totals = steps.run(iter(data), tf.constant(1))
    gradients = model.get_weights()
    model.set_weights(before)
    return gradients, totals.numpy()


def classifier(config):
    return randomised(BertClassifier(config, 3)), ClassificationObjective()


def of_any_size(batch):
    """The data set of one batch, as pipelines make it: how many rows it has is not known beforehand."""
    return tf.data.Dataset.from_tensor_slices(batch).batch(len(batch[0]["token_ids"]))


def of_known_size(batch):
    return tf.data.Dataset.from_tensors(batch)


def with_labels(inputs):
    return inputs, {"label": RNG.integers(0, 3, len(inputs["token_ids"])).astype("int32")}


def one_text_a_row(config):
    return *classifier(config), with_labels(make_inputs(config))


def one_row(config):
    inputs = {name: value[:1] for name, value in make_inputs(config).items()}
    return *classifier(config), with_labels(inputs)


def packed_rows(config):
    return randomised(BertPretrainer(config)), PretrainingObjective(), packed(texts_of(config))


def tagged_words(config):
    model = randomised(BertTagger(config, 4, crf=True))
    inputs = make_inputs(config)
    rows, length = inputs["token_ids"].shape
    inputs["word_positions"] = np.tile(np.arange(1, length - 1, dtype="int32"), (rows, 1))
    targets = {"tag_ids": RNG.integers(0, 4, (rows, length - 2)).astype("int32")}
    return model, TaggingObjective(model), (inputs, targets)


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "case, dataset",
    [
        (one_text_a_row, of_known_size),
        (one_row, of_known_size),
        (one_row, of_any_size),
        (packed_rows, of_any_size),
        (tagged_words, of_any_size),
    ],
)
def test_parts_give_what_the_whole_gives(case, dataset, tiny_config):
    config = tiny_config.replace(dropout=0.0, attention_dropout=0.0, num_layers=1)
    model, objective, batch = case(config)
    whole, terms = gradients_and_terms(model, objective, dataset(batch), 1)
    for parts in (2,) if case is packed_rows else (2, 3):
        found, found_terms = gradients_and_terms(model, objective, dataset(batch), parts)
        np.testing.assert_allclose(found_terms, terms, rtol=1e-6)
        for weight, one, other in zip(model.weights, found, whole, strict=True):
            scale = max(1.0, np.abs(other).max())
            np.testing.assert_allclose(one / scale, other / scale, atol=1e-6, err_msg=weight.path)
    assert max(np.abs(gradient).max() for gradient in whole) > 1e-2
