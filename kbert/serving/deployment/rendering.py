"""The files of a deployment: templates with the values of a plan.

A template is the file as an operator will read it, with `$name` where a value goes. A line that holds nothing
but `$name` takes a value of several lines, each as far indented. A line that starts with `@word ` is
kept only where the condition `word` holds, one with `@!word ` only where it does not.
"""

import json
import re
import shlex
import string
import textwrap
from collections.abc import Mapping
from pathlib import Path

from kbert.serving.deployment.plan import Plan
from kbert.serving.deployment.protoset import descriptor_set
from kbert.serving.deployment.readme_parts import calls, grpc_calls, health_calls, label_calls
from kbert.serving.deployment.sample_requests import PROTOSET
from kbert.serving.deployment.sizing import MAX_BATCH_SIZE, Sizing, size

_TEMPLATES = Path(__file__).parent / "templates"
_ALONE = re.compile(r"( *)\$(\w+)")

#: The codes of answers that are the server's fault, as Prometheus' regular expression.
_SERVER_ERRORS = "INTERNAL|UNKNOWN|UNAVAILABLE|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED|ABORTED|DATA_LOSS"

#: The label API of requests to a model, without probes; gRPC and REST do not write it the same.
_ANSWERED_APIS = "(?i)predict|classify|regress|multiinference"

#: Files that are the same for every plan but for their values; written file -> template of that name.
_ALWAYS = (
    "config/models.config",
    "config/monitoring.config",
    "config/ssl.config.example",
    "docker-compose.yml",
    "kubernetes.yaml",
    "kubernetes-monitoring.yaml",
    "prometheus-alerts.yaml",
    "README.md",
    "tls.md",
)
_BATCHING = "config/batching.config"

#: Every file that a plan can have, for an older folder to be cleared of those that a new plan lacks.
ALL_FILES = (*_ALWAYS, _BATCHING, PROTOSET)


def render(template: str, values: Mapping[str, str], conditions: Mapping[str, bool]) -> str:
    r"""Fills in a template.

    Args:
        template: As this module's docstring describes.
        values: Name -> text.
        conditions: Name -> whether it holds.

    Returns:
        The text.

    Raises:
        KeyError: The template names a value or a condition that is not given.

    Example:
        >>> print(render("a: $a\n@big b: 1\n@!big b: 0\n  $c", {"a": "x", "c": "1\n2"}, {"big": False}))
        a: x
        b: 0
          1
          2
    """
    lines = []
    for line in template.split("\n"):
        if line.startswith("@"):
            word, _, line = line[1:].partition(" ")
            if conditions[word.removeprefix("!")] == word.startswith("!"):
                continue
        alone = _ALONE.fullmatch(line)
        if alone is None:
            lines.append(string.Template(line).substitute(values))
        elif values[alone[2]]:
            lines.append(textwrap.indent(values[alone[2]], alone[1]))
    return "\n".join(lines)


def render_deployment(plan: Plan) -> dict[str, bytes]:
    """All files of a deployment.

    Args:
        plan: What is served, and how.

    Returns:
        Path below the folder of the deployment -> content.
    """
    sizing = size(plan)
    conditions = _conditions(plan)
    values = _values(plan, sizing)
    for part in ("flags", "alerts"):
        values[part] = render(_template(part).rstrip("\n"), values, conditions)
    names = [*_ALWAYS, *([_BATCHING] if plan.choices.batching else [])]
    for name in (name for name in names if name.startswith("config/") and not name.endswith(".example")):
        text = render(_template(name), values, conditions)
        values[Path(name).stem + "_config"] = text.rstrip("\n")
    files = {name: render(_template(name), values, conditions).encode() for name in names}
    return {**files, PROTOSET: descriptor_set()}


def _template(name: str) -> str:
    return (_TEMPLATES / f"{Path(name).name}.template").read_text(encoding="utf-8")


def _conditions(plan: Plan) -> dict[str, bool]:
    choices = plan.choices
    return {
        "batching": bool(choices.batching),
        "claim": choices.volume_claim is not None,
        "gpu": choices.gpu,
        "labels": bool(plan.labels),
        "latest": not plan.policy.specific,
        "namespace": choices.namespace is not None,
    }


def _values(plan: Plan, sizing: Sizing) -> dict[str, str]:
    choices, newest = plan.choices, plan.newest
    weights = max(version.weights_bytes for version in plan.loaded)
    return {
        "name": plan.name,
        "image": choices.image or "",
        "namespace": choices.namespace or "",
        "claim": choices.volume_claim or "",
        "kubectl": f"kubectl -n {choices.namespace}" if choices.namespace else "kubectl",
        # JSON's strings are YAML's too; Compose would read "$" as a variable.
        "model_in_compose": json.dumps(str(plan.model).replace("$", "$$"), ensure_ascii=False),
        "model_in_yaml": json.dumps(str(plan.model), ensure_ascii=False),
        "model_in_shell": shlex.quote(str(plan.model)),
        "model": str(plan.model),
        "policy": _policy(plan),
        "version_labels": _labels(plan.labels),
        "canary_policy": f"specific {{ versions: {newest.number} versions: {newest.number + 1} }}",
        "canary_labels": _labels({"stable": newest.number, "canary": newest.number + 1}),
        "loaded": ", ".join(str(version.number) for version in plan.loaded),
        "newest": str(newest.number),
        "next": str(newest.number + 1),
        "task": newest.task,
        "weights_mb": f"{weights / 1e6:.1f}",
        "memory_mib": str(sizing.memory_mib),
        "threads": str(sizing.threads),
        "cpus": str(choices.cpus),
        "replicas": str(choices.replicas),
        "max_replicas": str(choices.max_replicas),
        "startup_seconds": str(sizing.startup_seconds),
        "startup_failures": str(sizing.startup_seconds // 10),
        "progress_seconds": str(sizing.startup_seconds + 120),
        "max_batch_size": str(MAX_BATCH_SIZE),
        "batch_threads": str(sizing.batch_threads),
        "batch_timeout_micros": str(sizing.batch_timeout_micros),
        "max_enqueued_batches": str(4 * sizing.batch_threads),
        "slow_ms": str(choices.slow_ms),
        "slow_micros": str(choices.slow_ms * 1000),
        "server_errors": _SERVER_ERRORS,
        "answered_apis": _ANSWERED_APIS,
        "in_namespace": f',namespace="{choices.namespace}"' if choices.namespace else "",
        "calls": calls(newest, plan.name),
        "grpc_calls": grpc_calls(newest, plan.name),
        "label_calls": label_calls(plan),
        "health_calls": health_calls(plan.name),
        "batching_config": "",
    }


def _policy(plan: Plan) -> str:
    if plan.policy.specific:
        return f"specific {{ {' '.join(f'versions: {number}' for number in plan.policy.specific)} }}"
    return f"latest {{ num_versions: {plan.policy.latest} }}" if plan.policy.latest else "all {}"


def _labels(labels: Mapping[str, int]) -> str:
    return "\n".join(
        f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()
    )
