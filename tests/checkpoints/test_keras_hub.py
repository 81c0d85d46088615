"""Keras Hub's presets: its own code writes what kbert reads, and reads what kbert writes."""

import json
import logging

import h5py
import keras
import numpy as np
import pytest

from kbert import InputError, checkpoints
from kbert.checkpoints import keras_hub, read_tokens
from kbert.text import Vocab, WordPieceTokenizer

TOKENS = [*"[PAD] [UNK] [CLS] [SEP] [MASK] cafe café bar ##s , 好 The the a b c d e f g".split()]
INPUTS = {
    "token_ids": np.array([[2, 5, 6, 3, 0, 0], [2, 7, 8, 9, 10, 3]], "int32"),
    "segment_ids": np.array([[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0]], "int32"),
    # Padding, and a hole.
    "padding_mask": np.array([[1, 1, 1, 1, 0, 0], [1, 1, 0, 1, 1, 1]], "int32"),
}
MASKED = {**INPUTS, "mask_positions": np.array([[1, 2], [3, 4]], "int32")}
CLOSE = {"rtol": 0, "atol": 1e-5}

#: kbert's class -> Keras Hub's class without "Bert", arguments of it, and of kbert's, and its output.
KINDS = {
    "Bert": ("Backbone", {}, {}, "sequence_output"),
    "BertMaskedLM": (
        "MaskedLM",
        {},
        {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-5, "pooler": True},
        "mlm_logits",
    ),
    "BertClassifier": (
        "TextClassifier",
        {"num_classes": 3},
        {"num_classes": 3, "kind": "single"},
        "logits",
    ),
    "BertEmbedder": (
        "TextEmbedder",
        {"pooling_mode": "cls", "normalize": False},
        {"pooling": "first", "normalize": False},
        "embedding",
    ),
}


@pytest.fixture(scope="module")
def hub():
    package = pytest.importorskip("keras_hub")
    if not hasattr(package.models, "BertTextEmbedder"):
        pytest.skip(
            "Keras Hub 0.25, the last one for Python 3.10, has no embedders, and loads no heads alone"
        )
    return package


@pytest.fixture(scope="module")
def presets(hub, tmp_path_factory):
    """kbert's class -> folder that Keras Hub wrote, and its model; one encoder is in all of them."""
    sizes = {
        "vocabulary_size": 20,
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 8,
        "intermediate_dim": 12,
        "max_sequence_length": 10,
    }
    models = {"Bert": hub.models.BertBackbone(**sizes)}
    for name, (task, arguments, _, _) in list(KINDS.items())[1:]:
        models[name] = getattr(hub.models, f"Bert{task}")(models["Bert"], **arguments)
    folders = {name: tmp_path_factory.mktemp(name) for name in models}
    for model in models.values():
        shuffle(model)
    for name, model in models.items():
        model.save_to_preset(str(folders[name]))
    return {name: (folders[name], model) for name, model in models.items()}


def shuffle(model, seed=0):
    generator = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(generator.normal(size=weight.shape, scale=0.4))


def outputs_of(model):
    """Of a model of Keras Hub, by kbert's names."""
    outputs = model(MASKED if "mask_positions" in model.input else INPUTS)
    if isinstance(outputs, dict):
        return outputs
    task = type(model).__name__.removeprefix("Bert")
    return {name: outputs for kind, _, _, name in KINDS.values() if kind == task}


def arrays_in(folder):
    """All arrays of a preset."""
    arrays = {}
    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            names = []
            file.visit(names.append)
            datasets = {f"{path.name}/{name}": file[name] for name in names}
            arrays |= {name: item[()] for name, item in datasets.items() if isinstance(item, h5py.Dataset)}
    return arrays


