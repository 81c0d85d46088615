import json
import logging

import numpy as np
import pytest

from kbert import InputError, checkpoints, models
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

    (folder / "vocab.txt").write_text("".join(f"w{number}\n" for number in range(22)))
    edit_tensors(folder / "model.safetensors", damage)
    with pytest.raises(InputError) as caught:
        checkpoints.load(folder)
    message = str(caught.value)
    assert str(folder / "model.safetensors") in message
    assert "left over: bert.embeddings.colour" in message
    assert "missing: bert.encoder.layer.{0,1}.output.dense.bias" in message
    assert "cls.predictions.bias [21] instead of [20]" in message
    assert "bert.pooler.dense.weight I8" in message
    assert "vocab.txt:21: has 22 entries" in message


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


@pytest.mark.slow_after_first
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


@pytest.mark.parametrize("form", [google, huggingface, checkpoints.folder])
def test_any_model_can_be_asked_for(make_model, tmp_path, form):
    source = make_model("BertPretrainer", activation="gelu_tanh")
    write = checkpoints.save_folder if form is checkpoints.folder else form.write
    write(tmp_path, source)
    tagger = checkpoints.load(tmp_path, models.BertTagger, new_heads="init", num_tags=7)
    assert tagger.num_tags == 7
    assert 0 < np.abs(np.asarray(tagger.tagger.kernel)).max() < 0.05
    filler = checkpoints.load(tmp_path, models.BertMaskedLM)
    np.testing.assert_array_equal(np.asarray(filler.mlm.bias), np.asarray(source.mlm.bias))
    for model in (tagger, filler):
        for one, other in zip(model.bert.weights, source.bert.weights[:-2], strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_a_new_head_must_be_asked_for_and_is_logged(folder, caplog):
    with pytest.raises(InputError, match='no weights at all for: classifier .*new_heads="init"'):
        checkpoints.load(folder, models.BertClassifier, num_classes=3)
    with caplog.at_level(logging.INFO, logger="absl"):
        checkpoints.load(folder, models.BertClassifier, new_heads="init", num_classes=3)
    assert caplog.text.count("has no classifier; newly initialised") == 1
    assert caplog.text.count("left alone: cls.predictions.bias") == 1
    with pytest.raises(ValueError, match="new_heads='random'"):
        checkpoints.load(folder, new_heads="random")


def test_weights_that_no_form_has_are_missing(make_model, folder):
    model = make_model("BertClassifier")
    model.enable_lora(2)
    with pytest.raises(InputError, match=r"missing: bert/layer_\{0,1\}/attention/output/lora_a"):
        checkpoints.load_encoder_into(model, folder)


def test_a_new_pooler_starts_at_random_too(make_model, tmp_path, caplog):
    huggingface.write(tmp_path, make_model("Bert", {"pooler": False}))
    with pytest.raises(InputError, match="no weights at all for: bert/pooler, classifier"):
        checkpoints.load(tmp_path, models.BertClassifier, num_classes=3)
    with caplog.at_level(logging.WARNING, logger="absl"):
        model = checkpoints.load(tmp_path, models.BertClassifier, new_heads="init", num_classes=3)
    assert "has no bert/pooler, classifier; newly initialised" in caplog.text
    assert 0.01 < np.asarray(model.bert.pooler.dense.kernel).std() < 0.03


def test_half_a_head_is_damage_even_if_new_heads_are_allowed(folder, edit_tensors):
    def damage(arrays):
        del arrays["cls.seq_relationship.bias"]

    edit_tensors(folder / "model.safetensors", damage)
    with pytest.raises(InputError, match="missing: cls.seq_relationship.bias"):
        checkpoints.load(folder, new_heads="init")


def test_a_head_is_not_taken_by_a_class_that_computes_it_otherwise(make_model, tmp_path):
    head = {"head_activation": "relu", "head_layer_norm_epsilon": None}
    checkpoints.save_folder(tmp_path, make_model("BertMaskedLM", head))
    assert checkpoints.load(tmp_path).mlm.activation == "relu"
    with pytest.raises(InputError, match="head={'head_activation': 'relu'} does not fit BertPretrainer"):
        checkpoints.load(tmp_path, models.BertPretrainer, new_heads="init")


def test_arguments_that_do_not_fit_the_class_are_named(folder):
    with pytest.raises(InputError, match="head={} does not fit BertTagger: .*num_tags"):
        checkpoints.load(folder, models.BertTagger, new_heads="init")
    with pytest.raises(InputError, match="colour"):
        checkpoints.load(folder, colour=1)


def test_a_classifier_with_other_classes_is_another_shape(make_model, tmp_path):
    checkpoints.save_folder(tmp_path, make_model("BertClassifier"))
    message = r"classifier/bias \[3\] instead of \[4\].*for a new head fill the encoder alone, by .*load_enc"
    with pytest.raises(InputError, match=message):
        checkpoints.load(tmp_path, num_classes=4, new_heads="init")
    spec = json.loads((tmp_path / "kbert.json").read_text())
    spec["config"]["hidden_dim"] = 4
    (tmp_path / "kbert.json").write_text(json.dumps(spec))
    with pytest.raises(InputError, match=r"pooler/dense/bias .* \(\S+kbert.json describes another model"):
        checkpoints.load(tmp_path, num_classes=4)


@pytest.mark.parametrize("form", [google, huggingface, checkpoints.folder])
def test_the_first_layers_of_a_larger_checkpoint(make_model, tmp_path, form, caplog):
    source = make_model("BertPretrainer", activation="gelu_tanh", num_layers=4)
    write = checkpoints.save_folder if form is checkpoints.folder else form.write
    write(tmp_path, source)
    with caplog.at_level(logging.INFO, logger="absl"):
        model = checkpoints.load(tmp_path, num_hidden_layers_used=3)
    assert caplog.text.count("left alone: ") == 1
    assert model.config == source.config.replace(num_layers=3) and len(model.bert.blocks) == 3
    kept = [w for w in source.weights if "layer_3" not in w.path]
    for one, other in zip(model.weights, kept, strict=True):
        assert one.path == other.path
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    encoder = make_model("Bert", activation="gelu_tanh", num_layers=3, seed=1)
    with pytest.raises(InputError, match="num_layers 4, not 3"):
        checkpoints.load_encoder_into(encoder, tmp_path)
    checkpoints.load_encoder_into(encoder, tmp_path, num_hidden_layers_used=3)
    np.testing.assert_array_equal(
        np.asarray(encoder.blocks[2].attention.qkv.kernel),
        np.asarray(source.bert.blocks[2].attention.qkv.kernel),
    )
    with pytest.raises(InputError, match="num_hidden_layers_used=5, but it has 4 layers"):
        checkpoints.load(tmp_path, num_hidden_layers_used=5)


def test_layers_beyond_those_used_must_fit_all_the_same(make_model, tmp_path, edit_json):
    """Those beyond are left alone because they are known, not because anything goes."""
    huggingface.write(tmp_path, make_model("Bert", num_layers=3))
    edit_json(tmp_path / "config.json", num_hidden_layers=2)
    with pytest.raises(InputError, match="left over: bert.encoder.layer.2."):
        checkpoints.load(tmp_path, num_hidden_layers_used=1)


def test_no_random_number_is_drawn_for_what_a_checkpoint_fills(folder, monkeypatch):
    import keras

    drawn = []
    draw = keras.initializers.TruncatedNormal.__call__

    def counted(self, shape, dtype=None):
        drawn.append(tuple(shape))
        return draw(self, shape, dtype)

    monkeypatch.setattr(keras.initializers.TruncatedNormal, "__call__", counted)
    checkpoints.load(folder)
    assert sorted(drawn) == [(8, 2), (8, 8)]  # nsp and mlm: heads, which are small


def test_a_vocabulary_of_the_other_case_is_warned_of(make_model, tmp_path, caplog):
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("".join(f"Word{number}\n" for number in range(120)))
    checkpoints.save_folder(tmp_path / "m", make_model("Bert", vocab_size=120), {"lowercase": True}, vocab)
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoints.load(tmp_path / "m")
    assert caplog.text.count("many entries that lower-casing would change, but lowercase=True") == 1


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
    with pytest.raises(InputError, match="neither kbert.json nor config.json"):
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
