import logging

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from kbert import BertConfig, InputError, checkpoints
from kbert.checkpoints import huggingface


@pytest.fixture
def written(make_model, tmp_path):
    """(class name) -> (model, folder in Hugging Face's form)."""

    def write(name="BertPretrainer"):
        model = make_model(name)
        huggingface.write(tmp_path, model)
        return model, tmp_path

    return write


def rename(change):
    return lambda arrays: {change(name): array for name, array in arrays.items()}


def test_a_bare_encoder_is_written_without_and_read_with_the_prefix_too(
    written, edit_tensors, assert_same_weights
):
    model, folder = written("Bert")
    file = folder / "model.safetensors"
    assert "embeddings.word_embeddings.weight" in safetensors.numpy.load_file(file)
    assert_same_weights(checkpoints.load(folder), model)
    edit_tensors(file, rename("bert.{}".format))
    assert_same_weights(checkpoints.load(folder), model)


def test_matrices_are_stored_out_by_in(written):
    model, folder = written("BertClassifier")
    arrays = safetensors.numpy.load_file(folder / "model.safetensors")
    assert arrays["classifier.weight"].shape == (3, 8)
    kernel = np.asarray(model.bert.blocks[1].attention.qkv.kernel)
    key = arrays["bert.encoder.layer.1.attention.self.key.weight"]
    np.testing.assert_array_equal(key, kernel[:, 8:16].T)


def test_old_names_position_ids_and_tied_copies_are_understood(written, edit_tensors, assert_same_weights):
    model, folder = written()

    def age(arrays):
        arrays["bert.embeddings.position_ids"] = np.arange(10)[None]
        arrays["cls.predictions.decoder.weight"] = arrays["bert.embeddings.word_embeddings.weight"].copy()
        arrays["cls.predictions.decoder.bias"] = arrays["cls.predictions.bias"].copy()
        old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        return {
            next((name.replace(new, o) for new, o in old.items() if new in name), name): array
            for name, array in arrays.items()
        }

    edit_tensors(folder / "model.safetensors", age)
    assert_same_weights(checkpoints.load(folder), model)


def test_an_output_matrix_that_is_not_the_embedding_table_is_refused(written, edit_tensors):
    _, folder = written()

    def untie(arrays):
        table = arrays["bert.embeddings.word_embeddings.weight"]
        arrays["cls.predictions.decoder.weight"] = table + np.float32(1)

    edit_tensors(folder / "model.safetensors", untie)
    with pytest.raises(InputError, match="left over: cls.predictions.decoder.weight"):
        checkpoints.load(folder)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_half_precision_is_read_as_float32(written, edit_tensors, dtype):
    model, folder = written()
    edit_tensors(folder / "model.safetensors", lambda arrays: {k: v.astype(dtype) for k, v in arrays.items()})
    for weight, original in zip(checkpoints.load(folder).weights, model.weights, strict=True):
        rounded = np.asarray(original).astype(dtype).astype("float32")
        assert weight.dtype == "float32"
        np.testing.assert_array_equal(np.asarray(weight), rounded)


def test_a_missing_pooler_of_a_bare_encoder_is_new_and_said(written, edit_tensors, caplog):
    model, folder = written("Bert")
    edit_tensors(
        folder / "model.safetensors",
        lambda arrays: {name: array for name, array in arrays.items() if not name.startswith("pooler")},
    )
    with caplog.at_level(logging.WARNING, logger="absl"):
        loaded = checkpoints.load(folder)
    assert "has no bert/pooler; newly initialised" in caplog.text
    np.testing.assert_array_equal(
        np.asarray(loaded.embeddings.token_embeddings), np.asarray(model.embeddings.token_embeddings)
    )
    assert not np.asarray(loaded.pooler.dense.bias).any()


@pytest.mark.parametrize("name", ["bert.pooler.dense.bias", "cls.seq_relationship.weight"])
def test_half_a_part_or_a_part_that_a_head_needs_is_no_missing_pooler(written, edit_tensors, name):
    _, folder = written()
    edit_tensors(
        folder / "model.safetensors", lambda arrays: {key: arrays[key] for key in arrays if key != name}
    )
    with pytest.raises(InputError, match=f"missing: {name}"):
        checkpoints.load(folder)


def test_pickled_weights_are_refused_with_the_remedy(written):
    _, folder = written()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pytorch_model.bin: is pickled.*safe_serialization"):
        checkpoints.load(folder)


def test_a_truncated_file_is_refused(written):
    _, folder = written()
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="model.safetensors: is damaged"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("gelu", "gelu"), ("gelu_new", "gelu_tanh"), ("relu", "relu"), ("silu", "silu")]
)
def test_activations(written, edit_json, theirs, ours):
    _, folder = written()
    edit_json(folder / "config.json", hidden_act=theirs)
    assert checkpoints.read_config(folder).activation == ours


def test_config_is_read_whole(written, make_model, tmp_path):
    config = BertConfig(
        vocab_size=20,
        hidden_dim=8,
        num_layers=1,
        num_heads=4,
        intermediate_dim=24,
        max_length=9,
        num_segments=3,
        dropout=0.2,
        attention_dropout=0.3,
        activation="gelu_tanh",
        layer_norm_epsilon=1e-5,
        initializer_range=0.03,
    )
    huggingface.write(tmp_path, make_model("Bert", **config.to_dict()))
    assert checkpoints.read_config(tmp_path) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "tanh"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("model_type", "roberta"),
    ],
)
def test_what_kbert_has_not_is_refused_by_name(written, edit_json, key, value):
    _, folder = written()
    edit_json(folder / "config.json", **{key: value})
    with pytest.raises(InputError, match=f"config.json: {key}={value!r} is not supported"):
        checkpoints.load(folder)


def test_heads_that_only_look_alike_are_refused_but_lend_their_encoder(written, edit_json, make_model):
    model, folder = written("BertClassifier")
    edit_json(folder / "config.json", architectures=["BertForTokenClassification"])
    with pytest.raises(InputError, match="'BertForTokenClassification'"):
        checkpoints.load(folder)
    other = make_model("BertPretrainer", seed=1)
    checkpoints.load_encoder_into(other, folder)
    np.testing.assert_array_equal(
        np.asarray(other.bert.pooler.dense.kernel), np.asarray(model.bert.pooler.dense.kernel)
    )
