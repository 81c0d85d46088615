"""The alerts, and the objects of the Prometheus Operator."""

import re

import pytest
import yaml

from tests.serving.deployment.conftest import by_kind

MONITORING, ALERTS = "kubernetes-monitoring.yaml", "prometheus-alerts.yaml"

SECONDS = re.compile(r"\d+[sm]")
LABELS = {"app.kubernetes.io/name": str, "app.kubernetes.io/instance": str}
METADATA = {"name": str, "namespace?": str, "labels": LABELS}
RULES = [
    {
        "name": str,
        "rules": [
            {
                "alert": re.compile("[A-Z][A-Za-z]+"), "expr": str, "for?": SECONDS,
                "labels": {"severity": re.compile("critical|warning|info")}, "annotations": {"summary": str},
            }
        ],
    }
]  # fmt: skip
#: The Prometheus Operator's own kinds, which Kubernetes' schemas do not know.
OPERATOR = {
    "ServiceMonitor": {
        "apiVersion": re.compile(r"monitoring\.coreos\.com/v1"), "kind": str, "metadata": METADATA,
        "spec": {
            "selector": {"matchLabels": LABELS},
            "endpoints": [{"port": str, "path": re.compile("/.*"), "interval": SECONDS}],
        },
    },
    "PrometheusRule": {
        "apiVersion": re.compile(r"monitoring\.coreos\.com/v1"), "kind": str, "metadata": METADATA,
        "spec": {"groups": RULES},
    },
}  # fmt: skip


def assert_form(value, form, place="file"):
    """Holds a document to a form: types, patterns, lists of one form, and mappings with no other keys."""
    if isinstance(form, dict):
        assert isinstance(value, dict), place
        known = {key.removesuffix("?"): part for key, part in form.items()}
        assert not value.keys() - known.keys(), f"{place} has {value.keys() - known.keys()}"
        missing = {key for key in form if not key.endswith("?")} - value.keys()
        assert not missing, f"{place} lacks {missing}"
        for key, part in value.items():
            assert_form(part, known[key], f"{place}.{key}")
    elif isinstance(form, list):
        assert isinstance(value, list) and value, place
        for number, part in enumerate(value):
            assert_form(part, form[0], f"{place}[{number}]")
    elif isinstance(form, re.Pattern):
        assert isinstance(value, str) and form.fullmatch(value), f"{place}: {value!r}"
    else:
        assert type(value) is form, f"{place}: {value!r}"


def test_the_operators_objects_are_of_their_form(files):
    found = by_kind(files[MONITORING])
    assert set(found) == set(OPERATOR)
    for kind, document in found.items():
        assert_form(document, OPERATOR[kind], kind)


#: Names and labels of TF Serving's metrics, of TensorFlow's loader, and of Kubernetes'.
METRICS = {
    "up": {"job"},
    ":tensorflow:serving:request_count": {"model_name", "status"},
    ":tensorflow:serving:request_latency_bucket": {"model_name", "API", "entrypoint", "le"},
    ":tensorflow:serving:request_latency_count": {"model_name", "API", "entrypoint"},
    ":tensorflow:serving:model_warmup_latency_count": {"model_path", "status"},
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
    "kube_pod_container_status_restarts_total": {"container", "pod", "namespace"},
    "kube_pod_container_resource_limits": {"container", "pod", "namespace", "resource"},
    "container_memory_working_set_bytes": {"container", "pod", "namespace"},
}


def rules(files):
    return {rule["alert"]: rule for rule in yaml.safe_load(files[ALERTS])["groups"][0]["rules"]}


def test_alerts_are_the_same_with_and_without_operator(files):
    plain = yaml.safe_load(files[ALERTS])
    assert_form(plain, {"groups": RULES})
    assert by_kind(files[MONITORING])["PrometheusRule"]["spec"]["groups"] == plain["groups"]


def test_alerts_ask_for_metrics_that_there_are(files):
    for name, rule in rules(files).items():
        selectors = re.findall(r"([a-zA-Z_:][\w:]*)\{(.*?)\}", rule["expr"])
        assert selectors, name
        for metric, matchers in selectors:
            labels = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', matchers))
            assert labels and labels <= METRICS[metric], f"{name}: {metric} {labels}"


def test_alerts_are_promql(files):
    promql = pytest.importorskip(
        "promql_parser", reason="pip install promql-parser brings Prometheus' grammar"
    )
    for rule in rules(files).values():
        promql.parse(rule["expr"])
    with pytest.raises(ValueError):
        promql.parse(rule["expr"] + ")")


def test_alerts_are_about_this_model(render):
    found = rules(render(name="other", namespace="text", slow_ms=250))
    assert all("other" in rule["expr"] for rule in found.values())
    assert found["ModelServerSlow"]["expr"].endswith("> 250000")
    assert 'namespace="text"' in found["ModelServerRestarts"]["expr"]
    assert "{{ $value | humanizePercentage }}" in found["ModelServerErrors"]["annotations"]["summary"]


def test_alerts_on_pods_are_not_about_those_of_a_longer_name(render):
    found = rules(render(name="news"))
    for name in ("ModelServerRestarts", "ModelServerMemory"):
        patterns = re.findall(r'pod=~"(.*?)"', found[name]["expr"])
        assert patterns and "by (namespace, pod)" in found[name]["expr"]
        for pattern in patterns:
            assert re.fullmatch(pattern, "news-6c9f7d8b54-x2x9z") and re.fullmatch(pattern, "news-6c9fx2x9z")
            for other in (
                "news-fr-6c9f7d8b54-x2x9z",
                "newsroom-6c9f7d8b54-x2x9z",
                "my-news-6c9f7d8b54-x2x9z",
            ):
                assert not re.fullmatch(pattern, other)
