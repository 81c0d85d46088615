"""Several texts in one row: each gets what it gets alone, in outputs and in gradients."""

import keras
import numpy as np
import pytest

from kbert.models import (
    Bert,
    BertClassifier,
    BertEmbedder,
    BertPretrainer,
    BertSpanFinder,
    BertTagger,
    PretrainingObjective,
)
from tests.model_contract import numbers, randomised

LENGTH, PARTS, SLOTS = 30, 4, 9
ROWS = ([9, 5, 12], [20, 7], [30])  # lengths of the texts in each row
RNG = np.random.default_rng(17)

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="is about TensorFlow: its tapes, graphs or strategies"
)


def text(length, vocab_size):
    """One text: its inputs and targets as a batch of one row."""
    masked = np.sort(RNG.choice(np.arange(1, length), 1 + length // 8, replace=False))
    inputs = {
        "token_ids": RNG.integers(0, vocab_size, (1, length)).astype("int32"),
        "segment_ids": (np.arange(length) >= length // 2).astype("int32")[None],
        "padding_mask": np.ones((1, length), "int32"),
        "mask_positions": masked.astype("int32")[None],
    }
    targets = {
        "mask_ids": RNG.integers(0, vocab_size, masked.shape).astype("int32")[None],
        "mask_weights": np.ones((1, len(masked)), "float32"),
        "next_sentence_label": RNG.integers(0, 2, 1).astype("int32"),
    }
    return inputs, targets


def packed(rows):
    """The texts of each row side by side."""
    shape, masks, firsts = (len(rows), LENGTH), (len(rows), SLOTS), (len(rows), PARTS)
    names = ("token_ids", "segment_ids", "padding_mask", "part_ids", "position_ids")
    inputs = {name: np.zeros(shape, "int32") for name in names}
    inputs |= {"first_positions": np.zeros(firsts, "int32"), "mask_positions": np.zeros(masks, "int32")}
    targets = {"mask_ids": np.zeros(masks, "int32"), "mask_weights": np.zeros(masks, "float32")}
    targets |= {"next_sentence_label": np.zeros(firsts, "int32")}
    targets |= {"next_sentence_weight": np.zeros(firsts, "float32")}
    for row, texts in enumerate(rows):
        start = slot = 0
        for part, (own, wanted) in enumerate(texts):
            length, count = own["token_ids"].size, own["mask_positions"].size
            here, slots = (row, slice(start, start + length)), (row, slice(slot, slot + count))
            for name in ("token_ids", "segment_ids", "padding_mask"):
                inputs[name][here] = own[name]
            inputs["part_ids"][here] = part + 1
            inputs["position_ids"][here] = np.arange(length)
            inputs["first_positions"][row, part] = start
            inputs["mask_positions"][slots] = start + own["mask_positions"]
            for name in ("mask_ids", "mask_weights"):
                targets[name][slots] = wanted[name]
            targets["next_sentence_label"][row, part] = wanted["next_sentence_label"][0]
            targets["next_sentence_weight"][row, part] = 1
            start, slot = start + length, slot + count
    return inputs, targets


def texts_of(config):
    return [[text(length, config.vocab_size) for length in row] for row in ROWS]


def parts_of(outputs, inputs):
    """The outputs of a batch of packed rows, text by text."""
    outputs = numbers(outputs)
    for row in range(len(ROWS)):
        for part in range(len(ROWS[row])):
            here = inputs["part_ids"][row] == part + 1
            slots = here[inputs["mask_positions"][row]] & (inputs["mask_positions"][row] > 0)
            places = {"sequence_output": here, "pooled_output": part, "mlm_logits": slots, "nsp_logits": part}
            yield {name: values[row][places[name]] for name, values in outputs.items()}


def assert_as_alone(model, atol, **options):
    rows = texts_of(model.config)
    inputs, _ = packed(rows)
    alone = [numbers(model(own, **options)) for row in rows for own, _ in row]
    together = list(parts_of(model(inputs, **options), inputs))
    assert len(together) == len(alone) == 6
    for one, other in zip(together, alone, strict=True):
        assert set(one) == set(other) >= {"pooled_output", "mlm_logits", "nsp_logits"}
        for name, value in one.items():
            np.testing.assert_allclose(value, other[name][0], atol=atol, err_msg=name)


@pytest.fixture
def config(tiny_config):
    return tiny_config.replace(dropout=0.0, attention_dropout=0.0)


@pytest.mark.slow_after_first
@pytest.mark.parametrize("training, remat", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("scores_only", [False, True])
def test_every_text_has_the_outputs_it_has_alone(config, training, remat, scores_only):
    model = randomised(BertPretrainer(config, remat=remat))
    assert_as_alone(model, 1e-5, training=training, scores_only=scores_only)


def test_rows_may_be_longer_than_positions_reach(config):
    rows = [[text(length, config.vocab_size) for length in (9, 5, 12)]]
    short = randomised(BertPretrainer(config.replace(max_length=12)))
    inputs, _ = packed(rows)
    outputs = numbers(short(inputs))["sequence_output"][0]
    for own, start in zip(rows[0], (0, 9, 14), strict=True):
        alone = numbers(short(own[0]))["sequence_output"][0]
        np.testing.assert_allclose(outputs[start : start + len(alone)], alone, atol=1e-5)


def test_composed_positions_begin_again_too(config):
    assert_as_alone(randomised(BertPretrainer(config.replace(max_length=6, extended_length=36))), 1e-5)


def test_bfloat16_and_lora(config):
    model = BertPretrainer(config, dtype="mixed_bfloat16")
    model.build()
    assert_as_alone(model, 0.03)
    model = BertPretrainer(config)
    model.enable_lora(2)
    assert_as_alone(randomised(model), 1e-5)


def test_a_text_does_not_move_its_neighbours(config):
    model = randomised(BertPretrainer(config))
    inputs, _ = packed(texts_of(config))
    before = list(parts_of(model(inputs), inputs))
    changed = np.where(inputs["part_ids"] == 2, (inputs["token_ids"] + 1) % 101, inputs["token_ids"])
    after = list(parts_of(model({**inputs, "token_ids": changed}), inputs))
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        second = number in (1, 4)
        for name in one:
            assert (np.abs(one[name] - other[name]).max() > 1e-3) == second, (number, name)


@pytest.mark.parametrize("part", ["part_ids", "position_ids", "first_positions"])
def test_half_of_a_packed_row_is_refused(part, config):
    inputs, _ = packed(texts_of(config))
    del inputs[part]
    with pytest.raises(ValueError, match=f"lack {part}"):
        Bert(config)(inputs)


@pytest.mark.parametrize(
    "make", [BertEmbedder, BertSpanFinder, lambda config: BertTagger(config, 3, crf=True)]
)
def test_heads_for_one_text_refuse_rows_of_several(make, config):
    inputs, _ = packed(texts_of(config))
    with pytest.raises(ValueError, match="one text in each row"):
        make(config)(inputs)


def test_a_tagger_takes_padding_from_the_parts(config):
    inputs, _ = packed(texts_of(config))
    del inputs["padding_mask"]
    words = numbers(BertTagger(config, 3)(inputs))["word_mask"]
    np.testing.assert_array_equal(words, inputs["part_ids"] > 0)


def test_heads_on_the_first_token_score_each_text(config):
    model = randomised(BertClassifier(config, 3))
    rows = texts_of(config)
    logits = numbers(model(packed(rows)[0]))["logits"]
    assert logits.shape == (3, PARTS, 3)
    for row, texts in enumerate(rows):
        for part, (own, _) in enumerate(texts):
            np.testing.assert_allclose(logits[row, part], numbers(model(own))["logits"][0], atol=1e-5)


def losses(outputs, targets):
    return {name: tuple(map(float, pair)) for name, pair in PretrainingObjective()(outputs, targets).items()}


def test_losses_are_the_sums_over_the_texts(config):
    model, rows = randomised(BertPretrainer(config)), texts_of(config)
    inputs, targets = packed(rows)
    alone = [losses(model(own), wanted) for row in rows for own, wanted in row]
    for name, pair in losses(model(inputs), targets).items():
        np.testing.assert_allclose(pair, np.sum([one[name] for one in alone], axis=0), rtol=1e-5)


@on_tensorflow
@pytest.mark.parametrize("remat", [False, True])
def test_gradients_are_the_sums_over_the_texts_weight_by_weight(config, remat):
    import tensorflow as tf

    model, rows = randomised(BertPretrainer(config, remat=remat)), texts_of(config)

    def gradients(inputs, targets):
        with tf.GradientTape() as tape:
            sums = PretrainingObjective()(model(inputs, training=True), targets)
            loss = sums["mlm_loss"][0] + sums["nsp_loss"][0]
        found = tape.gradient(loss, [weight.value for weight in model.weights])
        return [tf.convert_to_tensor(gradient).numpy() for gradient in found]

    together = gradients(*packed(rows))
    alone = [gradients(own, wanted) for row in rows for own, wanted in row]
    for weight, one, *others in zip(model.weights, together, *alone, strict=True):
        expected = np.sum(others, axis=0)
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(one / scale, expected / scale, atol=1e-5, err_msg=weight.path)
        assert np.abs(expected).max() > 1e-6, weight.path


@on_tensorflow
def test_xla_gives_the_same_outputs(config):
    import tensorflow as tf

    model = randomised(BertPretrainer(config.replace(num_layers=1)))
    inputs, _ = packed(texts_of(config))
    expected = numbers(model(inputs))
    outputs = tf.function(model, jit_compile=True)(inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5, err_msg=name)
