from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from kbert.errors import InputError
from kbert.serving.model_configs import ModelConfig, model_configs, read_model_configs
from kbert.serving.status import ServingError

TWO = """
model_config_list {
  config { name: "a" base_path: "/models/a" model_platform: "tensorflow" }
  config {
    name: "b" base_path: "/models/b" model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 1 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 3 }
  }
}
"""


def parsed(text):
    return model_configs(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()))


def one(settings):
    return f"model_config_list {{ config {{ {settings} }} }}"


def test_a_file_of_two_models(tmp_path):
    (tmp_path / "models.config").write_text(TWO)
    first, second = read_model_configs(str(tmp_path / "models.config"))
    assert first == ModelConfig("a", Path("/models/a"), latest=1)
    assert (second.specific, second.labels) == ((3, 1), {"stable": 1, "canary": 3})


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", [9]),
        ("latest {}", [9]),
        ("latest { num_versions: 2 }", [9, 3]),
        ("all {}", [9, 3, 1]),
        ("specific { versions: 1 versions: 4 versions: 9 }", [9, 1]),
    ],
)
def test_policies(policy, versions):
    settings = 'name: "a" base_path: "/a" model_platform: "tensorflow"'
    (config,) = parsed(one(f"{settings} model_version_policy {{ {policy} }}"))
    assert config.wanted({3, 9, 1}) == versions
    assert config.wanted({}) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            'name: "a" base_path: "a" model_platform: "tensorflow"',
            "Expected model a to have an absolute path or URI; got base_path()=a",
        ),
        ('name: "a" base_path: "/a"', "Illegal setting neither ModelServerConfig::model_type"),
        ('name: "a" base_path: "/a" model_platform: "onnx"', "Model a requests unsupported platform onnx"),
        (
            'name: "a" base_path: "/a" model_platform: "tensorflow" model_version_policy { specific {} }',
            "the policy 'specific' names no version",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(settings, message):
    with pytest.raises(ServingError) as caught:
        parsed(one(settings))
    assert caught.value.code == "INVALID_ARGUMENT" and message in caught.value.message


def test_a_name_may_stand_once():
    with pytest.raises(ServingError, match="Illegal to list model a multiple times in config list"):
        parsed(TWO.replace('"b"', '"a"'))


def test_files_that_are_no_configuration(tmp_path):
    file = tmp_path / "models.config"
    for content, message in (
        (b"model_config_list { config { nane: 'a' } }", "nane"),
        (b"\xff", "no text proto"),
        (b"", "lists no model"),
        (b"model_config_list { config { name: 'a' base_path: 'x' } }", "absolute path"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            read_model_configs(str(file))
        assert str(caught.value).startswith(str(file))
