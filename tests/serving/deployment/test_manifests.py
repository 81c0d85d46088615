"""The YAML files: of the right form, and consistent with one another."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.serving.deployment.conftest import by_kind, documents

COMPOSE, KUBERNETES, MONITORING = "docker-compose.yml", "kubernetes.yaml", "kubernetes-monitoring.yaml"


def test_compose_is_of_the_form_of_its_specification(files):
    jsonschema = pytest.importorskip("jsonschema", reason="check-jsonschema needs it")
    bundled = pytest.importorskip(
        "check_jsonschema",
        reason="pip install check-jsonschema brings the schema of the Compose specification",
    )
    path = Path(bundled.__file__).parent / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    document = yaml.safe_load(files[COMPOSE])
    validator.validate(document)
    health = document["services"]["tensorflow-serving"]["healthcheck"]
    health["retires"] = health.pop("retries")
    with pytest.raises(jsonschema.ValidationError, match="retires"):
        validator.validate(document)


def test_kubernetes_objects_are_of_kubernetes_own_schema(files):
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="pip install kubernetes-validate brings the schemas of Kubernetes"
    )
    last = kubernetes_validate.latest_version()
    for document in documents(files[KUBERNETES]):
        for version in ("1.29", last):
            kubernetes_validate.validate(document, version, strict=True)
    document["spec"]["maxUnavailabel"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="maxUnavailabel"):
        kubernetes_validate.validate(document, last, strict=True)


def test_objects_find_one_another(files, choices):
    found = by_kind(files[KUBERNETES])
    expected = {"ConfigMap", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    namespace = choices.get("namespace")
    assert set(found) == expected | ({"Namespace"} if namespace else set())
    if namespace:
        assert found.pop("Namespace")["metadata"]["name"] == namespace
    monitoring = by_kind(files[MONITORING])
    for document in (*found.values(), *monitoring.values()):
        assert document["metadata"].get("namespace") == namespace
    template = found["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == "mine"
    for selector in (
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector == labels
    assert (
        monitoring["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
        == found["Service"]["metadata"]["labels"]
    )
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])
    assert "replicas" not in found["Deployment"]["spec"]
    (container,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "http": 8501}
    service_ports = {port["name"]: port for port in found["Service"]["spec"]["ports"]}
    assert {name: port["port"] for name, port in service_ports.items()} == ports
    assert all(port["targetPort"] in ports for port in service_ports.values())
    assert monitoring["ServiceMonitor"]["spec"]["endpoints"][0]["port"] in service_ports
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert volumes.keys() == {mount["name"] for mount in container["volumeMounts"]}
    assert volumes["config"]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]


def test_the_config_map_holds_the_files_that_the_flags_name(files):
    data = by_kind(files[KUBERNETES])["ConfigMap"]["data"]
    assert data == {
        name.removeprefix("config/"): text
        for name, text in files.items()
        if name.startswith("config/") and not name.endswith(".example")
    }
    for flags in (compose_flags(files), kubernetes_flags(files)):
        named = {value.removeprefix("/config/") for value in flags.values() if value.startswith("/config/")}
        assert named == data.keys()


def compose_flags(files):
    return as_flags(yaml.safe_load(files[COMPOSE])["services"]["tensorflow-serving"]["command"])


def kubernetes_flags(files):
    return as_flags(
        by_kind(files[KUBERNETES])["Deployment"]["spec"]["template"]["spec"]["containers"][0]["args"]
    )


def as_flags(arguments):
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    assert len(flags) == len(arguments)
    return flags


def test_flags(files, choices):
    flags = compose_flags(files)
    in_cluster = kubernetes_flags(files)
    channel = in_cluster.pop("grpc_channel_arguments")
    assert re.fullmatch(r"[\w.]+=\d+(,[\w.]+=\d+)*", channel)
    assert flags == in_cluster
    assert (flags["port"], flags["rest_api_port"]) == ("8500", "8501")
    assert flags["enable_model_warmup"] == flags["enable_grpc_healthcheck_service"] == "true"
    assert flags["allow_version_labels_for_unavailable_models"] == "true"
    assert int(flags["grpc_max_threads"]) >= 64 and int(flags["rest_api_num_threads"]) >= 64
    assert ("tensorflow_intra_op_parallelism" in flags) == ("gpu" not in choices)


def test_memory_and_gpu(render):
    for gpu in (False, True):
        files = render(described={"weights": 2**30}, gpu=gpu)
        base = 4096 if gpu else 1024
        resources = yaml.safe_load(files[COMPOSE])["services"]["tensorflow-serving"]["deploy"]["resources"]
        # Docker starts nothing that is given more processors than there are.
        assert resources["limits"] == {"memory": f"{base + 2560}M"}
        assert "requests `cpu: 4` of its node" in files["README.md"]
        assert ("reservations" in resources) == gpu
        container = by_kind(files[KUBERNETES])["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"]["memory"] == f"{base + 2560}Mi"
        assert container["resources"]["requests"] == {"cpu": "4", "memory": f"{base + 2560}Mi"}
        assert container["resources"]["limits"].get("nvidia.com/gpu") == ("1" if gpu else None)
        assert container["image"].endswith("-gpu") == gpu


def test_a_start_has_time_and_an_end_lets_requests_finish(files):
    pod = by_kind(files[KUBERNETES])["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600
    assert startup["httpGet"] == container["readinessProbe"]["httpGet"]
    assert startup["httpGet"]["path"] == "/v1/models/mine/metadata"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v1/models/mine"
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    rest_seconds = int(kubernetes_flags(files)["rest_api_timeout_in_ms"]) / 1000
    assert rest_seconds < pause < pod["terminationGracePeriodSeconds"]


def test_the_model_is_mounted_where_the_configuration_looks(files, choices, make_described):
    folder = str(make_described().resolve())
    model, config = yaml.safe_load(files[COMPOSE])["services"]["tensorflow-serving"]["volumes"]
    assert (model["source"], model["target"], model["read_only"]) == (folder, "/models/mine", True)
    assert config["target"] == "/config"
    pod = by_kind(files[KUBERNETES])["Deployment"]["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "model")
    assert mounts["model"]["readOnly"]
    if "volume_claim" in choices:
        assert mounts["model"]["mountPath"] == "/models"
        assert volume["persistentVolumeClaim"]["claimName"] == choices["volume_claim"]
    else:
        assert mounts["model"]["mountPath"] == "/models/mine"
        assert volume["hostPath"]["path"] == folder


def test_names_that_yaml_and_compose_read_otherwise_are_quoted(make_described, render):
    awkward = 'a "b" $HOME: {x} #1 é'
    files = render(described={"name": awkward}, name="null", namespace="123")
    folder = str(make_described(name=awkward).resolve())
    document = yaml.safe_load(files[COMPOSE])
    model = document["services"]["tensorflow-serving"]["volumes"][0]
    assert model["source"] == folder.replace("$", "$$")  # Compose's own escape
    assert document["name"] == "null"
    found = by_kind(files[KUBERNETES])
    assert found["Deployment"]["spec"]["template"]["spec"]["volumes"][1]["hostPath"]["path"] == folder
    assert found.pop("Namespace")["metadata"]["name"] == "123"
    for document in (*found.values(), *by_kind(files[MONITORING]).values()):
        assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == "null"
        assert document["metadata"]["namespace"] == "123"
    files = render(volume_claim="0123")
    volume = by_kind(files[KUBERNETES])["Deployment"]["spec"]["template"]["spec"]["volumes"][1]
    assert volume["persistentVolumeClaim"]["claimName"] == "0123"


def test_replicas(render):
    spec = by_kind(render(replicas=3, max_replicas=5)[KUBERNETES])["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 5)