@pytest.mark.parametrize("name", KINDS)
def test_a_preset_gives_keras_hub_s_numbers(presets, name):
    folder, theirs = presets[name]
    model = checkpoints.load(folder)
    assert type(model).__name__ == name
    assert model.head_config() == KINDS[name][2] if name != "Bert" else model.pooler is not None
    outputs = model(MASKED)
    for output, expected in outputs_of(theirs).items():
        np.testing.assert_allclose(outputs[output], expected, **CLOSE, err_msg=output)


def test_the_masked_token_head_computes_otherwise_than_the_encoder(presets, make_model):
    model = checkpoints.load(presets["BertMaskedLM"][0])
    assert (model.config.activation, model.config.layer_norm_epsilon) == ("gelu_tanh", 1e-12)
    one_arithmetic = make_model("BertMaskedLM", head={"pooler": True}, activation="gelu_tanh")
    for weight, value in zip(one_arithmetic.weights, model.weights, strict=True):
        weight.assign(value)
    difference = model(MASKED)["mlm_logits"] - one_arithmetic(MASKED)["mlm_logits"]
    assert np.abs(difference).max() > 1e-4


@pytest.mark.slow_after_first
@pytest.mark.parametrize("name", KINDS)
def test_keras_hub_loads_what_is_written(hub, make_model, tmp_path, assert_same_weights, name):
    model = make_model(name, head=KINDS[name][2], activation="gelu_tanh", attention_dropout=0.1)
    shuffle(model)
    keras_hub.write(tmp_path, model)
    options = {} if name == "Bert" else {"preprocessor": None}
    theirs = getattr(hub.models, KINDS[name][0]).from_preset(str(tmp_path), **options)
    outputs = model(MASKED)
    for output, array in outputs_of(theirs).items():
        if output in outputs:  # A kbert model without pooler gives no pooled output.
            np.testing.assert_allclose(array, outputs[output], **CLOSE, err_msg=output)
    loaded = checkpoints.load(tmp_path)
    assert_same_weights(loaded, model)
    assert loaded.get_config() == model.get_config()


@pytest.mark.parametrize("name", KINDS)
def test_a_round_trip_keeps_every_byte(presets, tmp_path, name):
    folder, _ = presets[name]
    checkpoints.convert(folder, tmp_path / "ours", "kbert")
    checkpoints.convert(tmp_path / "ours", tmp_path / "again", "keras_hub")
    before, after = arrays_in(folder), arrays_in(tmp_path / "again")
    assert set(before) == set(after)
    for path, array in before.items():
        # An embedder has no pooler.
        if name == "BertEmbedder" and path.startswith("model.weights.h5/layers/dense/"):
            assert not after[path].any()
        else:
            assert after[path].tobytes() == array.tobytes(), path


@pytest.mark.parametrize("kind, activation", [("multi", "sigmoid"), ("regression", "linear")])
def test_other_kinds_of_classifiers(hub, make_model, tmp_path, kind, activation):
    count = 1 if kind == "regression" else 3
    model = make_model("BertClassifier", head={"num_classes": count, "kind": kind}, activation="gelu_tanh")
    shuffle(model)
    keras_hub.write(tmp_path, model)
    theirs = hub.models.BertTextClassifier.from_preset(str(tmp_path), preprocessor=None)
    expected = keras.activations.get(activation)(model(INPUTS)["logits"])
    np.testing.assert_allclose(theirs(INPUTS), expected, **CLOSE)
    assert checkpoints.load(tmp_path).kind == kind


def test_what_keras_hub_cannot_say_is_kept_beside_it_and_warned_of(hub, make_model, tmp_path, caplog):
    fields = {"activation": "gelu", "layer_norm_epsilon": 1e-5, "attention_dropout": 0.3}
    model = make_model("BertMaskedLM", head={"head_activation": "relu"}, **fields)
    with caplog.at_level(logging.WARNING, logger="absl"):
        keras_hub.write(tmp_path, model)
    assert "config.json: kbert reads {'attention_dropout': 0.3, 'activation': 'gelu'" in caplog.text
    assert "task.json: kbert reads {'head_activation': 'relu'} back" in caplog.text
    loaded = checkpoints.load(tmp_path)
    assert loaded.config == model.config
    np.testing.assert_array_equal(loaded(MASKED)["mlm_logits"], model(MASKED)["mlm_logits"])
    assert hub.models.MaskedLM.from_preset(str(tmp_path), preprocessor=None).backbone.num_layers == 2


