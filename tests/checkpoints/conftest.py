"""Tiny models with distinct weights, and checkpoints written by hand."""

import json

import numpy as np
import pytest
import safetensors.numpy

from kbert import BertConfig, models

#: Class -> constructor's arguments besides the config; no two numbers of outputs are the same.
HEADS = {
    "Bert": {},
    "BertPretrainer": {},
    "BertMaskedLM": {},
    "BertClassifier": {"num_classes": 3},
    "BertTagger": {"num_tags": 5},
    "BertSpanFinder": {},
    "BertMultipleChoice": {},
    "BertEmbedder": {"pooling": "max"},
}


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
    """(class name, arguments of the head, config changes) -> a built model; no two numbers are the same."""

    def make(name="BertPretrainer", head=None, seed=0, **changes):
        model = getattr(models, name)(tiny_config(**changes), **(HEADS[name] if head is None else head))
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
def inputs():
    """Two rows of ids with segments; the second has padding."""
    generator = np.random.default_rng(7)
    ids = generator.integers(5, 20, (2, 9)).astype("int32")
    mask = np.ones((2, 9), "int32")
    mask[1, 6:] = 0
    return {"token_ids": ids, "segment_ids": (np.arange(9) > 4).astype("int32") * mask, "padding_mask": mask}


@pytest.fixture
def assert_same_weights():
    def check(first, second):
        assert type(first) is type(second)
        assert len(first.weights) == len(second.weights)
        for one, other in zip(first.weights, second.weights, strict=True):
            assert one.path == other.path
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), one.path

    return check
