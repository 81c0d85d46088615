"""Which models are served, which of their versions, and what the versions are called.

The form is TF Serving's: the text proto of `--model_config_file`, and the `ModelServerConfig` message with
which HandleReloadConfigRequest changes it while the server runs.

    model_config_list { config {
      name: "quickstart"  base_path: "/models/quickstart"  model_platform: "tensorflow"
      model_version_policy { specific { versions: 1 versions: 2 } }
      version_labels { key: "stable" value: 1 }
      version_labels { key: "canary" value: 2 }
    } }
"""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from kbert.errors import InputError
from kbert.serving.status import ServingError, invalid


@dataclass(frozen=True)
class ModelConfig:
    """One served model.

    Args:
        name: What clients call it.
        folder: Contains one subfolder per version.
        latest: How many of the highest versions are loaded; 0 for all there are.
        specific: The versions to load, instead of the latest.
        labels: Names of versions: label -> version.

    Example:
        >>> ModelConfig("k", Path("k"), latest=2).wanted([1, 10, 9])
        [10, 9]
    """

    name: str
    folder: Path
    latest: int = 1
    specific: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def wanted(self, versions: Iterable[int]) -> list[int]:
        """The versions to load of those that are there, the highest first."""
        there = sorted(versions, reverse=True)
        if self.specific:
            return [version for version in there if version in self.specific]
        return there[: self.latest or None]


def read_model_configs(path: str) -> tuple[ModelConfig, ...]:
    """The models of a file as TF Serving's `--model_config_file` takes it.

    Args:
        path: A text proto of `ModelServerConfig`.

    Returns:
        One entry for each model.

    Raises:
        InputError: The file is no such proto, or lists no model that could be served.
    """
    try:
        proto = text_format.Parse(
            Path(path).read_text(encoding="utf-8"), model_server_config_pb2.ModelServerConfig()
        )
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no text proto of ModelServerConfig: {error}") from error
    try:
        configs = model_configs(proto)
    except ServingError as error:
        raise InputError(f"{path}: {error.message}") from error
    if not configs:
        raise InputError(f"{path}: lists no model; expected model_config_list {{ config {{ name: ... }} }}")
    return configs


def model_configs(proto) -> tuple[ModelConfig, ...]:
    """The models of a `ModelServerConfig`.

    Args:
        proto: The message, of a file or of a request.

    Returns:
        One entry for each model.

    Raises:
        ServingError: INVALID_ARGUMENT with TF Serving's message where it has one.
    """
    configs = {}
    for entry in proto.model_config_list.config:
        if entry.name in configs:
            raise invalid(f"Illegal to list model {entry.name} multiple times in config list")
        if not entry.base_path.startswith("/") or "\0" in entry.base_path:
            wrong = f"got base_path()={entry.base_path}"
            raise invalid(f"Expected model {entry.name} to have an absolute path or URI; {wrong}")
        if not (entry.model_platform or entry.model_type):
            raise invalid(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) "
                "nor ModelServerConfig::model_platform."
            )
        if entry.model_platform not in ("", "tensorflow"):
            raise invalid(f"Model {entry.name} requests unsupported platform {entry.model_platform}")
        configs[entry.name] = _model_config(entry)
    return tuple(configs.values())


def _model_config(entry) -> ModelConfig:
    policy = entry.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific" and not policy.specific.versions:
        raise invalid(f"Model {entry.name}: the policy 'specific' names no version")
    # TF Serving takes "the latest 0" for the latest.
    latest = 0 if choice == "all" else max(policy.latest.num_versions, 1)
    return ModelConfig(
        name=entry.name,
        folder=Path(entry.base_path),
        latest=latest,
        specific=tuple(policy.specific.versions) if choice == "specific" else (),
        labels=dict(entry.version_labels),
    )
