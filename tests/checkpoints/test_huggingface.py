import json
import logging

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from kbert import BertConfig, InputError, checkpoints, models
from kbert.checkpoints import huggingface


@pytest.fixture
def written(make_model, tmp_path):
    """(class name, arguments of the head) -> (model, folder in Hugging Face's form)."""

    def write(name="BertPretrainer", head=None, labels=None):
        model = make_model(name, head)
        huggingface.write(tmp_path, model, labels)
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


def test_a_tied_tensor_may_be_stored_under_its_second_name(written, edit_tensors, assert_same_weights):
    model, folder = written()
    second = {"cls.predictions.bias": "cls.predictions.decoder.bias"}
    edit_tensors(folder / "model.safetensors", rename(lambda name: second.get(name, name)))
    assert_same_weights(checkpoints.load(folder), model)


def test_an_output_matrix_that_is_not_the_embedding_table_is_refused(written, edit_tensors):
    _, folder = written()

    def untie(arrays):
        table = arrays["bert.embeddings.word_embeddings.weight"]
        arrays["cls.predictions.decoder.weight"] = table + np.float32(1)

    edit_tensors(folder / "model.safetensors", untie)
    # The class that is named is another than the checkpoint's, but has this head.
    for model in (None, models.BertMaskedLM):
        with pytest.raises(InputError, match="left over: cls.predictions.decoder.weight"):
            checkpoints.load(folder, model)
    checkpoints.load(folder, models.Bert)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_half_precision_is_read_as_float32(written, edit_tensors, dtype):
    model, folder = written()
    edit_tensors(folder / "model.safetensors", lambda arrays: {k: v.astype(dtype) for k, v in arrays.items()})
    for weight, original in zip(checkpoints.load(folder).weights, model.weights, strict=True):
        rounded = np.asarray(original).astype(dtype).astype("float32")
        assert weight.dtype == "float32"
        np.testing.assert_array_equal(np.asarray(weight), rounded)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_a_bare_encoder_without_pooler_has_none_here(written, edit_tensors, assert_same_weights, prefix):
    model, folder = written("Bert", {"pooler": False})
    edit_tensors(folder / "model.safetensors", rename((prefix + "{}").format))
    loaded = checkpoints.load(folder)
    assert loaded.pooler is None
    assert_same_weights(loaded, model)


