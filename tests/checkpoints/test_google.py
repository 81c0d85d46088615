import logging

import numpy as np
import pytest
import tensorflow as tf

from kbert import InputError, checkpoints
from kbert.checkpoints import google


def write_variables(folder, arrays):
    tf.raw_ops.SaveV2(
        prefix=str(folder / "bert_model.ckpt"),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )


def read_variables(folder):
    reader = tf.train.load_checkpoint(str(folder / "bert_model.ckpt"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_google_s_own_way_of_reading_finds_every_variable(make_model, tmp_path):
    model = make_model(activation="gelu_tanh")
    google.write(tmp_path, model)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        query = tf.compat.v1.get_variable("bert/encoder/layer_1/attention/self/query/kernel", [8, 8])
        sentence = tf.compat.v1.get_variable("cls/seq_relationship/output_weights", [2, 8])
        tf.compat.v1.train.Saver().restore(session, str(tmp_path / "bert_model.ckpt"))
        query, sentence = session.run([query, sentence])
    np.testing.assert_array_equal(query, np.asarray(model.bert.blocks[1].attention.qkv.kernel)[:, :8])
    np.testing.assert_array_equal(sentence, np.asarray(model.nsp.kernel).T)


def test_optimizer_slots_and_step_are_ignored_and_nothing_else(make_model, tmp_path, assert_same_weights):
    model = make_model(activation="gelu_tanh")
    google.write(tmp_path, model)
    arrays = read_variables(tmp_path)
    slots = {f"{name}/{slot}": array for name, array in arrays.items() for slot in ("adam_m", "adam_v")}
    write_variables(tmp_path, arrays | slots | {"global_step": np.int64(7)})
    assert_same_weights(checkpoints.load(tmp_path), model)
    write_variables(tmp_path, arrays | {"bert/embeddings/extra": np.zeros(3, "float32")})
    with pytest.raises(InputError, match="bert_model.ckpt: .*left over: bert/embeddings/extra"):
        checkpoints.load(tmp_path)


def test_defaults_are_those_of_google_s_code(make_model, tmp_path, edit_json):
    google.write(tmp_path, make_model(activation="gelu_tanh"))
    edit_json(tmp_path / "bert_config.json", type_vocab_size=None)
    config = checkpoints.read_config(tmp_path)
    assert (config.num_segments, config.activation, config.layer_norm_epsilon) == (16, "gelu_tanh", 1e-12)


def test_what_the_form_cannot_say_is_kept_beside_it_and_warned_of(make_model, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        google.write(tmp_path, make_model(activation="gelu", layer_norm_epsilon=1e-5))
    assert "computes otherwise" in caplog.text
    config = checkpoints.read_config(tmp_path)
    assert (config.activation, config.layer_norm_epsilon) == ("gelu", 1e-5)


def test_silu_is_refused(make_model, tmp_path):
    with pytest.raises(InputError, match="'silu' has no name"):
        google.write(tmp_path, make_model(activation="silu"))


def test_another_name_than_bert_model_is_found(make_model, tmp_path, assert_same_weights):
    model = make_model("BertClassifier", activation="gelu_tanh")
    google.write(tmp_path, model)
    for file in tmp_path.glob("bert_model.ckpt.*"):
        file.rename(tmp_path / file.name.replace("bert_model.ckpt", "model.ckpt-9"))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"\n')
    assert_same_weights(checkpoints.load(tmp_path), model)


def test_damage_is_named(make_model, tmp_path):
    google.write(tmp_path, make_model(activation="gelu_tanh"))
    data = tmp_path / "bert_model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:200])
    with pytest.raises(InputError, match="bert_model.ckpt: is damaged"):
        checkpoints.load(tmp_path)
    index = tmp_path / "bert_model.ckpt.index"
    index.write_bytes(index.read_bytes()[:50])
    with pytest.raises(InputError, match="bert_model.ckpt: is damaged"):
        checkpoints.load(tmp_path)
    index.unlink()
    with pytest.raises(InputError, match="no bert_model.ckpt.index"):
        checkpoints.load(tmp_path)


def test_a_missing_config_is_named(make_model, tmp_path):
    google.write(tmp_path, make_model(activation="gelu_tanh"))
    (tmp_path / "bert_config.json").unlink()
    with pytest.raises(InputError, match="no bert_config.json"):
        checkpoints.load(tmp_path)
