import logging
import shutil

import numpy as np
import pytest
import tensorflow as tf

from kbert import InputError, checkpoints
from kbert.checkpoints import google, huggingface


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
    assert_same_weights(checkpoints.load(tmp_path), model)  # As BioBERT comes, without a file of the latest.
    for file in tmp_path.glob("model.ckpt-9.*"):
        shutil.copyfile(file, tmp_path / file.name.replace("ckpt-9", "ckpt-7"))
    with pytest.raises(InputError, match="has several checkpoints, model.ckpt-7, model.ckpt-9; leave"):
        checkpoints.load(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"\n')
    assert_same_weights(checkpoints.load(tmp_path), model)


def test_pickled_weights_beside_google_s_config_are_told_with_the_remedy(make_model, tmp_path):
    """As HFL's and SciBERT's archives for PyTorch have them."""
    google.write(tmp_path, make_model(activation="gelu_tanh"))
    for file in tmp_path.glob("bert_model.ckpt.*"):
        file.unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    message = "pytorch_model.bin: is pickled.* rename bert_config.json to config.json, load it with transf"
    with pytest.raises(InputError, match=message):
        checkpoints.load(tmp_path)


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "name", ["Bert", "BertPretrainer", "BertMaskedLM", "BertClassifier", "BertSpanFinder"]
)
@pytest.mark.parametrize("slots", [False, True])
def test_each_head_of_google_s_code_is_written_and_read(
    make_model, tmp_path, assert_same_weights, caplog, name, slots
):
    model = make_model(name, activation="gelu_tanh")
    google.write(tmp_path, model)
    if slots:
        arrays = read_variables(tmp_path)
        moments = {f"{name}/{slot}": array for name, array in arrays.items() for slot in ("adam_m", "adam_v")}
        write_variables(tmp_path, arrays | moments | {"global_step": np.int64(7)})
    with caplog.at_level(logging.INFO, logger="absl"):
        assert_same_weights(checkpoints.load(tmp_path), model)
    said = [record.message for record in caplog.records if "left alone" in record.message]
    if slots:
        count = len(arrays)
        assert len(said) == 1 and f"{count} of */adam_m; {count} of */adam_v; 1 of global_step" in said[0]
    else:
        assert not said


def test_the_squad_head_is_turned_as_in_run_squad(make_model, tmp_path, inputs):
    """logits = hidden · output_weightsᵀ + output_bias; then start and end are the two rows."""
    model = make_model("BertSpanFinder", activation="gelu_tanh")
    google.write(tmp_path, model)
    arrays = read_variables(tmp_path)
    weights, bias = arrays["cls/squad/output_weights"], arrays["cls/squad/output_bias"]
    assert weights.shape == (2, 8)
    hidden = np.asarray(model.bert(inputs)["sequence_output"])
    start, end = np.moveaxis(hidden @ weights.T + bias, -1, 0)
    outputs, real = model(inputs), inputs["padding_mask"].astype(bool)
    np.testing.assert_allclose(np.asarray(outputs["start_logits"])[real], start[real], atol=1e-4)
    np.testing.assert_allclose(np.asarray(outputs["end_logits"])[real], end[real], atol=1e-4)


def test_one_output_is_a_regression(make_model, tmp_path):
    google.write(tmp_path, make_model("BertClassifier", {"num_classes": 1, "kind": "regression"}))
    assert checkpoints.load(tmp_path).kind == "regression"


@pytest.mark.slow_after_first
@pytest.mark.parametrize(("name", "part"), [("BertTagger", "tagger"), ("BertMultipleChoice", "choice")])
def test_heads_that_google_s_code_has_not_are_refused(make_model, tmp_path, name, part):
    with pytest.raises(InputError, match=f"Google's form has no place for {part}"):
        google.write(tmp_path, make_model(name))
    assert not list(tmp_path.iterdir())


def test_one_error_lists_all_that_does_not_fit(make_model, tmp_path):
    google.write(tmp_path, make_model(activation="gelu_tanh"))
    arrays = read_variables(tmp_path)
    del arrays["bert/encoder/layer_1/output/dense/bias"]
    arrays["cls/predictions/output_bias"] = np.zeros(21, "float32")
    arrays["bert/pooler/dense/kernel"] = np.zeros((8, 8), "int32")
    arrays["bert/embeddings/colour"] = np.zeros(3, "float32")
    write_variables(tmp_path, arrays)
    with pytest.raises(InputError) as caught:
        checkpoints.load(tmp_path)
    for finding in (
        "missing: bert/encoder/layer_1/output/dense/bias",
        "of another shape: cls/predictions/output_bias [21] instead of [20]",
        "no floating-point numbers: bert/pooler/dense/kernel int32",
        "left over: bert/embeddings/colour",
    ):
        assert finding in str(caught.value)


def test_a_keepsake_beside_hugging_face_s_files_is_no_google_checkpoint(
    make_model, tmp_path, assert_same_weights
):
    model = make_model("Bert")
    google.write(tmp_path, model)
    for file in tmp_path.glob("bert_model.ckpt*"):
        file.unlink()
    huggingface.write(tmp_path, model)
    assert_same_weights(checkpoints.load(tmp_path), model)


def test_a_checkpoint_elsewhere_is_refused(make_model, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    google.write(folder, make_model("Bert", activation="gelu_tanh"))
    for file in folder.glob("bert_model.ckpt.*"):
        file.rename(tmp_path / file.name)
    (folder / "checkpoint").write_text('model_checkpoint_path: "../bert_model.ckpt"\n')
    with pytest.raises(InputError, match="checkpoint: names .*bert_model.ckpt, outside its folder"):
        checkpoints.load(folder)


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


def test_a_folder_that_tensorflow_takes_for_a_pattern_is_not_damage(make_model, tmp_path):
    google.write(tmp_path, make_model(activation="gelu_tanh"))
    tmp_path = tmp_path.rename(tmp_path.with_name("mine [1]"))
    with pytest.raises(InputError, match=r"loads nothing from below a \[; rename the folder"):
        checkpoints.load(tmp_path)


def test_a_missing_config_is_named(make_model, tmp_path):
    google.write(tmp_path, make_model(activation="gelu_tanh"))
    (tmp_path / "bert_config.json").unlink()
    with pytest.raises(InputError, match="no bert_config.json"):
        checkpoints.load(tmp_path)
