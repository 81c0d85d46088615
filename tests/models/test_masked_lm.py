"""Filling in blanks: the head's arithmetic, the tie to the embedding table, the loss of unequal rows."""

import math
from functools import partial

import keras
import numpy as np
import pytest

from kbert.models import BertMaskedLM, MaskedLMObjective
from tests.model_contract import (
    assert_export_gives_the_same,
    assert_model_contract,
    make_inputs,
    numbers,
    randomised,
)

POSITIONS = np.array([[1, 6], [2, 0], [5, 3]], "int32")


@pytest.fixture
def inputs(tiny_config):
    return make_inputs(tiny_config) | {"mask_positions": POSITIONS}


def test_contract(tiny_config, inputs, tmp_path):
    targets = {"mlm_logits": np.array([[7, 8], [9, 10], [11, 12]])}
    assert_model_contract(partial(BertMaskedLM, tiny_config.replace(num_layers=1)), inputs, targets, tmp_path)


def test_scores_are_the_heads_formula(tiny_config, inputs):
    model = randomised(BertMaskedLM(tiny_config))
    weights = {w.path.removeprefix("bert_masked_lm/"): np.asarray(w, "float64") for w in model.weights}
    outputs = numbers(model(inputs))
    encoded = numbers(model.bert({name: inputs[name] for name in inputs if name != "mask_positions"}))
    np.testing.assert_allclose(outputs["sequence_output"], encoded["sequence_output"], atol=1e-6)

    hidden = np.take_along_axis(encoded["sequence_output"].astype("float64"), POSITIONS[..., None], 1)
    hidden = hidden @ weights["mlm/transform/kernel"] + weights["mlm/transform/bias"]
    hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    hidden = (hidden - hidden.mean(-1, keepdims=True)) / np.sqrt(hidden.var(-1, keepdims=True) + 1e-12)
    hidden = hidden * weights["mlm/layer_norm/gamma"] + weights["mlm/layer_norm/beta"]
    expected = hidden @ weights["bert/embeddings/token_embeddings"].T + weights["mlm/bias"]
    np.testing.assert_allclose(outputs["mlm_logits"], expected, atol=2e-5)


@pytest.mark.parametrize("training", [False, True])
def test_what_is_not_scored_can_be_left_out(tiny_config, inputs, training):
    model = randomised(BertMaskedLM(tiny_config.replace(dropout=0.0, attention_dropout=0.0)))
    whole = numbers(model(inputs, training=training))
    alone = numbers(model(inputs, training=training, scores_only=True))
    assert set(whole) == {"mlm_logits", "sequence_output"} and set(alone) == {"mlm_logits"}
    np.testing.assert_allclose(alone["mlm_logits"], whole["mlm_logits"], atol=1e-5)
    del inputs["mask_positions"]
    assert numbers(model(inputs, scores_only=True))["mlm_logits"].shape[1] == 7


def test_without_positions_all_are_scored(tiny_config, inputs):
    model = randomised(BertMaskedLM(tiny_config))
    some = numbers(model(inputs))["mlm_logits"]
    everywhere = numbers(model({**inputs, "mask_positions": np.tile(np.arange(7), (3, 1))}))["mlm_logits"]
    del inputs["mask_positions"]
    np.testing.assert_allclose(numbers(model(inputs))["mlm_logits"], everywhere, atol=1e-5)
    np.testing.assert_allclose(some, np.take_along_axis(everywhere, POSITIONS[..., None], 1), atol=1e-5)


def test_the_output_matrix_is_the_embedding_table_also_in_a_loaded_model(tiny_config, inputs, tmp_path):
    inputs["token_ids"] %= 100  # No input has token 100, so what moves is its output row.
    model = randomised(BertMaskedLM(tiny_config))
    model.save(tmp_path / "model.keras")
    for one in (model, keras.models.load_model(tmp_path / "model.keras")):
        assert len([w for w in one.weights if 101 in w.shape]) == 2  # The table, and the bias of the scores.
        before = numbers(one(inputs))["mlm_logits"]
        table = one.bert.embeddings.token_embeddings
        rows = np.array(table)
        rows[100] += 1.0
        table.assign(rows)
        moved = np.abs(numbers(one(inputs))["mlm_logits"] - before).max((0, 1))
        assert moved[100] > 0.1 and moved[:100].max() == 0


