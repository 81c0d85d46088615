"""`in_int8`: near the model it is made of, the same alone and among others, and for answers only."""

import keras
import numpy as np
import pytest

from kbert import BertConfig, checkpoints
from kbert.errors import InputError
from kbert.models import BertClassifier, BertEmbedder, BertMultipleChoice, BertTagger, in_int8
from tests.model_contract import Around


def batch(rows, length, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype("int32")
    return {"token_ids": rng.integers(5, 200, (rows, length)).astype("int32") * mask, "padding_mask": mask}


def moved(model):
    """Weights of a trained model's size: as drawn, all answers would be alike."""
    keras.utils.set_random_seed(1)
    model.build()
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        scale = 0.25 if len(weight.shape) > 1 else 0.1
        weight.assign(np.asarray(weight) + rng.normal(0, scale / np.sqrt(8), weight.shape))
    return model


@pytest.fixture(scope="module")
def classifier():
    return moved(BertClassifier(BertConfig.preset("tiny", vocab_size=200), 3))


@pytest.fixture(scope="module")
def small(classifier):
    return in_int8(classifier, [batch(8, 20, seed) for seed in range(8)])


def probabilities(model, inputs):
    return np.asarray(keras.ops.softmax(model(inputs)["logits"]))


def test_answers_are_near(classifier, small):
    inputs = batch(64, 20, 99)
    want, have = probabilities(classifier, inputs), probabilities(small, inputs)
    assert want.std(0).min() > 0.02  # Or anything would be near.
    gap = np.abs(want - have)
    assert 0 < gap.mean() < 0.01 and gap.max() < 0.1


def test_hidden_states_are_near(classifier, small):
    inputs = batch(64, 20, 98)
    real = inputs["padding_mask"][..., None]
    want, have = (np.asarray(model.bert(inputs)["sequence_output"]) * real for model in (classifier, small))
    assert np.abs(want - have).mean() < 0.04 * np.abs(want).mean()


def test_a_text_alone_gets_its_answer_among_others(small):
    inputs = batch(6, 20, 97)
    together = probabilities(small, inputs)
    for row in range(6):
        length = int(inputs["padding_mask"][row].sum())
        alone = probabilities(small, {"token_ids": inputs["token_ids"][row : row + 1, :length]})
        np.testing.assert_allclose(alone[0], together[row], atol=0.01)


def test_kernels_have_8_bits_and_the_rest_is_kept(classifier, small):
    kinds = {weight.path: keras.backend.standardize_dtype(weight.dtype) for weight in small.weights}
    assert sum(kind == "int8" for kind in kinds.values()) == 4 * classifier.config.num_layers
    values = {weight.path: np.asarray(weight) for weight in classifier.weights}
    for weight in small.weights:
        if weight.path in values and kinds[weight.path] != "int8":
            np.testing.assert_array_equal(np.asarray(weight), values[weight.path])


def test_it_is_a_keras_model_like_any(small, tmp_path):
    small.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras")
    inputs = batch(4, 9, 96)
    np.testing.assert_allclose(probabilities(again, inputs), probabilities(small, inputs), atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="elsewhere XLA compiles it")
def test_keras_leaves_xla_out(small):
    """As it would by itself where there is a GPU."""
    inputs = batch(4, 9, 94)
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        small.compile(jit_compile=True)
    found = small.predict(inputs, verbose=0)["logits"]
    np.testing.assert_allclose(found, np.asarray(small(inputs)["logits"]), atol=0.05)  # A step may differ.


def test_the_last_block_for_the_first_token_alone(small):
    """`pooled_only` splits the projection of queries, keys and values."""
    inputs = batch(4, 9, 95)
    want = np.asarray(small.bert(inputs)["pooled_output"])
    have = np.asarray(small.bert(inputs, pooled_only=True)["pooled_output"])
    np.testing.assert_allclose(have, want, atol=1e-5)


def test_a_model_of_bfloat16_and_an_encoder_without_pooler():
    tagger = moved(BertTagger(BertConfig.preset("tiny", vocab_size=200), 4, dtype="mixed_bfloat16"))
    small = in_int8(tagger, [batch(8, 20, 1)])
    assert small.dtype_policy.name == "float32"
    inputs = batch(5, 12, 2)
    want = np.asarray(tagger.bert(inputs)["sequence_output"], np.float32)
    have = np.asarray(small.bert(inputs)["sequence_output"])
    assert np.abs(want - have).mean() < 0.05 * np.abs(want).mean()


def test_a_model_that_was_built_inside_another():
    model = BertClassifier(BertConfig.preset("tiny", vocab_size=200).replace(num_layers=1), 3)
    inputs = batch(5, 12, 2)
    Around(model)(inputs)
    assert model.weights[0].path.startswith("around/bert_classifier/bert/")
    want, have = probabilities(moved(model), inputs), probabilities(in_int8(model, [inputs]), inputs)
    assert 0 < np.abs(want - have).max() < 0.1


def test_what_cannot_be_is_said(classifier, small, tmp_path):
    with pytest.raises(ValueError, match="no texts to measure"):
        in_int8(classifier, [])
    with pytest.raises(InputError, match="is in 8 bits"):
        checkpoints.save_folder(tmp_path / "model", small)
    assert not (tmp_path / "model").exists()
    adapted = BertClassifier(BertConfig.preset("tiny", vocab_size=200), 3)
    adapted.build()
    adapted.enable_lora(2)
    with pytest.raises(InputError, match="LoRA"):
        in_int8(adapted, [batch(2, 5, 1)])


@pytest.mark.parametrize("kind", [BertMultipleChoice, BertEmbedder])
def test_rows_of_several_texts(kind):
    """Questions with their choices, and the texts of a pair: (B, K, S), which are rows to the encoder."""
    model = moved(kind(BertConfig.preset("tiny", vocab_size=200)))
    batches = [{name: ids.reshape(4, 2, 20) for name, ids in batch(8, 20, s).items()} for s in range(4)]
    small, name = in_int8(model, batches), "logits" if kind is BertMultipleChoice else "embedding"
    want, have = (np.asarray(each(batches[0])[name]) for each in (model, small))
    assert 0 < np.abs(want - have).mean() < 0.1 * np.abs(want).mean()