@pytest.mark.parametrize("name", ["bert.pooler.dense.bias", "cls.seq_relationship.weight"])
def test_half_a_part_or_a_part_that_a_head_needs_is_no_missing_pooler(written, edit_tensors, name):
    _, folder = written()
    edit_tensors(
        folder / "model.safetensors", lambda arrays: {key: arrays[key] for key in arrays if key != name}
    )
    with pytest.raises(InputError, match=f"missing: {name}"):
        checkpoints.load(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_pickled_weights_are_refused_with_the_remedy(written, name):
    _, folder = written()
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(InputError, match=f"{name}: is pickled.*safe_serialization"):
        checkpoints.load(folder)


def test_a_truncated_file_is_refused(written):
    _, folder = written()
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="model.safetensors: is damaged"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("gelu", "gelu"),
        ("gelu_python", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_fast", "gelu_tanh"),
        ("gelu_accurate", "gelu_tanh"),
        ("gelu_python_tanh", "gelu_tanh"),
        ("relu", "relu"),
        ("silu", "silu"),
    ],
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


@pytest.mark.slow_after_first
@pytest.mark.parametrize("name", huggingface._CLASSES)
def test_each_class_is_written_and_read(written, assert_same_weights, name):
    model, folder = written(name)
    loaded = checkpoints.load(folder)
    if name == "BertEmbedder":  # which is a bare encoder there
        assert type(loaded).__name__ == "Bert"
        loaded = checkpoints.load(folder, type(model), **model.head_config())
    assert_same_weights(loaded, model)


@pytest.mark.parametrize("named", [None, "BertForMaskedLM", "BertModel", "BertForPreTraining"])
def test_the_tensors_tell_the_heads_where_the_name_does_not(written, edit_json, assert_same_weights, named):
    model, folder = written("BertPretrainer")
    edit_json(folder / "config.json", architectures=named and [named])
    assert_same_weights(checkpoints.load(folder), model)


@pytest.mark.parametrize("name", ["BertClassifier", "BertTagger", "BertMaskedLM", "BertSpanFinder"])
def test_a_config_without_a_class_name_is_understood(written, edit_json, assert_same_weights, name):
    model, folder = written(name)
    edit_json(folder / "config.json", architectures=None)
    assert_same_weights(checkpoints.load(folder), model)


def add_pooler(arrays):
    arrays["bert.pooler.dense.weight"] = np.ones((8, 8), "float32")
    arrays["bert.pooler.dense.bias"] = np.ones(8, "float32")
    arrays["bert.embeddings.position_ids"] = np.arange(10)[None]


def test_a_pooler_where_a_head_has_none_is_left_alone_and_said(
    written, edit_tensors, caplog, assert_same_weights
):
    model, folder = written("BertTagger")
    edit_tensors(folder / "model.safetensors", add_pooler)
    with caplog.at_level(logging.INFO, logger="absl"):
        assert_same_weights(checkpoints.load(folder), model)
    assert [record.message.partition("left alone: ")[2] for record in caplog.records] == [
        "1 of *embeddings.position_ids; bert.pooler.dense.bias, bert.pooler.dense.weight"
    ]


def test_the_pooler_of_a_masked_language_model_is_kept(written, edit_tensors, tmp_path):
    """Versions of transformers before 4 saved one, which a classifier can start from."""
    _, folder = written("BertMaskedLM")
    edit_tensors(folder / "model.safetensors", add_pooler)
    for form in ("google", "kbert", "huggingface"):
        checkpoints.convert(folder, tmp_path / form, form)
        folder = tmp_path / form
        model = checkpoints.load(folder)
        assert type(model).__name__ == "BertMaskedLM"
        np.testing.assert_array_equal(model.bert.pooler.dense.kernel, np.ones((8, 8)))
        pretrainer = checkpoints.load(folder, models.BertPretrainer, new_heads="init")
        np.testing.assert_array_equal(pretrainer.bert.pooler.dense.kernel, np.ones((8, 8)))


def test_a_pooler_that_a_conversion_leaves_out_is_warned_of(written, edit_tensors, tmp_path, caplog):
    _, folder = written("BertTagger")
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoints.convert(folder, tmp_path / "a", "kbert")
        assert "leaves behind" not in caplog.text
        edit_tensors(folder / "model.safetensors", add_pooler)
        checkpoints.convert(folder, tmp_path / "b", "kbert")
    assert f"{tmp_path / 'b'}: leaves behind the pooler, which a BertTagger has not" in caplog.text


@pytest.mark.parametrize(("kind", "count"), [("single", 3), ("multi", 1), ("multi", 3), ("regression", 1)])
def test_the_kind_of_a_classifier_is_kept(written, kind, count):
    _, folder = written("BertClassifier", {"num_classes": count, "kind": kind})
    loaded = checkpoints.load(folder)
    assert (loaded.num_classes, loaded.kind) == (count, kind)


@pytest.mark.parametrize(("count", "kind"), [(1, "regression"), (2, "single")])
def test_without_a_problem_type_the_number_of_outputs_tells_the_kind(written, edit_json, count, kind):
    _, folder = written("BertClassifier", {"num_classes": count, "kind": "multi"})
    edit_json(folder / "config.json", problem_type=None)
    assert checkpoints.load(folder).kind == kind


def test_an_unknown_problem_type_is_refused(written, edit_json):
    _, folder = written("BertClassifier")
    edit_json(folder / "config.json", problem_type="ranking")
    with pytest.raises(InputError, match="problem_type='ranking' is not supported"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("sbert_ce_default_activation_function", "torch.nn.modules.linear.Identity", None),
        ("sbert_ce_default_activation_function", "torch.nn.modules.activation.Sigmoid", "Sigmoid"),
        ("sentence_transformers", {"version": "5.0.0"}, None),
        ("sentence_transformers", {"activation_fn": "torch.nn.modules.linear.Identity"}, None),
        ("sentence_transformers", {"activation_fn": "torch.nn.modules.activation.Sigmoid"}, "Sigmoid"),
    ],
)
def test_cross_encoders_are_read(written, edit_json, caplog, assert_same_weights, key, value, named):
    model, folder = written("BertClassifier", {"num_classes": 1, "kind": "regression"})
    edit_json(folder / "config.json", problem_type=None, **{key: value})
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert_same_weights(checkpoints.load(folder), model)
        assert checkpoints.read_task(folder)["name"] == "regression"
    said = [record.message for record in caplog.records]
    assert len(said) == (named is not None)
    if named:
        assert f"activation.{named} of the logits; kbert gives the logits themselves" in said[0]


def test_labels_become_a_task(written):
    labels = [f"l{number}" for number in range(11)]  # in the order of numbers, not of their digits
    _, folder = written("BertClassifier", {"num_classes": 11}, labels)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 8}')
    assert checkpoints.read_task(folder) == {
        "name": "classification",
        "labels": labels,
        "pair": False,
        "max_length": 8,
        "lowercase": False,
    }


def test_tags_become_a_task(written):
    _, folder = written("BertTagger", None, ["O", "B-X", "I-X", "B-Y", "I-Y"])
    task = checkpoints.read_task(folder)
    assert (task["name"], task["tags"]) == ("tagging", ["O", "B-X", "I-X", "B-Y", "I-Y"])
    assert (task["max_length"], task["lowercase"]) == (10, True)


