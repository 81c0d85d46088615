"""Choosing an answer: folding and unfolding, choices that do not exist, the softmax between choices."""

import math
from functools import partial

import keras
import numpy as np
import pytest

from kbert.models import BertMultipleChoice, MultipleChoiceObjective
from tests.model_contract import (
    assert_export_gives_the_same,
    assert_model_contract,
    make_inputs,
    numbers,
    randomised,
)


@pytest.fixture
def inputs(tiny_config):
    """Three questions with four choices of seven tokens; the last one has two choices only."""
    inputs = make_inputs(tiny_config, (3, 4, 7))
    inputs["padding_mask"][2, 2:] = 0
    return inputs


def test_contract(tiny_config, inputs, tmp_path):
    make = partial(BertMultipleChoice, tiny_config.replace(num_layers=1))
    targets = {"logits": np.array([3, 0, 1])}
    assert_model_contract(make, inputs, targets, tmp_path, unmoved=["choice/bias"])


def test_scores_are_a_linear_layer_on_each_choices_pooled_output(tiny_config, inputs):
    model = randomised(BertMultipleChoice(tiny_config))
    logits = numbers(model(inputs))["logits"]
    assert logits.shape == (3, 4)
    for choice in range(4):
        alone = {name: value[:, choice] for name, value in inputs.items()}
        pooled = numbers(model.bert(alone))["pooled_output"].astype("float64")
        expected = (pooled @ np.asarray(model.choice.kernel) + np.asarray(model.choice.bias))[:, 0]
        exists = alone["padding_mask"].any(-1)
        np.testing.assert_allclose(logits[exists, choice], expected[exists], atol=1e-5)


def test_a_choice_of_padding_is_never_chosen(tiny_config, inputs):
    model = randomised(BertMultipleChoice(tiny_config))
    model.choice.bias.assign([-1e4])  # All real scores are far below 0.
    logits = numbers(model(inputs))["logits"]
    assert np.isfinite(logits).all()
    assert logits[2, 2:].max() < logits[2, :2].min() - 1e6
    # The same question without them: the same scores, and the same softmax.
    fewer = numbers(model({name: value[2:, :2] for name, value in inputs.items()}))["logits"]
    np.testing.assert_allclose(logits[2:, :2], fewer, atol=1e-2)
    arguments = {"label": np.array([1], "int32")}
    losses = [
        float(MultipleChoiceObjective()({"logits": keras.ops.convert_to_tensor(rows)}, arguments)["loss"][0])
        for rows in (logits[2:], fewer)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-2)
    inputs["padding_mask"][:] = 0
    assert np.isfinite(numbers(model(inputs))["logits"]).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients by TensorFlow's tape")
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_a_choice_of_padding_has_finite_gradients(tiny_config, inputs, dtype):
    import tensorflow as tf

    model = randomised(BertMultipleChoice(tiny_config, dtype=dtype))
    with tf.GradientTape() as tape:
        logits = tf.cast(model(inputs, training=True)["logits"], tf.float32)
        loss = tf.reduce_sum(tf.nn.log_softmax(logits)[:, 0])
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, [w.value for w in model.trainable_weights]), strict=True
    ):
        assert gradient is None or np.isfinite(tf.convert_to_tensor(gradient)).all(), weight.path


def test_choices_need_an_axis(tiny_config):
    with pytest.raises(ValueError, match=r"\(2, 7\).*three axes"):
        BertMultipleChoice(tiny_config)({"token_ids": np.ones((2, 7), "int32")})


def test_head_weights_are_the_file_formats(tiny_config):
    model = BertMultipleChoice(tiny_config)
    model.build()
    shapes = {w.path.removeprefix("bert_multiple_choice/"): tuple(w.shape) for w in model.weights}
    heads = {path: shape for path, shape in shapes.items() if not path.startswith("bert/")}
    assert heads == {"choice/kernel": (32, 1), "choice/bias": (1,)}
    assert "bert/pooler/dense/kernel" in shapes


def test_objective_counts_questions():
    logits = keras.ops.convert_to_tensor(np.array([[2, 0, 0], [0, 1, -1e9]], "float32"))
    terms = MultipleChoiceObjective()({"logits": logits}, {"label": np.array([0, 0], "int32")})
    assert set(terms) == {*MultipleChoiceObjective.losses, *MultipleChoiceObjective.metrics}
    expected = math.log(math.exp(2) + 2) - 2 + math.log(1 + math.e)
    assert [float(x) for x in terms["loss"]] == pytest.approx([expected, 2], rel=1e-5)
    assert [float(x) for x in terms["accuracy"]] == [1, 2]


@pytest.mark.slow
def test_learns_eight_questions_by_heart(tiny_config):
    tokens = np.random.default_rng(5).integers(5, 100, (8, 3, 6)).astype("int32")
    mask = np.ones_like(tokens)
    mask[4:, 2] = 0
    labels = np.array([0, 1, 2, 0, 1, 0, 1, 0])
    config = tiny_config.replace(num_layers=1, dropout=0.0, attention_dropout=0.0)
    model = BertMultipleChoice(config)
    model.compile(
        keras.optimizers.Adam(5e-3),
        loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
    )
    inputs = {"token_ids": tokens, "padding_mask": mask}
    terms = MultipleChoiceObjective()(model(inputs), {"label": labels})
    first, *_, last = model.fit(inputs, {"logits": labels}, epochs=40, batch_size=8, verbose=0).history[
        "loss"
    ]
    assert first == pytest.approx(float(terms["loss"][0] / terms["loss"][1]), rel=1e-4)
    assert last < 0.1 * first
    assert (numbers(model(inputs))["logits"].argmax(-1) == labels).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")
def test_export_gives_the_same(tiny_config, inputs, tmp_path):
    assert_export_gives_the_same(randomised(BertMultipleChoice(tiny_config)), inputs, tmp_path / "export")
