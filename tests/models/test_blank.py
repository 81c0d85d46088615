import gc

import numpy as np
import pytest

from kbert import models
from kbert.models.blank import blank

CLASSES = {
    "Bert": {},
    "BertPretrainer": {},
    "BertMaskedLM": {},
    "BertClassifier": {"num_classes": 3},
    "BertTagger": {"num_tags": 3, "crf": True},
    "BertSpanFinder": {},
    "BertMultipleChoice": {},
    "BertEmbedder": {},
}


def matrices(model):
    return {weight.path: np.asarray(weight) for weight in model.weights if len(weight.shape) == 2}


@pytest.mark.slow_after_first
@pytest.mark.parametrize("name", CLASSES)
def test_encoders_are_zeros_heads_are_not_and_paths_are_the_same(tiny_config, name):
    model_class, arguments = getattr(models, name), CLASSES[name]
    model = blank(model_class, tiny_config, has_pooler=True, **arguments)
    usual = model_class(tiny_config, **arguments)
    usual.build()
    assert [(w.path, w.shape) for w in model.weights] == [(w.path, w.shape) for w in usual.weights]
    of_encoder = {weight.path for weight in getattr(model, "bert", model).weights}
    for path, matrix in matrices(model).items():
        assert matrix.any() == (path not in of_encoder and "crf" not in path), path


def test_a_pooler_that_will_not_be_filled_starts_at_random(tiny_config):
    model = blank(models.BertClassifier, tiny_config, has_pooler=False, num_classes=2)
    assert {path for path, matrix in matrices(model).items() if matrix.any()} == {
        "bert_classifier/bert/pooler/dense/kernel",
        "bert_classifier/classifier/kernel",
    }


def test_the_collector_of_garbage_is_as_it_was(tiny_config):
    assert gc.isenabled()
    with pytest.raises(ValueError, match="num_classes=1"):
        blank(models.BertClassifier, tiny_config, has_pooler=True, num_classes=1)
    assert gc.isenabled()
