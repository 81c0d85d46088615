import logging

import numpy as np
import pytest

from kbert import InputError, checkpoints
from kbert.checkpoints import google, huggingface


@pytest.fixture
def folder(make_model, tmp_path):
    """A pretrainer in Hugging Face's form."""
    huggingface.write(tmp_path, make_model())
    return tmp_path


def test_one_error_lists_all_that_does_not_fit(folder, edit_tensors):
    def damage(arrays):
        arrays["bert.embeddings.colour"] = np.zeros(3, "float32")
        del arrays["bert.encoder.layer.0.output.dense.bias"]
        del arrays["bert.encoder.layer.1.output.dense.bias"]
        arrays["cls.predictions.bias"] = np.zeros(21, "float32")
        arrays["bert.pooler.dense.weight"] = np.zeros((8, 8), "int8")

    edit_tensors(folder / "model.safetensors", damage)
    with pytest.raises(InputError) as caught:
        checkpoints.load(folder)
    message = str(caught.value)
    assert str(folder / "model.safetensors") in message
    assert "left over: bert.embeddings.colour" in message
    assert "missing: bert.encoder.layer.{0,1}.output.dense.bias" in message
    assert "cls.predictions.bias [21] instead of [20]" in message
    assert "bert.pooler.dense.weight I8" in message


def test_a_square_matrix_of_the_wrong_side_is_not_taken_turned(folder, edit_tensors):
    def turn(arrays):
        name = "bert.encoder.layer.0.intermediate.dense.weight"
        arrays[name] = np.ascontiguousarray(arrays[name].T)

    edit_tensors(folder / "model.safetensors", turn)
    with pytest.raises(InputError, match=r"intermediate.dense.weight \[8, 12\] instead of \[12, 8\]"):
        checkpoints.load(folder)


def test_more_layers_configured_than_stored_and_the_reverse(folder, edit_json):
    edit_json(folder / "config.json", num_hidden_layers=3)
    with pytest.raises(InputError, match=r"missing: bert.encoder.layer.2\..*config.json describes another"):
        checkpoints.load(folder)
    edit_json(folder / "config.json", num_hidden_layers=1)
    with pytest.raises(InputError, match=r"left over: bert.encoder.layer.1\..*too few layers"):
        checkpoints.load(folder)


@pytest.mark.parametrize("entries", [20, 21])
def test_a_vocabulary_larger_than_the_table_is_refused(folder, make_model, entries):
    (folder / "vocab.txt").write_text("".join(f"w{number}\n" for number in range(entries)))
    if entries == 20:
        checkpoints.load(folder)
        return
    with pytest.raises(InputError, match="vocab.txt:21: has 21 entries.*vocab_size=20"):
        checkpoints.load(folder)
    with pytest.raises(InputError, match="vocab.txt:21"):
        checkpoints.load_encoder_into(make_model("Bert"), folder)


@pytest.mark.parametrize("source", ["Bert", "BertClassifier", "BertPretrainer"])
@pytest.mark.parametrize("target", ["Bert", "BertClassifier", "BertPretrainer"])
def test_the_encoder_of_any_model_starts_that_of_any_other(make_model, tmp_path, source, target):
    given = make_model(source)
    checkpoints.save_folder(tmp_path / "model", given)
    model = make_model(target, seed=1)
    before = {weight.path: np.asarray(weight) for weight in model.weights}
    checkpoints.load_encoder_into(model, tmp_path / "model")
    encoder = getattr(model, "bert", model)
    for taken, original in zip(encoder.weights, getattr(given, "bert", given).weights, strict=True):
        np.testing.assert_array_equal(np.asarray(taken), np.asarray(original))
    of_encoder = {weight.path for weight in encoder.weights}
    for weight in model.weights:
        if weight.path not in of_encoder:
            np.testing.assert_array_equal(np.asarray(weight), before[weight.path])


def test_foreign_heads_are_logged_once(make_model, folder, caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        checkpoints.load_encoder_into(make_model("BertClassifier", seed=1), folder)
    assert caplog.text.count("left alone: ") == 1
    assert "cls.seq_relationship.weight" in caplog.text


def test_encoder_loading_is_strict_about_the_encoder(make_model, folder, edit_tensors):
    edit_tensors(
        folder / "model.safetensors",
        lambda arrays: arrays.update({"bert.embeddings.colour": np.zeros(3, "float32")}),
    )
    with pytest.raises(InputError, match="left over: bert.embeddings.colour"):
        checkpoints.load_encoder_into(make_model("BertClassifier"), folder)


@pytest.mark.parametrize("changes", [{"num_heads": 4}, {"activation": "gelu_tanh"}, {"vocab_size": 21}])
def test_an_encoder_of_another_arithmetic_is_refused_even_where_shapes_agree(make_model, folder, changes):
    name = next(iter(changes))
    with pytest.raises(InputError, match=f"config.json: has {name} .*not {changes[name]!r}"):
        checkpoints.load_encoder_into(make_model("BertClassifier", **changes), folder)


def test_another_dropout_is_no_other_arithmetic(make_model, folder):
    checkpoints.load_encoder_into(make_model("BertClassifier", dropout=0.0), folder)


def test_folders_that_are_none_are_refused(tmp_path, folder):
    with pytest.raises(InputError, match="absent: does not exist"):
        checkpoints.load(tmp_path / "absent")
    with pytest.raises(InputError, match="model.safetensors: is a file; expected the folder"):
        checkpoints.load(folder / "model.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds none of kbert.json, bert_config.json, config.json"):
        checkpoints.load(tmp_path / "empty")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="no config.json"):
        checkpoints.load(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"hidden_size": 8}'])
def test_a_damaged_config_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match="config.json"):
        checkpoints.load(folder)


@pytest.mark.parametrize("said", [True, False, None])
def test_lower_casing_is_what_the_tokenizer_config_says(folder, said):
    if said is not None:
        (folder / "tokenizer_config.json").write_text(f'{{"do_lower_case": {str(said).lower()}}}')
    assert checkpoints.read_lowercase(folder) is said


def test_a_google_classifier_is_recognised_by_its_output(make_model, tmp_path, assert_same_weights):
    model = make_model("BertClassifier", activation="gelu_tanh")
    google.write(tmp_path, model)
    assert_same_weights(checkpoints.load(tmp_path), model)
