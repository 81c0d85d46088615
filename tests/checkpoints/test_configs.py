"""One config, told in three ways; what kbert does not do is refused by name."""

import json

import pytest

from kbert import BertConfig, InputError, checkpoints
from kbert.checkpoints import google, huggingface

SIZES = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 10,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}
CONFIG = BertConfig(
    vocab_size=20, hidden_dim=8, num_layers=3, num_heads=2, intermediate_dim=12, max_length=10
)

#: What transformers 4 and 5, and the first PyTorch port, put into the configs of their checkpoints.
OF_TRANSFORMERS = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "layer_norm_eps": 1e-12,
    "transformers_version": "4.57.1",
    "torch_dtype": "float32",
    "position_embedding_type": "absolute",
    "chunk_size_feed_forward": 64,
    "classifier_dropout": None,
    "gradient_checkpointing": False,
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "use_cache": True,
    "embedding_size": 8,
    "id2label": {"0": "a"},
    "label2id": {"a": 0},
    "max_length": 20,
}
#: A whole config of transformers 2, such as that of dslim/bert-base-NER, with all that some of its versions
#: wrote for every model; but for the sizes.
OF_TRANSFORMERS_2 = {
    "_num_labels": 5,
    "architectures": ["BertForTokenClassification"],
    "attention_probs_dropout_prob": 0.1,
    "bad_words_ids": None,
    "bos_token_id": 0,
    "decoder_start_token_id": None,
    "directionality": "bidi",
    "do_sample": False,
    "early_stopping": False,
    "emb_size": 8,
    "eos_token_ids": 0,
    "finetuning_task": "ner",
    "hidden_dropout_prob": 0.1,
    "id2label": {"0": "O", "1": "B-PER", "2": "I-PER", "3": "B-LOC", "4": "I-LOC"},
    "initializer_range": 0.02,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "label2id": {"B-LOC": 3, "B-PER": 1, "I-LOC": 4, "I-PER": 2, "O": 0},
    "layer_norm_eps": 1e-12,
    "length_penalty": 1.0,
    "max_length": 20,
    "min_length": 0,
    "model_type": "bert",
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "num_return_sequences": 1,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_past": True,
    "pad_token_id": 0,
    "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12,
    "pooler_num_fc_layers": 3,
    "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform",
    "prefix": None,
    "pruned_heads": {},
    "repetition_penalty": 1.0,
    "task_specific_params": None,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "torchscript": False,
    "use_bfloat16": False,
    "xla_device": None,
}
OF_GOOGLE = {
    "directionality": "bidi",
    "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12,
    "pooler_num_fc_layers": 3,
    "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform",
}


@pytest.fixture
def file(tmp_path):
    """(name, values) -> a JSON file."""

    def write(name, values):
        (tmp_path / name).write_text(json.dumps(values))
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("name", "values", "activation"),
    [
        ("mine.json", CONFIG.to_dict(), "gelu"),
        ("config.json", CONFIG.to_dict(), "gelu"),
        ("config.json", {**SIZES, **OF_TRANSFORMERS}, "gelu"),
        ("config.json", {**SIZES, **OF_TRANSFORMERS_2}, "gelu"),
        ("other.json", {**SIZES, **OF_TRANSFORMERS}, "gelu"),
        ("config.json", SIZES, "gelu"),
        ("bert_config.json", {**SIZES, **OF_GOOGLE}, "gelu_tanh"),
        ("bert_config_rbt3.json", SIZES, "gelu_tanh"),
    ],
    ids=[
        "own",
        "own, named as theirs",
        "hf",
        "hf of 2020",
        "hf, named otherwise",
        "old hf",
        "google",
        "google, named",
    ],
)
def test_a_file_of_any_kind_is_read(file, name, values, activation):
    assert checkpoints.read_config(file(name, values)) == CONFIG.replace(activation=activation)


def test_a_kbert_folder_s_own_file_is_read(make_model, tmp_path):
    checkpoints.save_folder(tmp_path / "m", make_model("Bert", num_layers=1))
    assert checkpoints.read_config(tmp_path / "m" / "kbert.json").num_layers == 1


@pytest.mark.parametrize("name", ["config.json", "bert_config.json"])
def test_an_unknown_key_is_an_error(file, name):
    path = file(name, {**SIZES, "rotary": True, "alibi": 1})
    with pytest.raises(InputError, match=f"{name}: unknown keys alibi, rotary;"):
        checkpoints.read_config(path)


def test_what_transformers_knows_google_s_form_does_not(file):
    with pytest.raises(InputError, match="unknown keys layer_norm_eps"):
        google.config_in(file("bert_config.json", {**SIZES, "layer_norm_eps": 1e-5}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "tanh"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("is_encoder_decoder", True),
        ("add_cross_attention", True),
        ("cross_attention_hidden_size", 16),
        ("model_type", "roberta"),
        ("embedding_size", 4),
        ("emb_size", 4),
        ("pruned_heads", {"0": [1]}),
        ("quantization_config", {"bits": 8}),
    ],
)
def test_what_kbert_has_not_is_refused_by_name(file, key, value):
    path = file("config.json", {**SIZES, **OF_TRANSFORMERS, key: value})
    with pytest.raises(InputError) as caught:
        checkpoints.read_config(path)
    assert f"config.json: {key}={value!r} is not supported" in str(caught.value)


def test_the_first_layers_of_more(file):
    path = file("config.json", SIZES)
    assert checkpoints.read_config(path, num_hidden_layers_used=2) == CONFIG.replace(num_layers=2)
    for count in (0, 4):
        with pytest.raises(InputError, match=f"num_hidden_layers_used={count}, but it has 3 layers"):
            checkpoints.read_config(path, num_hidden_layers_used=count)


@pytest.mark.parametrize("form", [google, huggingface])
def test_positions_beyond_the_trained_ones_travel(make_model, tmp_path, form):
    model = make_model("Bert", activation="gelu_tanh", extended_length=30)
    form.write(tmp_path, model)
    assert checkpoints.read_config(tmp_path) == model.config
    assert checkpoints.load(tmp_path).config.longest_sequence == 30


@pytest.mark.parametrize("values", [CONFIG.to_dict(), SIZES], ids=["own", "theirs"])
def test_a_file_of_a_windows_editor_is_read(tmp_path, values):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values), encoding="utf-8-sig")
    assert checkpoints.read_config(path) == CONFIG
    path.write_text(json.dumps(values), encoding="utf-16")
    with pytest.raises(InputError, match="config.json: is no UTF-8 text .*; save it as UTF-8"):
        checkpoints.read_config(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"hidden_size": 8}'])
@pytest.mark.parametrize("name", ["config.json", "bert_config.json"])
def test_a_damaged_config_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        checkpoints.read_config(tmp_path / name)
