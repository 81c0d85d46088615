"""The README's blocks of commands: one line for each signature, version and label of this export."""

from kbert.serving.deployment.exported import ExportedVersion
from kbert.serving.deployment.plan import Plan
from kbert.serving.deployment.sample_requests import (
    NEWEST,
    REST,
    Choice,
    example_verb,
    grpc_examples,
    grpc_predict,
    grpcurl,
    rest_examples,
    rest_predict,
)

_DEFAULT = "serving_default"


def calls(version: ExportedVersion, name: str) -> str:
    """The curl lines of all signatures, each under a comment that says what it asks for."""
    lines = []
    for signature in version.signatures:
        outputs = ", ".join(version.signatures[signature]["outputs"])
        verb = example_verb(version, signature)
        if verb is not None:
            lines += [f"# {signature}: {outputs}", rest_examples(version, name, signature, verb)]
            continue
        lines += [f"# {signature}: {outputs}", rest_predict(version, name, signature)]
        if signature == _DEFAULT:
            lines += ["# the same by columns: an input's values for all rows, and so the answer"]
            lines += [rest_predict(version, name, signature, columns=True)]
    return "\n".join(lines)


def grpc_calls(version: ExportedVersion, name: str) -> str:
    """The grpcurl lines of all signatures."""
    lines = []
    for signature in version.signatures:
        verb = example_verb(version, signature)
        if verb is None:
            lines += [f"# {signature}", grpc_predict(version, name, signature)]
        else:
            lines += [f"# {signature}", grpc_examples(version, name, signature, verb)]
    return "\n".join(lines)


def label_calls(plan: Plan) -> str:
    """Requests to one version, and to each label there is, over REST and over gRPC."""
    lines = []
    choices = [Choice(version=plan.newest.number), *(Choice(label=label) for label in plan.labels)]
    for choice in choices:
        lines += [
            rest_predict(plan.newest, plan.name, _DEFAULT, choice),
            grpc_predict(plan.newest, plan.name, _DEFAULT, choice),
        ]
    return "\n".join(lines)


def health_calls(name: str) -> str:
    """What tells whether the server is up, and what it serves."""
    model, spec = f"{REST}/v1/models/{name}", {"modelSpec": {"name": name}}
    metadata = {**spec, "metadataField": ["signature_def"]}
    return "\n".join(
        [
            "# the state of each version; answers in any state",
            f"curl {model}{NEWEST.path}",
            "# inputs and outputs of each signature; 404 until a version is ready",
            f"curl {model}/metadata",
            "# the health of the whole server",
            grpcurl("grpc.health.v1.Health/Check", {"service": ""}),
            "# the first two over gRPC",
            grpcurl("tensorflow.serving.ModelService/GetModelStatus", spec),
            grpcurl("tensorflow.serving.PredictionService/GetModelMetadata", metadata),
        ]
    )