def test_a_pretrainer_leaves_its_next_sentence_head_behind(make_model, tmp_path, caplog):
    model = make_model("BertPretrainer", activation="gelu_tanh")
    with caplog.at_level(logging.WARNING, logger="absl"):
        keras_hub.write(tmp_path, model)
    assert "no next-sentence head; nsp/kernel, nsp/bias left out" in caplog.text
    loaded = checkpoints.load(tmp_path)
    assert type(loaded).__name__ == "BertMaskedLM"
    np.testing.assert_array_equal(loaded(MASKED)["mlm_logits"], model(MASKED)["mlm_logits"])
    pooler = arrays_in(tmp_path)["model.weights.h5/layers/dense/vars/0"]
    np.testing.assert_array_equal(pooler, model.bert.pooler.dense.kernel)


@pytest.mark.parametrize("name", ["BertMaskedLM", "BertEmbedder"])
def test_a_pooler_that_is_not_there_is_none_when_read_back(make_model, tmp_path, caplog, name):
    model = make_model(name, activation="gelu_tanh")
    with caplog.at_level(logging.WARNING, logger="absl"):
        keras_hub.write(tmp_path, model)
    assert "the model has no pooler; Keras Hub's, all zeros," in caplog.text
    assert not arrays_in(tmp_path)["model.weights.h5/layers/dense/vars/0"].any()
    assert checkpoints.load(tmp_path).bert.pooler is None
    caplog.clear()
    classifier = make_model("BertClassifier", activation="gelu_tanh")
    before = np.array(classifier.bert.pooler.dense.kernel)
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoints.load_encoder_into(classifier, tmp_path)
    assert "has no bert/pooler; newly initialised" in caplog.text
    np.testing.assert_array_equal(classifier.bert.pooler.dense.kernel, before)


def test_a_head_that_keras_hub_lacks_is_refused(make_model, tmp_path):
    with pytest.raises(InputError, match="Keras Hub has no place for tagger"):
        keras_hub.write(tmp_path, make_model("BertTagger"))


def test_the_encoder_may_lie_beside_the_head_once_more(make_model, tmp_path, assert_same_weights):
    """As Keras Hub 0.25 writes it with Keras 3.12."""
    model = make_model("BertClassifier", activation="gelu_tanh")
    keras_hub.write(tmp_path, model)
    with (
        h5py.File(tmp_path / "model.weights.h5") as encoder,
        h5py.File(tmp_path / "task.weights.h5", "a") as task,
    ):
        encoder.copy("/", task, "layers/bert_backbone")
        task["layers/bert_backbone/layers/dense/vars/1"][...] = 7.0
    assert_same_weights(checkpoints.load(tmp_path), model)


@pytest.mark.parametrize("lowercase", [True, False])
def test_the_tokenizer_travels(hub, make_model, tmp_path, lowercase):
    vocab = Vocab(TOKENS)
    vocab.write(tmp_path / "words.txt")
    task = {"name": "classification", "labels": ["x", "y", "z"], "lowercase": lowercase}
    model = make_model("BertClassifier", activation="gelu_tanh")
    checkpoints.save_folder(tmp_path / "ours", model, task, tmp_path / "words.txt")
    checkpoints.convert(tmp_path / "ours", tmp_path / "preset", "keras_hub")
    assert checkpoints.read_lowercase(tmp_path / "preset") is lowercase
    assert read_tokens(tmp_path / "preset") == TOKENS

    text = "The Café, bars好the café"
    ids = WordPieceTokenizer(vocab, lowercase).tokenize([text]).to_list()[0]
    assert (TOKENS.index("The") in ids) is not lowercase
    theirs = hub.models.TextClassifier.from_preset(str(tmp_path / "preset"))
    assert np.asarray(theirs.preprocessor.tokenizer(text)).tolist() == ids
    # The task takes raw texts, and the tokens' places come from the same vocabulary.
    features, start, end = theirs.preprocessor(text), [TOKENS.index("[CLS]")], [TOKENS.index("[SEP]")]
    assert np.asarray(features["token_ids"]).tolist()[: len(ids) + 2] == start + ids[:8] + end
    assert len(features["token_ids"]) == model.config.max_length


