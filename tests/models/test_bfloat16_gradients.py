"""Gradients in bfloat16 beside those in float32: thousands of tokens must not be added up in bfloat16."""

import keras
import numpy as np
import pytest

from kbert.models import (
    BertClassifier,
    BertPretrainer,
    BertSpanFinder,
    BertTagger,
    ClassificationObjective,
    PretrainingObjective,
    SpanObjective,
    TaggingObjective,
)
from tests.model_contract import randomised

if keras.backend.backend() != "tensorflow":
    pytest.skip("kbert.training is TensorFlow's", allow_module_level=True)
import tensorflow as tf

B, S, P = 64, 40, 6
RNG = np.random.default_rng(5)


def _ids(below, shape):
    return RNG.integers(0, below, shape).astype("int32")


#: Name -> class, what its constructor takes, objective of a model, inputs beyond the encoder's, targets.
CASES = {
    "spans": (
        BertSpanFinder, {}, lambda model: SpanObjective(), {},
        {"start_position": _ids(8, B), "end_position": _ids(8, B)},
    ),
    "tags": (
        BertTagger, {"num_tags": 5}, TaggingObjective,
        {"word_positions": np.tile(np.arange(1, 7, dtype="int32"), (B, 1))},
        {"tag_ids": _ids(5, (B, 6))},
    ),
    "classes": (
        BertClassifier, {"num_classes": 3}, lambda model: ClassificationObjective(), {}, {"label": _ids(3, B)}
    ),
    "pretraining": (
        BertPretrainer, {}, lambda model: PretrainingObjective(), {"mask_positions": _ids(8, (B, P))},
        {
            "mask_ids": _ids(101, (B, P)),
            "mask_weights": np.ones((B, P), "float32"),
            "next_sentence_label": _ids(2, B),
        },
    ),
}  # fmt: skip


def _inputs(config):
    rng = np.random.default_rng(6)  # Its own, so that a case is the same whichever others run.
    lengths = rng.integers(9, S + 1, (B, 1))
    return {
        "token_ids": rng.integers(0, config.vocab_size, (B, S)).astype("int32"),
        "segment_ids": rng.integers(0, 2, (B, S)).astype("int32"),
        "padding_mask": (np.arange(S) < lengths).astype("int32"),
    }


def _gradients(model, objective, inputs, targets):
    @tf.function
    def step():
        with tf.GradientTape() as tape:
            terms = objective(model(inputs, training=True), targets)
            loss = sum(total / weight for name, (total, weight) in terms.items() if name.endswith("loss"))
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    found = [tf.convert_to_tensor(gradient).numpy().astype("float64") for gradient in step()]
    return dict(zip([weight.path for weight in model.trainable_weights], found, strict=True))


@pytest.mark.slow_after_first
@pytest.mark.parametrize("unpad", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_gradients_have_the_direction_and_length_of_those_in_float32(tiny_config, name, unpad):
    config = tiny_config.replace(dropout=0.0, attention_dropout=0.0)
    make, options, objective, more, targets = CASES[name]
    exact = randomised(make(config, unpad=unpad, **options), scale=0.02)
    half = make(config, unpad=unpad, dtype="mixed_bfloat16", **options)
    half.build()
    half.set_weights(exact.get_weights())
    inputs = _inputs(config) | more
    right = _gradients(exact, objective(exact), inputs, targets)
    rounded = _gradients(half, objective(half), inputs, targets)
    whole = np.sqrt(sum(np.square(gradient).sum() for gradient in right.values()))
    shares = {}
    for path, gradient in right.items():
        length, found = np.linalg.norm(gradient), rounded[path]
        if length < 1e-3 * whole:  # 0 but for rounding, as that of keys' bias.
            continue
        shares[path] = length
        assert (gradient * found).sum() / (length * np.linalg.norm(found)) > 0.995, path
        assert np.linalg.norm(found) == pytest.approx(length, rel=0.03), path
    assert sum("bias" in path for path in shares) >= 2 * config.num_layers
