import numpy as np
import pytest
import tensorflow as tf

from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.export import MaskFiller, export
from kbert.export.mask_filler import MAX_MASKS
from kbert.models import Bert, BertPretrainer
from tests.export.conftest import MAX_LENGTH
from tests.export.test_signatures import TEXTS

TEXTS = [
    *TEXTS,
    b"the [MASK] is long",
    b"[MASK][MASK] the [SEP] film [MASK]",
    b"[mask] [ MASK ]",
    b"[MASK] " * 60,
]


@pytest.fixture(scope="module")
def filler(tokenizer):
    config = BertConfig(
        vocab_size=len(tokenizer.vocab) + 3, hidden_dim=16, num_layers=1, num_heads=2,
        intermediate_dim=32, max_length=48,
    )  # fmt: skip
    model = BertPretrainer(config)
    model.build()
    generator = np.random.default_rng(3)
    for weight in model.weights:
        if "layer_norm" not in weight.path:
            weight.assign(generator.normal(0, 0.3, weight.shape))
    return MaskFiller({"name": "pretraining", "max_length": MAX_LENGTH, "lowercase": True}, tokenizer, model)


def test_blanks_are_filled_as_the_model_says(filler):
    outputs = {name: value.numpy() for name, value in filler.answer(tf.constant(TEXTS)).items()}
    want = [filler.reference(text) for text in TEXTS]
    assert [row["num_masks"] for row in want] == [0] * 8 + [1, 1, 3, 0, MAX_MASKS]
    assert outputs["tokens"].shape == (len(TEXTS), MAX_MASKS, 5)
    for row, answer in enumerate(want):
        count = answer["num_masks"]
        for name in ("num_masks", "num_tokens", "truncated"):
            assert outputs[name][row] == answer[name], name
        assert outputs["token_ids"][row, :count].tolist() == answer["token_ids"]
        tokens = [[token.decode() for token in blank] for blank in outputs["tokens"][row, :count]]
        assert tokens == answer["tokens"]
        np.testing.assert_allclose(
            outputs["scores"][row, :count], np.reshape(answer["scores"], (count, 5)), atol=1e-6
        )
        assert (outputs["token_ids"][row, count:] == -1).all() and not outputs["scores"][row, count:].any()
    # Rows of the table behind the vocabulary, which only fill it up, are never an answer.
    assert outputs["token_ids"].max() < len(filler.tokenizer.vocab)


def test_a_batch_of_none_and_a_batch_without_blanks(filler):
    run = filler.signatures()["serving_default"]
    assert run(text=tf.zeros([0], tf.string))["tokens"].shape == (0, 0, 5)
    assert run(text=tf.constant(["the film"]))["scores"].shape == (1, 0, 5)


def test_a_model_without_the_head_is_refused(filler, tokenizer, tiny_config):
    with pytest.raises(InputError, match="a Bert has no head for masked words"):
        MaskFiller(filler.task, tokenizer, Bert(tiny_config))


@pytest.mark.slow
@pytest.mark.serving
def test_it_passes_the_self_test(filler, tmp_path):
    assert export(filler, tmp_path) == str(tmp_path / "1")
