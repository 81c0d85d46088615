"""Tiny models with distinct weights, and checkpoints written by hand."""

import json

import numpy as np
import pytest
import safetensors.numpy

from kbert import BertConfig
from kbert.models import Bert, BertClassifier, BertPretrainer

HEADS = {"Bert": {}, "BertPretrainer": {}, "BertClassifier": {"num_classes": 3}}


def tiny_config(**changes):
    sizes = {
        "vocab_size": 20,
        "hidden_dim": 8,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_dim": 12,
        "max_length": 10,
    }
    return BertConfig(**{**sizes, **changes})


@pytest.fixture
def make_model():
    """(class name, config changes) -> a built model in which no two numbers are the same."""

    def make(name="BertPretrainer", seed=0, **changes):
        classes = {"Bert": Bert, "BertPretrainer": BertPretrainer, "BertClassifier": BertClassifier}
        model = classes[name](tiny_config(**changes), **HEADS[name])
        model.build()
        generator = np.random.default_rng(seed)
        for weight in model.weights:
            weight.assign(generator.normal(size=weight.shape).astype("float32"))
        return model

    return make


@pytest.fixture
def edit_tensors():
    """(safetensors file, function that changes or replaces the dict of arrays) -> the file, rewritten."""

    def edit(file, change):
        arrays = safetensors.numpy.load_file(file)
        safetensors.numpy.save_file(change(arrays) or arrays, file)

    return edit


@pytest.fixture
def edit_json():
    """(JSON file, changes) -> the file, rewritten; a value of None removes the key."""

    def edit(file, **changes):
        values = json.loads(file.read_text()) | changes
        removed = {key for key, value in changes.items() if value is None}
        file.write_text(json.dumps({key: value for key, value in values.items() if key not in removed}))

    return edit


@pytest.fixture
def assert_same_weights():
    def check(first, second):
        assert type(first) is type(second)
        assert len(first.weights) == len(second.weights)
        for one, other in zip(first.weights, second.weights, strict=True):
            assert one.path == other.path
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), one.path

    return check
