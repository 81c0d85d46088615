"""Requests to try a server with: shell lines for curl and grpcurl, made of an export's own samples."""

import base64
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kbert.serving.deployment.exported import ExportedVersion

#: The addresses in the lines; those that Compose publishes and that `kubectl port-forward` would open.
REST = "http://localhost:8501"
GRPC = "localhost:8500"

#: The file beside the README that tells grpcurl the messages.
PROTOSET = "tensorflow_serving.protoset"

#: Longer sample texts are not shown, in characters.
_LONGEST = 200

_DEFAULT = "serving_default"
_PREDICTION = "tensorflow.serving.PredictionService"


@dataclass(frozen=True)
class Choice:
    """Which version a request asks for; the newest if neither is given.

    Args:
        version: Its number.
        label: Its label.
    """

    version: int | None = None
    label: str | None = None

    @property
    def path(self) -> str:
        """The part of a REST URL behind the model's name."""
        if self.label is not None:
            return f"/labels/{self.label}"
        return "" if self.version is None else f"/versions/{self.version}"

    @property
    def spec(self) -> dict[str, Any]:
        """The fields of a `ModelSpec`, in protobuf's JSON form."""
        if self.label is not None:
            return {"versionLabel": self.label}
        return {} if self.version is None else {"version": str(self.version)}


NEWEST = Choice()


def sample_row(version: ExportedVersion, signature: str) -> dict[str, Any]:
    """One row of a request that the export was tested with, and that reads well.

    Args:
        version: The export.
        signature: One that takes texts.

    Returns:
        Input name -> a text, `{"b64": ...}` for bytes that are no text, or a list of such.
    """
    rows = [
        dict(zip(sample["inputs"], values, strict=True))
        for sample in version.samples
        if sample["signature"] == signature
        for values in zip(*sample["inputs"].values(), strict=True)
    ]
    readable = [row for row in rows if all(_is_readable(text) for text in _texts(row))]
    shown = {name: "A short sentence." for name in version.signatures[signature]["inputs"]}
    return next(iter(readable or sorted(rows, key=lambda row: len(json.dumps(row)))), shown)


def rest_predict(
    version: ExportedVersion, name: str, signature: str, choice: Choice = NEWEST, *, columns: bool = False
) -> str:
    """A curl line for `:predict`.

    Args:
        version: The export.
        name: The model's name.
        signature: Of its signatures that take texts.
        choice: Which version is asked.
        columns: Write the inputs by name rather than row by row.

    Returns:
        The line.
    """
    row = sample_row(version, signature)
    body: dict[str, Any] = {} if signature == _DEFAULT else {"signature_name": signature}
    if columns:
        body["inputs"] = {key: [value] for key, value in row.items()}
    else:
        body["instances"] = [row]
    return _curl(name, choice, "predict", body)


def rest_examples(
    version: ExportedVersion, name: str, signature: str, verb: str, choice: Choice = NEWEST
) -> str:
    """A curl line for `:classify` or `:regress`; arguments as of `rest_predict`."""
    body = {"signature_name": signature, "examples": [sample_row(version, _DEFAULT)]}
    return _curl(name, choice, verb, body)


def grpc_predict(version: ExportedVersion, name: str, signature: str, choice: Choice = NEWEST) -> str:
    """A grpcurl line for Predict; arguments as of `rest_predict`."""
    body = {
        "modelSpec": {"name": name, "signatureName": signature, **choice.spec},
        "inputs": {key: _tensor([value]) for key, value in sample_row(version, signature).items()},
    }
    return grpcurl(f"{_PREDICTION}/Predict", body)


def grpc_examples(
    version: ExportedVersion, name: str, signature: str, verb: str, choice: Choice = NEWEST
) -> str:
    """A grpcurl line for Classify or Regress; arguments as of `rest_predict`."""
    row = sample_row(version, _DEFAULT)
    features = {key: {"bytesList": {"value": [_base64(text)]}} for key, text in row.items()}
    body = {
        "modelSpec": {"name": name, "signatureName": signature, **choice.spec},
        "input": {"exampleList": {"examples": [{"features": {"feature": features}}]}},
    }
    return grpcurl(f"{_PREDICTION}/{verb.capitalize()}", body)


def example_verb(version: ExportedVersion, signature: str) -> str | None:
    """`classify` or `regress` for signatures that TF Serving's APIs of these names can call, else None."""
    inputs, outputs = (set(version.signatures[signature][side]) for side in ("inputs", "outputs"))
    if inputs != {"inputs"}:
        return None
    if outputs <= {"classes", "scores"}:
        return "classify"
    return "regress" if outputs == {"outputs"} else None


def grpcurl(method: str, body: Mapping[str, Any]) -> str:
    """A grpcurl line.

    Args:
        method: Service and method.
        body: The request in protobuf's JSON form.

    Returns:
        The line.
    """
    return f"grpcurl -plaintext -protoset {PROTOSET} -d {_quoted(body)} {GRPC} {method}"


def _curl(name: str, choice: Choice, verb: str, body: Mapping[str, Any]) -> str:
    return f"curl -d {_quoted(body)} {REST}/v1/models/{name}{choice.path}:{verb}"


def _quoted(body: Mapping[str, Any]) -> str:
    # JSON escapes control characters, and the shell's single quotes take the rest as it is.
    return shlex.quote(json.dumps(body, ensure_ascii=False))


def _texts(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict) and set(value) != {"b64"}:
        yield from _texts(list(value.values()))
    else:
        yield value


def _is_readable(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= _LONGEST and text.isprintable()


def _base64(text: Any) -> str:
    return text["b64"] if isinstance(text, dict) else base64.b64encode(text.encode()).decode()


def _tensor(rows: list) -> dict[str, Any]:
    sizes, level = [], rows
    while isinstance(level, list):
        sizes.append(len(level))
        level = level[0]
    return {
        "dtype": "DT_STRING",
        "tensorShape": {"dim": [{"size": str(size)} for size in sizes]},
        "stringVal": [_base64(text) for text in _texts(rows)],
    }