def test_a_preset_of_keras_hub_says_its_case(hub, written):
    assert checkpoints.read_lowercase(written) is None
    hub.models.BertTokenizer(vocabulary=TOKENS, lowercase=True).save_to_preset(str(written))
    assert checkpoints.read_lowercase(written) is True
    assert read_tokens(written) == TOKENS


def test_bfloat16_is_read(hub, tmp_path):
    theirs = hub.models.BertBackbone(20, 1, 2, 8, 12, max_sequence_length=10, dtype="bfloat16")
    theirs.save_to_preset(str(tmp_path))
    expected = np.asarray(theirs.pooled_dense.kernel, "float32")
    np.testing.assert_array_equal(checkpoints.load(tmp_path).pooler.dense.kernel, expected)


@pytest.fixture
def written(make_model, tmp_path):
    """A classifier in Keras Hub's form."""
    keras_hub.write(tmp_path, make_model("BertClassifier", activation="gelu_tanh"))
    return tmp_path


def edit(file, change):
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def test_presets_of_keras_nlp_are_read(written):
    edit(written / "config.json", lambda values: values.update(registered_name="keras_nlp>BertBackbone"))
    edit(written / "task.json", lambda values: values.update(registered_name="keras_nlp>BertClassifier"))
    assert type(checkpoints.load(written)).__name__ == "BertClassifier"


def test_an_unknown_task_is_named_and_its_encoder_can_be_had(written, make_model):
    edit(written / "task.json", lambda values: values.update(registered_name="mine>BertPoet"))
    with pytest.raises(InputError, match="names the model 'BertPoet'"):
        checkpoints.load(written)
    checkpoints.load_encoder_into(make_model("BertTagger", activation="gelu_tanh"), written)


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("config.json", {"registered_name": "keras_hub>RobertaBackbone"}, "describes a RobertaBackbone"),
        ("config.json", {"config": None}, "has no config"),
        ("config.json", {"config": {"hidden_dim": 8}}, "has no .*vocabulary_size"),
        ("config.json", {"kbert": {"colour": "red"}}, "unknown keys colour"),
        ("task.json", {"config": {"num_classes": 3, "colour": "red"}}, "unknown keys colour"),
        ("task.json", {"config": {"num_classes": 3, "activation": "elu"}}, "activation='elu' is not supp"),
        ("task.json", {"config": {"num_classes": 4}}, "does not fit BertClassifier; .*vars/0 .8, 3. instead"),
    ],
)
def test_what_kbert_has_not_is_refused_by_name(written, file, change, message):
    edit(written / file, lambda values: values.update(change))
    with pytest.raises(InputError, match=message):
        checkpoints.load(written)


def test_an_argument_of_a_newer_keras_hub_is_refused(written):
    edit(written / "config.json", lambda values: values["config"].update(rope=True))
    with pytest.raises(InputError, match="config.json: unknown keys rope; expected some of vocabulary_size"):
        checkpoints.load(written)


def test_another_dropout_of_the_head_is_warned_of(written, caplog):
    edit(written / "task.json", lambda values: values["config"].update(dropout=0.5))
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoints.load(written)
    assert "task.json: drops 0.5 of the pooled output" in caplog.text


