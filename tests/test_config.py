import dataclasses
import json
import re

import pytest

from kbert import BertConfig, InputError

# google-research/bert, README, "Smaller BERT Models": L/H with A = H/64 and a feed-forward width of 4·H.
PUBLISHED = {
    "tiny": (2, 128, 2, 512),
    "mini": (4, 256, 4, 1024),
    "small": (4, 512, 8, 2048),
    "medium": (8, 512, 8, 2048),
    "base": (12, 768, 12, 3072),
    "large": (24, 1024, 16, 4096),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_presets_are_the_published_sizes(size):
    config = BertConfig.preset(size)
    sizes = (config.num_layers, config.hidden_dim, config.num_heads, config.intermediate_dim)
    assert sizes == PUBLISHED[size]
    assert (config.vocab_size, config.max_length, config.num_segments) == (30522, 512, 2)


def test_defaults_are_bert_base():
    assert BertConfig() == BertConfig.preset("base")


def test_preset_takes_overrides():
    config = BertConfig.preset("tiny", vocab_size=21128, num_heads=4, dropout=0.0)
    assert (config.vocab_size, config.num_heads, config.dropout, config.hidden_dim) == (21128, 4, 0.0, 128)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"hidden_dim": 100}, r"hidden_dim=100 is not divisible by num_heads=12; choose .*\[1, 2, 4, 5, 10,"),
        ({"num_layers": 0}, "num_layers=0 must be a whole number of at least 1"),
        ({"num_layers": 2.0}, "num_layers=2.0 must be a whole number"),
        ({"num_segments": True}, "num_segments=True must be a whole number"),
        ({"vocab_size": "30522"}, "vocab_size='30522' must be a whole number"),
        ({"dropout": 1.0}, "dropout=1.0 is no probability"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1 must be a number of at least 0"),
        ({"layer_norm_epsilon": "1e-12"}, "layer_norm_epsilon='1e-12' must be a number"),
        ({"activation": "swish"}, "activation='swish' is unknown; expected one of gelu, gelu_tanh"),
        ({"extended_length": 512}, r"extended_length=512; .*more than max_length=512 .*its square, 262144"),
        ({"extended_length": 10, "max_length": 3}, "extended_length=10; .*at most its square, 9"),
        ({"extended_length": 1024.0}, "extended_length=1024.0 must be a whole number"),
        ({"extended_length": False}, "extended_length=False must be a whole number"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        BertConfig(**values)


def test_unknown_size_and_unknown_key_are_refused_by_name():
    with pytest.raises(InputError, match="size 'huge' is unknown; expected one of tiny, mini"):
        BertConfig.preset("huge")
    with pytest.raises(
        InputError, match="my.json: unknown keys hidden_size, layers; expected some of vocab_size"
    ):
        BertConfig.from_dict({"layers": 2, "hidden_size": 128}, source="my.json")
    with pytest.raises(InputError, match="unknown keys depth"):
        BertConfig.preset("tiny", depth=3)


def test_config_cannot_be_changed_only_replaced(tiny_config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_config.dropout = 0.5
    assert tiny_config.replace(dropout=0.5).dropout == 0.5
    assert tiny_config.dropout == 0.1
    with pytest.raises(InputError, match="num_heads=3"):
        tiny_config.replace(num_heads=3)


def test_json_round_trip_keeps_every_field(tmp_path):
    config = BertConfig(101, 30, 3, 5, 70, 40, 4, 0.2, 0.3, "relu", 1e-5, 0.03, 1600)
    path = tmp_path / "config.json"
    config.to_json(path)
    assert BertConfig.from_json(path) == config
    values = json.loads(path.read_text(encoding="utf-8"))
    assert list(values) == [field.name for field in dataclasses.fields(BertConfig)]
    assert len(set(values.values())) == len(values), "two fields with one value would hide a mix-up"


def test_longest_sequence_is_the_extended_one_if_there_is_one():
    assert BertConfig(max_length=40).longest_sequence == 40
    assert BertConfig(max_length=40, extended_length=1600).longest_sequence == 1600


def test_every_field_has_a_line_in_the_docs():
    arguments = BertConfig.__doc__.partition("Args:")[2].partition("Raises:")[0]
    described = re.findall(r"^ {8}(\w+): ", arguments, re.MULTILINE)
    assert described == [field.name for field in dataclasses.fields(BertConfig)]


def test_json_of_before_a_field_was_added_is_still_read(tmp_path):
    values = BertConfig.preset("tiny").to_dict()
    del values["extended_length"]
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    assert BertConfig.from_json(tmp_path / "config.json") == BertConfig.preset("tiny")


@pytest.mark.parametrize(
    "content, message",
    [
        ('{\n"hidden_dim": 8,\n}', r"config.json:3: is no JSON"),
        ("[1, 2]", r"config.json: holds a list; expected one JSON object"),
        ('{"n_layer": 2}', r"config.json: unknown keys n_layer"),
        ('{"hidden_dim": 768, "hidden_size": 768}', r"config.json: unknown keys hidden_size; expected some"),
        ('{"hidden_dim": null}', r"config.json: hidden_dim=None must be a whole number"),
    ],
    ids=["syntax", "list", "key", "foreign", "null"],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        BertConfig.from_json(path)


def test_a_file_of_a_windows_editor_is_read(tmp_path):
    path, config = tmp_path / "config.json", BertConfig.preset("mini")
    path.write_text(json.dumps(config.to_dict()), encoding="utf-8-sig")
    assert BertConfig.from_json(path) == config
    path.write_text(json.dumps(config.to_dict()), encoding="utf-16")
    with pytest.raises(InputError, match=r"config.json: is no UTF-8 text \(.*\); save it as UTF-8"):
        BertConfig.from_json(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent.json: cannot be read \(No such file or directory\)"):
        BertConfig.from_json(tmp_path / "absent.json")