@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json"])
def test_the_vocabulary_tells_the_case_where_no_file_says_it(written, file):
    _, folder = written("BertTagger")
    tokens = [f"Word{number}" for number in range(120)]
    ids = {token: number for number, token in enumerate(tokens)}
    fast = {"normalizer": None, "model": {"type": "WordPiece", "vocab": ids}}
    (folder / file).write_text("\n".join(tokens) if file == "vocab.txt" else json.dumps(fast))
    assert checkpoints.read_task(folder)["lowercase"] is False


def test_classes_without_names_are_called_as_transformers_calls_them(written, edit_json):
    _, folder = written("BertClassifier")
    edit_json(folder / "config.json", id2label=None)
    assert checkpoints.read_task(folder)["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize("labels", [{"0": "a", "1": "b"}, {"0": "a", "1": "b", "3": "c"}, ["a", "b", "c"]])
def test_labels_that_do_not_fit_the_weights_are_refused(written, edit_json, labels):
    _, folder = written("BertClassifier")
    edit_json(folder / "config.json", id2label=labels)
    with pytest.raises(InputError, match="id2label=.* does not name the 3 classes"):
        checkpoints.load(folder)


@pytest.mark.parametrize("name", ["BertForColouring", "BertForNextSentencePrediction", "BertLMHeadModel"])
def test_classes_that_kbert_has_not_are_refused_but_lend_their_encoder(written, edit_json, make_model, name):
    model, folder = written("BertClassifier")
    edit_json(folder / "config.json", architectures=[name])
    with pytest.raises(InputError, match=f"'{name}'"):
        checkpoints.load(folder)
    other = make_model("BertPretrainer", seed=1)
    checkpoints.load_encoder_into(other, folder)
    np.testing.assert_array_equal(
        np.asarray(other.bert.pooler.dense.kernel), np.asarray(model.bert.pooler.dense.kernel)
    )


def test_a_head_that_computes_otherwise_than_the_encoder_has_no_place(make_model, tmp_path):
    model = make_model("BertMaskedLM", {"head_layer_norm_epsilon": 1e-5})
    with pytest.raises(InputError, match="Hugging Face's form has one config for both"):
        huggingface.write(tmp_path, model)


# --- shards ---------------------------------------------------------------------------------------


@pytest.fixture
def sharded(written):
    """-> (model, folder whose tensors are in two files), with the index as a function changes it."""

    def write(change=lambda index: None):
        model, folder = written()
        whole = folder / "model.safetensors"
        arrays = safetensors.numpy.load_file(whole)
        whole.unlink()
        names = sorted(arrays)
        places = {name: f"model-0000{1 + (name > names[9])}-of-00002.safetensors" for name in names}
        for file in set(places.values()):
            part = {name: arrays[name] for name in names if places[name] == file}
            safetensors.numpy.save_file(part, folder / file)
        index = {"metadata": {"total_size": 1}, "weight_map": places}
        change(index)
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return model, folder

    return write


def test_shards_are_read_as_one(sharded, assert_same_weights):
    model, folder = sharded()
    assert_same_weights(checkpoints.load(folder), model)


def test_a_missing_shard_is_named(sharded):
    _, folder = sharded()
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="index.json: model-00002-of-00002.safetensors is missing beside it"):
        checkpoints.load(folder)


def test_a_truncated_shard_is_named(sharded):
    _, folder = sharded()
    file = folder / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(InputError, match="model-00002-of-00002.safetensors: is damaged"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    "place", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "a\\b"]
)
def test_an_index_that_names_a_file_outside_its_folder_is_refused(sharded, place):
    def stray(index):
        index["weight_map"]["cls.predictions.bias"] = place

    _, folder = sharded(stray)
    # It exists and would be read, if only the path were followed.
    safetensors.numpy.save_file(
        {"cls.predictions.bias": np.zeros(20, "float32")}, folder.parent / "secret.safetensors"
    )
    with pytest.raises(InputError, match="index.json: names the files .*; expected names of files beside it"):
        checkpoints.load(folder)


@pytest.mark.parametrize("weight_map", [None, [], {"cls.predictions.bias": 1}])
def test_an_index_that_is_none_is_refused(sharded, weight_map):
    _, folder = sharded(lambda index: index.update(weight_map=weight_map))
    with pytest.raises(InputError, match="index.json: has no weight_map"):
        checkpoints.load(folder)


def test_an_index_that_disagrees_with_its_files_is_refused(sharded):
    def disagree(index):
        del index["weight_map"]["bert.pooler.dense.bias"]
        index["weight_map"]["colour"] = "model-00001-of-00002.safetensors"

    _, folder = sharded(disagree)
    with pytest.raises(InputError, match="index.json: bert.pooler.dense.bias, colour not in the file that"):
        checkpoints.load(folder)
