"""Answers in a passage: the two scores, padding that is never chosen, the loss of a pair of positions."""

from functools import partial

import keras
import numpy as np
import pytest

from kbert.models import BertSpanFinder, SpanObjective
from tests.model_contract import (
    assert_export_gives_the_same,
    assert_model_contract,
    make_inputs,
    numbers,
    randomised,
)

TARGETS = {"start_logits": np.array([3, 1, 0]), "end_logits": np.array([5, 2, 0])}


def test_contract(tiny_config, tmp_path):
    make = partial(BertSpanFinder, tiny_config.replace(num_layers=1))
    # What is added to the vectors of all positions alike is not seen by the softmax over positions.
    unmoved = ["span/bias", "layer_0/output_layer_norm/beta"]
    assert_model_contract(make, make_inputs(tiny_config), TARGETS, tmp_path, unmoved=unmoved)


def test_scores_are_a_linear_layer_on_each_position(tiny_config):
    model, inputs = randomised(BertSpanFinder(tiny_config)), make_inputs(tiny_config)
    outputs = numbers(model(inputs))
    sequence = numbers(model.bert(inputs))["sequence_output"].astype("float64")
    expected = sequence @ np.asarray(model.span.kernel) + np.asarray(model.span.bias)
    real = inputs["padding_mask"].astype(bool)
    for column, name in enumerate(("start_logits", "end_logits")):
        np.testing.assert_allclose(outputs[name][real], expected[real][:, column], atol=1e-5)


def test_padding_is_never_chosen(tiny_config):
    model, inputs = randomised(BertSpanFinder(tiny_config)), make_inputs(tiny_config)
    model.span.bias.assign([-1e4, -1e4])  # All real scores are far below 0.
    inputs["padding_mask"][2] = 0
    for logits in numbers(model(inputs)).values():
        assert np.isfinite(logits).all()
        assert logits[1].argmax() < 4 and logits[1, 4:].max() < logits[1, :4].min() - 1e6
    # Nor is it a part of the softmax: Keras's loss of the shorter input is that of the padded one.
    short = {name: value[1:2, :4] for name, value in inputs.items()}
    padded = {name: value[1:2] for name, value in inputs.items()}
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = [float(entropy(np.array([2]), model(given)["start_logits"])) for given in (short, padded)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-2)


def test_head_weights_are_the_file_formats(tiny_config):
    model = BertSpanFinder(tiny_config)
    model.build()
    shapes = {w.path.removeprefix("bert_span_finder/"): tuple(w.shape) for w in model.weights}
    heads = {path: shape for path, shape in shapes.items() if not path.startswith("bert/")}
    assert heads == {"span/kernel": (32, 2), "span/bias": (2,)}
    assert not [path for path in shapes if "pooler" in path]


def test_objective_is_the_mean_of_both_ends():
    rng = np.random.default_rng(2)
    start, end = rng.normal(0, 2, (2, 5, 4)).astype("float32")
    targets = {
        # Found; start right, end wrong; end right, start wrong; end, then start, outside of the window.
        "start_position": np.array([0, 0, 0, 0, -1], "int32"),
        "end_position": np.array([0, 0, 0, 4, 0], "int32"),
    }
    start[:, 0], end[:, 0] = 9, 9
    end[1, 2] = start[2, 3] = 10
    outputs = {"start_logits": start, "end_logits": end}
    outputs = {name: keras.ops.convert_to_tensor(value) for name, value in outputs.items()}
    terms = {name: [float(x) for x in pair] for name, pair in SpanObjective()(outputs, targets).items()}
    assert set(terms) == {*SpanObjective.losses, *SpanObjective.metrics}

    def cross_entropies(logits):
        """Of position 0, in the three rows that count."""
        return np.log(np.exp(logits[:3].astype("float64")).sum(-1)) - logits[:3, 0]

    expected = (cross_entropies(start) + cross_entropies(end)).sum() / 2
    assert terms["loss"] == pytest.approx([expected, 3], rel=1e-5)
    assert terms["exact_match"] == [1, 3]


def test_objective_tells_start_from_end():
    logits = np.eye(4, dtype="float32") * 9
    outputs = {"start_logits": logits[[1, 0]], "end_logits": logits[[2, 3]]}
    outputs = {name: keras.ops.convert_to_tensor(value) for name, value in outputs.items()}
    targets = {"start_position": np.array([1, 0], "int32"), "end_position": np.array([2, 3], "int32")}
    terms = SpanObjective()(outputs, targets)
    assert float(terms["exact_match"][0]) == 2 and float(terms["loss"][0]) < 0.01


@pytest.mark.slow
def test_learns_eight_spans_by_heart(tiny_config):
    tokens = np.random.default_rng(5).integers(5, 100, (8, 6)).astype("int32")
    mask = np.tile(np.array([1, 1, 1, 1, 1, 0], "int32"), (8, 1))
    starts, ends = np.arange(8) % 4, np.arange(8) % 4 + np.arange(8) // 4
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    config = tiny_config.replace(num_layers=1, dropout=0.0, attention_dropout=0.0)
    model = BertSpanFinder(config)
    model.compile(
        keras.optimizers.Adam(5e-3),
        loss={"start_logits": entropy, "end_logits": entropy},
        loss_weights={"start_logits": 0.5, "end_logits": 0.5},
    )
    inputs = {"token_ids": tokens, "padding_mask": mask}
    targets = {"start_logits": starts, "end_logits": ends}
    terms = SpanObjective()(model(inputs), {"start_position": starts, "end_position": ends})
    first, *_, last = model.fit(inputs, targets, epochs=40, batch_size=8, verbose=0).history["loss"]
    assert first == pytest.approx(float(terms["loss"][0] / terms["loss"][1]), rel=1e-4)
    assert last < 0.1 * first
    predicted = numbers(model(inputs))
    assert (predicted["start_logits"].argmax(-1) == starts).all()
    assert (predicted["end_logits"].argmax(-1) == ends).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")
def test_export_gives_the_same(tiny_config, tmp_path):
    model = randomised(BertSpanFinder(tiny_config))
    assert_export_gives_the_same(model, make_inputs(tiny_config), tmp_path / "export")
