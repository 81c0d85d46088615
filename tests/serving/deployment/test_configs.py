"""The text protos, parsed back as TF Serving parses them."""

import os
import subprocess

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

FIELD = descriptor_pb2.FieldDescriptorProto
WRAPPERS = wrappers_pb2.DESCRIPTOR.name

#: Of TF Serving's config/*.proto and session_bundle_config.proto, which no package brings: message -> fields.
MESSAGES = {
    "SSLConfig": [
        ("server_key", 1, "string"),
        ("server_cert", 2, "string"),
        ("custom_ca", 3, "string"),
        ("client_verify", 4, "bool"),
    ],
    "PrometheusConfig": [("enable", 1, "bool"), ("path", 2, "string")],
    "MonitoringConfig": [("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig")],
    "BatchingParameters": [
        ("max_batch_size", 1, ".google.protobuf.Int64Value"),
        ("batch_timeout_micros", 2, ".google.protobuf.Int64Value"),
        ("max_enqueued_batches", 3, ".google.protobuf.Int64Value"),
        ("num_batch_threads", 4, ".google.protobuf.Int64Value"),
        ("thread_pool_name", 5, ".google.protobuf.StringValue"),
        ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, "bool"),
    ],
}


@pytest.fixture(scope="module")
def parse():
    """Function of a message's name and a text, to the message."""
    file = descriptor_pb2.FileDescriptorProto(
        name="configs.proto", package="tensorflow.serving", syntax="proto3", dependency=[WRAPPERS]
    )
    for message, fields in MESSAGES.items():
        proto = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = proto.field.add(name=name, number=number, label=FIELD.LABEL_OPTIONAL)
            if kind.startswith("repeated "):
                field.label, kind = FIELD.LABEL_REPEATED, kind.removeprefix("repeated ")
            if kind.startswith("."):
                field.type, field.type_name = FIELD.TYPE_MESSAGE, kind
            else:
                field.type = FIELD.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)

    def parse_as(message, text):
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{message}"))
        return text_format.Parse(text, kind())

    return parse_as


def model(files):
    config = text_format.Parse(files["config/models.config"], model_server_config_pb2.ModelServerConfig())
    (found,) = config.model_config_list.config
    return found


def test_an_unknown_or_bare_field_would_be_found(parse):
    for wrong in ("max_batch_sizes { value: 1 }", "max_batch_size: 32", "max_batch_size { value: 'x' }"):
        with pytest.raises(text_format.ParseError):
            parse("BatchingParameters", wrong)


def test_the_newest_version_is_served_by_default(render):
    expected = model_server_config_pb2.ModelConfig(
        name="mine", base_path="/models/mine", model_platform="tensorflow"
    )
    expected.model_version_policy.latest.num_versions = 1
    assert model(render(1, 2)) == expected


@pytest.mark.parametrize(
    ("versions", "text"),
    [
        ("latest:2", "latest { num_versions: 2 }"),
        ("all", "all {}"),
        ("specific:3,1", "specific { versions: [1, 3] }"),
    ],
)
def test_policies(versions, text, render):
    expected = text_format.Parse(
        f'name: "other" base_path: "/models/other" model_platform: "tensorflow" '
        f"model_version_policy {{ {text} }}",
        model_server_config_pb2.ModelConfig(),
    )
    assert model(render(1, 2, 3, versions=versions, name="other")) == expected


def test_labels(render):
    files = render(1, 2, 3, labels="stable:1,canary:3")
    found = model(files)
    assert dict(found.version_labels) == {"stable": 1, "canary": 3}
    assert list(found.model_version_policy.specific.versions) == [1, 3]
    assert "--allow_version_labels_for_unavailable_models=true" in files["docker-compose.yml"]


def test_the_canary_of_the_readme_is_a_legal_configuration(render):
    readme = render(1, 4)["README.md"]
    block = readme.split("```text\n")[1].split("```")[0]
    found = text_format.Parse(block, model_server_config_pb2.ModelConfig())
    assert dict(found.version_labels) == {"stable": 4, "canary": 5}
    assert list(found.model_version_policy.specific.versions) == [4, 5]


def test_a_new_version_is_copied_whole_or_not_at_all(render, tmp_path):
    readme = render(1)["README.md"]
    (command,) = (line for line in readme.splitlines() if line.startswith("mkdir "))
    (tmp_path / "NEW_VERSION").mkdir()
    (tmp_path / "NEW_VERSION" / "saved_model.pb").write_text("new")

    def copy():
        return subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True).returncode

    assert copy() == 0
    model = tmp_path / "models" / "mine"
    assert sorted(os.listdir(model)) == ["1", "2"] and os.listdir(model / "2") == ["saved_model.pb"]
    assert copy() != 0  # the number is taken
    assert os.listdir(model / "2") == ["saved_model.pb"]
    (model / "2").rename(model / ".bad-2")
    assert copy() != 0 and not (model / "2").exists()  # what was copied then lies there


def test_monitoring(render, parse):
    config = parse("MonitoringConfig", render()["config/monitoring.config"])
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_a_cpu_joins_no_requests_unless_told(render):
    files = render()
    assert "config/batching.config" not in files
    assert not any("--enable_batching" in text or "batching.config" in text for text in files.values())


def test_batching_on_the_cpu(render, parse):
    files = render(batching=True, cpus=3)
    config = parse("BatchingParameters", files["config/batching.config"])
    assert config.max_batch_size.value == 32
    assert config.batch_timeout_micros.value == 5000
    assert config.num_batch_threads.value == 3
    assert config.max_enqueued_batches.value == 12
    assert not config.allowed_batch_sizes and not config.pad_variable_length_inputs
    for name in ("docker-compose.yml", "kubernetes.yaml"):
        assert "- --enable_batching=true\n" in files[name]
        assert "- --batching_parameters_file=/config/batching.config\n" in files[name]


def test_batching_on_a_gpu(render, parse):
    config = parse("BatchingParameters", render(gpu=True)["config/batching.config"])
    sizes = list(config.allowed_batch_sizes)
    assert sizes == sorted(sizes) and sizes[-1] == config.max_batch_size.value == 32
    assert (config.num_batch_threads.value, config.batch_timeout_micros.value) == (2, 2000)
    assert config.thread_pool_name.value == "batches"


def test_the_example_of_certificates_is_of_the_right_form(render, parse):
    config = parse("SSLConfig", render()["config/ssl.config.example"])
    assert config.client_verify
    for text in (config.server_key, config.server_cert, config.custom_ca):
        assert text.count("\n") == 3 and text.startswith("-----BEGIN ")


def test_the_commands_for_certificates_write_what_the_server_reads(render, parse, tmp_path):
    shell = render()["tls.md"].split("```sh\n")
    first, second = (block.split("```")[0] for block in shell[1:3])
    texts = {
        "server.key": "-----BEGIN X-----\nab+/=\n-----END X-----\n",
        "server.crt": "one\ntwo\n",
        "ca.crt": "c\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "config").mkdir()
    subprocess.run(["bash", "-ec", first + second], cwd=tmp_path, check=True)
    config = parse("SSLConfig", (tmp_path / "config/ssl.config").read_text())
    assert config.server_key == texts["server.key"]
    assert config.server_cert == texts["server.crt"]
    assert config.custom_ca == texts["ca.crt"] and config.client_verify
    assert (tmp_path / "config/ssl.config").stat().st_mode & 0o077 == 0