def test_one_error_lists_all_that_does_not_fit(written):
    block = "layers/transformer_encoder/_self_attention_layer"
    with h5py.File(written / "model.weights.h5", "r+") as file:
        del file[f"{block}/key_dense/vars/1"]
        del file[f"{block}/query_dense/vars/0"]
        file[f"{block}/query_dense/vars/0"] = np.zeros((8, 4, 2), "float32")
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = np.zeros((8, 8), "int8")
        file["layers/colour/vars/0"] = np.zeros(3, "float32")
    with pytest.raises(InputError) as caught:
        checkpoints.load(written)
    message = str(caught.value)
    number = block.replace("encoder", "encoder_0")
    assert f"missing: model.weights.h5/{number}/key_dense/vars/1" in message
    assert f"model.weights.h5/{number}/query_dense/vars/0 [8, 4, 2] instead of [8, 8]" in message
    assert "model.weights.h5/layers/dense/vars/0 int8" in message
    assert "left over: model.weights.h5/layers/colour/vars/0" in message


def test_damaged_and_missing_files_are_named(written):
    weights = written / "model.weights.h5"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no HDF5", b""):
        weights.write_bytes(damaged)
        with pytest.raises(InputError, match="model.weights.h5: is damaged or no HDF5 file"):
            checkpoints.load(written)
    weights.unlink()
    with pytest.raises(InputError, match="model.weights.h5: there is no such file"):
        checkpoints.load(written)


def test_a_task_without_its_weights_can_start_anew(written):
    (written / "task.weights.h5").unlink()
    with pytest.raises(InputError, match="no weights at all for: classifier"):
        checkpoints.load(written)
    assert checkpoints.load(written, new_heads="init").num_classes == 3


@pytest.mark.parametrize("kind", ["link", "external", "virtual"])
def test_arrays_that_lie_in_other_files_are_refused(written, kind):
    name = "layers/dense/vars/0"
    (written / "secret").write_bytes(bytes(8 * 8 * 4))
    with h5py.File(written / "elsewhere.h5", "w") as other:
        other["array"] = np.zeros((8, 8), "float32")
    with h5py.File(written / "model.weights.h5", "r+") as file:
        del file[name]
        if kind == "link":
            file[name] = h5py.ExternalLink("elsewhere.h5", "array")
        elif kind == "external":
            file.create_dataset(name, (8, 8), "float32", external=[(str(written / "secret"), 0, 256)])
        else:
            layout = h5py.VirtualLayout((8, 8), "float32")
            layout[:] = h5py.VirtualSource(str(written / "elsewhere.h5"), "array", (8, 8))
            file.create_virtual_dataset(name, layout)
    message = "missing: model.weights.h5/layers/dense" if kind == "link" else "vars/0 lies in another file"
    with pytest.raises(InputError, match=message):
        checkpoints.load(written)


@pytest.mark.golden
def test_the_golden_encoder_in_keras_hub(hub, shared, tmp_path):
    """Google's own numbers for its checkpoint, out of Keras Hub's code."""
    source = shared / "golden" / "encoder" / "a_gelu"
    checkpoints.convert(source / "tf1", tmp_path / "preset", "keras_hub")
    golden, google = np.load(source / "golden.npz"), np.load(source / "golden_google.npz")
    inputs = {
        "token_ids": golden["input_ids"].astype("int32"),
        "segment_ids": golden["token_type_ids"].astype("int32"),
        "padding_mask": golden["attention_mask"].astype("int32"),
    }
    outputs = hub.models.Backbone.from_preset(str(tmp_path / "preset"))(inputs)
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_allclose(outputs[name], google[f"google_{name}"], **CLOSE, err_msg=name)
    ours = checkpoints.load(tmp_path / "preset")({**inputs})
    np.testing.assert_allclose(ours["mlm_logits"], golden["tanh_mlm_logits"], rtol=0, atol=5e-5)