def test_head_weights_are_the_file_formats(tiny_config):
    model = BertMaskedLM(tiny_config)
    model.build()
    paths = {weight.path.removeprefix("bert_masked_lm/") for weight in model.weights}
    assert {path for path in paths if not path.startswith("bert/")} == {
        "mlm/bias",
        "mlm/layer_norm/beta",
        "mlm/layer_norm/gamma",
        "mlm/transform/bias",
        "mlm/transform/kernel",
    }
    assert not [path for path in paths if "pooler" in path]


def test_a_pooler_is_kept_but_not_trained(tiny_config, inputs):
    model = randomised(BertMaskedLM(tiny_config, pooler=True))
    again = BertMaskedLM.from_config(model.get_config())
    again.build()
    again.set_weights(model.get_weights())
    for one in (model, again):
        assert not [weight.path for weight in one.trainable_weights if "pooler" in weight.path]
        assert set(numbers(one(inputs))) == {"mlm_logits", "sequence_output", "pooled_output"}
    encoded = numbers(model.bert({name: inputs[name] for name in inputs if name != "mask_positions"}))
    np.testing.assert_allclose(numbers(again(inputs))["pooled_output"], encoded["pooled_output"], atol=1e-6)


def test_objective_counts_each_masked_token_once():
    logits = np.zeros((2, 2, 3), "float32")
    logits[0, 0, 1] = logits[1, 0, 2] = logits[0, 1, 0] = 2.0
    outputs = {"mlm_logits": keras.ops.convert_to_tensor(logits)}
    targets = {
        "mask_ids": np.array([[1, 0], [1, 0]], "int32"),
        "mask_weights": np.array([[1, 1], [1, 0]], "float32"),  # The last slot is not used.
    }
    terms = {name: [float(x) for x in pair] for name, pair in MaskedLMObjective()(outputs, targets).items()}
    assert set(terms) == {*MaskedLMObjective.losses, *MaskedLMObjective.metrics}
    total = math.log(math.exp(2) + 2)
    assert terms["loss"] == pytest.approx([2 * (total - 2) + total, 3])
    assert terms["accuracy"] == [2, 3]


@pytest.mark.slow
def test_learns_eight_blanks_by_heart(tiny_config):
    tokens = np.random.default_rng(5).integers(5, 100, (8, 6)).astype("int32")
    positions = np.array([[i % 6, 0] for i in range(8)], "int32")
    ids = np.take_along_axis(tokens, positions, 1)
    tokens[np.arange(8), positions[:, 0]] = 4
    weights = np.tile(np.array([1, 0], "float32"), (8, 1))
    config = tiny_config.replace(num_layers=1, dropout=0.0, attention_dropout=0.0)
    model = BertMaskedLM(config)
    model.compile(
        keras.optimizers.Adam(5e-3),
        loss={
            "mlm_logits": keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
        },
    )
    inputs, labels = {"token_ids": tokens, "mask_positions": positions}, {"mlm_logits": ids}
    # Keras's loss is the objective's: a mean over the masked tokens, not over all slots.
    terms = MaskedLMObjective()(model(inputs), {"mask_ids": ids, "mask_weights": weights})
    history = model.fit(
        inputs, labels, sample_weight={"mlm_logits": weights}, epochs=40, batch_size=8, verbose=0
    )
    first, *_, last = history.history["loss"]
    assert first == pytest.approx(float(terms["loss"][0] / terms["loss"][1]), rel=1e-4)
    assert last < 0.1 * first
    assert (numbers(model(inputs))["mlm_logits"][:, 0].argmax(-1) == ids[:, 0]).all()


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")
def test_export_gives_the_same(tiny_config, inputs, tmp_path):
    assert_export_gives_the_same(randomised(BertMaskedLM(tiny_config)), inputs, tmp_path / "export")
