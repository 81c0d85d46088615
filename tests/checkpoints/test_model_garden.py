"""Checkpoints that Model Garden's own code wrote, and its other ways to name the same weights."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kbert import InputError, checkpoints
from kbert.checkpoints import model_garden
from kbert.models.paths import weight_paths
from tests.golden.model_garden import make as golden

GOLDEN = Path(golden.__file__).parent
INPUTS = {
    "token_ids": golden.INPUTS["input_word_ids"],
    "segment_ids": golden.INPUTS["input_type_ids"],
    "padding_mask": golden.INPUTS["input_mask"],
}
CLOSE = {"rtol": 0, "atol": 2e-6}


@pytest.fixture
def folder(tmp_path):
    """A copy of the encoder that Model Garden wrote."""
    return Path(shutil.copytree(GOLDEN / "encoder", tmp_path / "encoder"))


def write(folder, objects, config=True):
    """Writes nested dicts of arrays as the attributes of objects."""
    folder.mkdir()
    if config:
        shutil.copy(GOLDEN / "encoder" / "bert_config.json", folder)
    made = {}

    def trackable(value):
        if isinstance(value, dict):
            return tf.train.Checkpoint(**{name: trackable(part) for name, part in value.items()})
        if isinstance(value, list):
            return [trackable(part) for part in value]
        # The same array twice is the same variable under two names, as the embedding table is.
        return made.setdefault(id(value), tf.Variable(value))

    checkpoint = tf.train.Checkpoint(**{name: trackable(value) for name, value in objects.items()})
    checkpoint.write(str(folder / "bert_model.ckpt"))


def parts_of(folder):
    """The encoder in a folder as nested dicts of arrays, its layers by their numbers."""
    reader = tf.train.load_checkpoint(str(folder / "bert_model.ckpt"))
    parts = {}
    for name in reader.get_variable_to_shape_map():
        if name.startswith("encoder/"):
            *path, last = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").split("/")[1:]
            place = parts
            for step in path:
                place = place.setdefault(step, {})
            place[last] = reader.get_tensor(name)
    return parts


def weights_of(model):
    return {path: np.asarray(weight) for path, weight in weight_paths(model).items()}


def test_a_released_encoder_gives_model_garden_s_numbers():
    model = checkpoints.load(GOLDEN / "encoder")
    assert type(model).__name__ == "Bert"
    assert (model.config.activation, model.config.num_segments) == ("gelu_tanh", 3)
    expected, outputs = np.load(GOLDEN / "encoder" / "outputs.npz"), model(INPUTS)
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_allclose(outputs[name], expected[name], **CLOSE)


def test_a_checkpoint_of_training_gives_model_garden_s_numbers(caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        model = checkpoints.load(GOLDEN / "pretrainer")
    assert type(model).__name__ == "BertPretrainer"
    expected = np.load(GOLDEN / "pretrainer" / "outputs.npz")
    outputs = model({**INPUTS, "mask_positions": golden.POSITIONS})
    # The logits of next_sentence come from that head's own pooler, the encoder's was never trained.
    names = {"sequence_output": "sequence_output", "mlm_logits": "mlm_logits", "nsp_logits": "next_sentence"}
    for ours, theirs in names.items():
        np.testing.assert_allclose(outputs[ours], expected[theirs], **CLOSE)
    assert "not encoder/_pooler_layer/kernel" in caplog.text
    assert "optimizer/*" in caplog.text


@pytest.mark.parametrize("prefix", ["encoder", "model"])
def test_the_names_of_2020(tmp_path, folder, prefix):
    layers = parts_of(folder)
    for number in (4, 5):
        attention = layers[f"layer_with_weights-{number}"]["_attention_layer"]
        layers[f"layer_with_weights-{number}"]["_attention_output_dense"] = attention.pop("_output_dense")
    pooler = layers.pop("layer_with_weights-6")
    write(tmp_path / "old", {prefix: layers, "next_sentence.pooler_dense": pooler})
    loaded, expected = checkpoints.load(tmp_path / "old"), checkpoints.load(folder)
    for path, array in weights_of(expected).items():
        np.testing.assert_array_equal(weights_of(loaded)[path], array, err_msg=path)


@pytest.mark.slow
def test_an_encoder_that_is_saved_by_itself(tmp_path, folder):
    write(tmp_path / "root", parts_of(folder))
    for path, array in weights_of(checkpoints.load(folder)).items():
        np.testing.assert_array_equal(weights_of(checkpoints.load(tmp_path / "root"))[path], array)


def test_the_masked_token_head_comes_with_the_encoder(tmp_path, folder):
    generator, layers = np.random.default_rng(0), parts_of(folder)
    head = {
        "dense": {"kernel": generator.normal(size=(8, 8)), "bias": generator.normal(size=8)},
        "layer_norm": {"gamma": generator.normal(size=8), "beta": generator.normal(size=8)},
        "output_bias/bias": generator.normal(size=20),
        "embedding_table": layers["layer_with_weights-0"]["embeddings"],
    }
    write(tmp_path / "mlm", {"encoder": layers, "masked_lm": head})
    names = {name for name, _ in tf.train.list_variables(str(tmp_path / "mlm" / "bert_model.ckpt"))}
    assert not any(name.startswith("encoder/layer_with_weights-0/") for name in names)  # reached by the head
    model = checkpoints.load(tmp_path / "mlm")
    assert type(model).__name__ == "BertMaskedLM"
    np.testing.assert_array_equal(model.bert.embeddings.token_embeddings, head["embedding_table"])
    np.testing.assert_array_equal(model.mlm.bias, head["output_bias/bias"].astype("float32"))
    np.testing.assert_array_equal(model.mlm.layer_norm.gamma, head["layer_norm"]["gamma"].astype("float32"))


def test_other_heads_are_refused_but_their_encoder_can_be_had(tmp_path, folder, make_model):
    layers = parts_of(folder)
    head = {"out_proj": {"kernel": np.zeros((8, 3), "float32"), "bias": np.zeros(3, "float32")}}
    write(tmp_path / "task", {"encoder": layers, "sentence_prediction": head})
    with pytest.raises(InputError, match="left over: sentence_prediction/out_proj/bias"):
        checkpoints.load(tmp_path / "task")
    model = make_model("BertClassifier", num_segments=3, activation="gelu_tanh")
    checkpoints.load_encoder_into(model, tmp_path / "task")
    table = layers["layer_with_weights-0"]["embeddings"]
    np.testing.assert_array_equal(model.bert.embeddings.token_embeddings, table)


def test_another_number_of_heads_is_seen_in_the_shapes(folder, edit_json):
    edit_json(folder / "bert_config.json", num_attention_heads=4)
    with pytest.raises(InputError, match=r"_query_dense/kernel \[8, 2, 4\] instead of \[8, 8\]"):
        checkpoints.load(folder)


def test_more_and_fewer_layers_than_configured(folder, edit_json):
    edit_json(folder / "bert_config.json", num_hidden_layers=3)
    with pytest.raises(InputError, match="missing: encoder/_transformer_layers/2/"):
        checkpoints.load(folder)
    edit_json(folder / "bert_config.json", num_hidden_layers=1)
    with pytest.raises(InputError, match="left over: encoder/_transformer_layers/1/"):
        checkpoints.load(folder)


def test_the_config_of_google_s_chinese_model_is_read(folder, edit_json):
    config = checkpoints.read_config(folder)
    unread = {"directionality": "bidi", "pooler_type": "first_token_transform", "pooler_fc_size": 768}
    numbers = {"pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3, "pooler_size_per_head": 128}
    edit_json(folder / "bert_config.json", **unread, **numbers)
    assert checkpoints.read_config(folder) == config


@pytest.mark.parametrize(
    "key, value", [("embedding_size", 4), ("norm_first", True), ("colour", "red"), ("hidden_act", "mish")]
)
def test_what_kbert_has_not_is_refused_by_name(folder, edit_json, key, value):
    edit_json(folder / "bert_config.json", **{key: value})
    with pytest.raises(InputError, match=f"bert_config.json: .*{key}"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("type: bert_v2", "type: albert", "encoder of type 'albert'"),
        ("mlm_activation: gelu", "mlm_activation: relu", "mlm_activation='relu' is not supported"),
        ("  model:", "  mode:", "has no task.model.encoder"),
        ("task:", "task: {", "has no task.model.encoder"),
    ],
)
def test_params_of_another_model_are_refused(tmp_path, old, new, message):
    folder = Path(shutil.copytree(GOLDEN / "pretrainer", tmp_path / "pretrainer"))
    text = (folder / "params.yaml").read_text()
    encoder = text.replace("      bert_v2:", "      albert:") if "albert" in new else text
    (folder / "params.yaml").write_text(encoder.replace(old, new, 1))
    with pytest.raises(InputError, match=f"params.yaml: .*{message}"):
        checkpoints.load(folder)


def test_a_params_file_without_a_checkpoint_of_tensorflow_is_another_s(tmp_path, make_model):
    checkpoints.huggingface.write(tmp_path, make_model("BertClassifier"))
    (tmp_path / "params.yaml").write_text("train:\n  epochs: 3\n")  # As DVC has it.
    assert type(checkpoints.load(tmp_path)).__name__ == "BertClassifier"


def test_two_encoders_or_none_are_refused(tmp_path, folder):
    layers = parts_of(folder)
    write(tmp_path / "two", {"left": layers, "right": parts_of(folder)})
    with pytest.raises(InputError, match="holds 2 encoders"):
        checkpoints.load(tmp_path / "two")
    write(tmp_path / "none", {"masked_lm": {"bias": np.zeros(20, "float32")}})
    with pytest.raises(InputError, match="holds 0 encoders"):
        checkpoints.load(tmp_path / "none")


def test_it_is_told_from_google_s_form_by_what_is_in_it(tmp_path, folder, make_model):
    assert model_garden.recognises(folder)
    checkpoints.google.write(tmp_path, make_model(activation="gelu_tanh"))
    assert not model_garden.recognises(tmp_path)
    assert json.loads((tmp_path / "bert_config.json").read_text())["vocab_size"] == 20


def test_damage_is_named(folder):
    data = folder / "bert_model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:900])
    with pytest.raises(InputError, match="bert_model.ckpt: is damaged"):
        checkpoints.load(folder)
    index = folder / "bert_model.ckpt.index"
    index.write_bytes(index.read_bytes()[:50])
    with pytest.raises(InputError, match="bert_model.ckpt: is damaged"):
        checkpoints.load(folder)
