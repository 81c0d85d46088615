"""Another vocabulary for a trained model: whose row is whose, checked one by one."""

import keras
import numpy as np
import pytest

import kbert
from kbert import InputError
from kbert.models import Bert, BertClassifier, BertPretrainer
from kbert.text import Vocab, WordPieceTokenizer
from tests.conftest import TINY_VOCAB

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def config(tiny_config):
    return tiny_config.replace(vocab_size=len(TINY_VOCAB), dropout=0.0, attention_dropout=0.0)


def trained(model):
    rng = np.random.default_rng(29)
    model.build()
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


def by_token(model):
    table = keras.ops.convert_to_numpy(model.bert.embeddings.token_embeddings)
    return table, keras.ops.convert_to_numpy(model.mlm.bias)


def inputs_for(vocab, words):
    return {"token_ids": np.array([[vocab.id(word) for word in words]], "int32")}


# New token -> the old pieces that it was until now.
NEW = {
    "playing": ["play", "##ing"],
    "unplayed": ["[UNK]"],  # "##p" is no piece.
    "##ings": ["##ing", "##s"],
    "##inged": ["##ing", "##ed"],
    "very-bad": ["very", "[UNK]", "bad"],
    "good!": ["good", "!"],
    "电影": ["电", "影"],
    "zzz": ["[UNK]"],
    "##zzz": ["[UNK]"],
    "##playing": ["[UNK]"],  # "play" does not continue a word.
    "\u200b": ["[UNK]"],  # Invisible: of no pieces at all.
}


def test_every_row_one_by_one(config):
    vocab = Vocab(TINY_VOCAB)
    model = trained(BertPretrainer(config))
    new_vocab = Vocab(["good", *NEW, *(token for token in reversed(TINY_VOCAB) if token != "good")])
    resized = kbert.resize_vocab(model, vocab, new_vocab)
    assert type(resized) is BertPretrainer and resized.config == config.replace(vocab_size=len(new_vocab))
    (old_table, old_bias), (table, bias) = by_token(model), by_token(resized)
    for token in TINY_VOCAB:
        np.testing.assert_array_equal(table[new_vocab.id(token)], old_table[vocab.id(token)], token)
        assert bias[new_vocab.id(token)] == old_bias[vocab.id(token)], token
    for token, pieces in NEW.items():
        ids = [vocab.id(piece) for piece in pieces]
        np.testing.assert_allclose(
            table[new_vocab.id(token)], old_table[ids].mean(0), atol=1e-6, err_msg=token
        )
        np.testing.assert_allclose(bias[new_vocab.id(token)], old_bias[ids].mean(), atol=1e-6, err_msg=token)


def test_new_words_are_split_as_the_tokenizer_splits(config):
    """Against the tokenizer itself, words of all kinds."""
    vocab = Vocab(TINY_VOCAB)
    words = ["unable", "played", "plays", "niñoed", "babying", "re-read", "naïve", "这部电影", "thed", "x"]
    model = trained(BertPretrainer(config))
    resized = kbert.resize_vocab(model, vocab, Vocab([*TINY_VOCAB, *words]))
    old_table, table = by_token(model)[0], by_token(resized)[0]
    ids = WordPieceTokenizer(vocab, lowercase=False).tokenize(words).to_list()
    assert any(len(row) > 2 for row in ids) and [1] in ids
    for number, row in enumerate(ids, start=len(vocab)):
        np.testing.assert_allclose(table[number], old_table[row].mean(0), atol=1e-6)


def test_old_texts_and_old_scores_stay(config):
    vocab = Vocab(TINY_VOCAB)
    model = trained(BertPretrainer(config))
    new_vocab = Vocab([*reversed(TINY_VOCAB), "playing", "##ings"])
    resized = kbert.resize_vocab(model, vocab, new_vocab)
    words = ["[CLS]", "the", "film", "[MASK]", "good", "[SEP]"]
    before, after = model(inputs_for(vocab, words)), resized(inputs_for(new_vocab, words))
    columns = [new_vocab.id(token) for token in TINY_VOCAB]
    logits = keras.ops.convert_to_numpy(after["mlm_logits"])[..., columns]
    np.testing.assert_allclose(logits, before["mlm_logits"], atol=1e-5)
    np.testing.assert_allclose(after["nsp_logits"], before["nsp_logits"], atol=1e-5)


@pytest.mark.parametrize(
    "make", [Bert, lambda config: BertClassifier(config, num_classes=3, dtype="mixed_bfloat16")]
)
def test_a_vocabulary_can_shrink_and_heads_come_along(make, config):
    vocab, small = Vocab(TINY_VOCAB), Vocab([*SPECIAL, "film", "the", "good"])
    model = trained(make(config))
    resized = kbert.resize_vocab(model, vocab, small)
    assert type(resized) is type(model) and resized.dtype_policy == model.dtype_policy
    assert resized.config.vocab_size == 8
    words = ["[CLS]", "the", "good", "film", "[SEP]"]
    before, after = model(inputs_for(vocab, words)), resized(inputs_for(small, words))
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-5, err_msg=name)
    assert model.config.vocab_size == len(TINY_VOCAB)  # The old one is left as it was.


def test_rows_beyond_the_vocabulary_are_dropped(config):
    vocab = Vocab(TINY_VOCAB)
    model = trained(BertPretrainer(config.replace(vocab_size=len(TINY_VOCAB) + 7)))
    resized = kbert.resize_vocab(model, vocab, Vocab([*TINY_VOCAB, "playing"]))
    assert resized.config.vocab_size == len(TINY_VOCAB) + 1
    for old, new in zip(by_token(model), by_token(resized), strict=True):
        np.testing.assert_array_equal(new[: len(TINY_VOCAB)], old[: len(TINY_VOCAB)])
        pieces = [vocab.id("play"), vocab.id("##ing")]
        np.testing.assert_allclose(new[-1], old[pieces].mean(0), atol=1e-6)


def test_vocabularies_may_be_files(config, tiny_vocab, tmp_path):
    Vocab([*TINY_VOCAB, "playing"]).write(tmp_path / "new.txt")
    model = trained(BertPretrainer(config))
    resized = kbert.resize_vocab(model, tiny_vocab, str(tmp_path / "new.txt"))
    assert by_token(resized)[0].shape[0] == len(TINY_VOCAB) + 1


def test_what_does_not_fit_is_refused(config, tiny_vocab, tmp_path):
    model = Bert(config)
    for name, tokens, message in [
        ("no_mask", [token for token in TINY_VOCAB if token != "[MASK]"], r"no_mask.txt: \[MASK\] missing"),
        ("twice", [*TINY_VOCAB, "film"], f"twice.txt:{len(TINY_VOCAB) + 1}: 'film' is on line"),
    ]:
        path = tmp_path / f"{name}.txt"
        path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
        with pytest.raises(InputError, match=message):
            kbert.resize_vocab(model, tiny_vocab, path)
    small = Bert(config.replace(vocab_size=20))
    with pytest.raises(
        InputError, match=f"{len(TINY_VOCAB)} tokens, but the model's embedding table 20 rows"
    ):
        kbert.resize_vocab(small, tiny_vocab, tiny_vocab)
    model.enable_lora(2)
    with pytest.raises(InputError, match="LoRA adapters of rank 2"):
        kbert.resize_vocab(model, tiny_vocab, tiny_vocab)
