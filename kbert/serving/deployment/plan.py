"""The operator's choices, checked: names, versions, labels, and what of the export they mean."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kbert.errors import InputError
from kbert.serving.deployment.exported import ExportedVersion, read_version, read_versions

#: The release of TF Serving that the exports are made for; the variant for GPUs has "-gpu" behind it.
DEFAULT_IMAGE = "tensorflow/serving:2.20.0"

_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_POLICY = re.compile(r"latest(?::(?P<count>[1-9][0-9]{0,3}))?|all|specific:(?P<versions>[0-9]+(?:,[0-9]+)*)")


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions of a folder the server loads.

    Args:
        latest: How many of the highest; 0 for all.
        specific: These instead, ascending.

    Example:
        >>> VersionPolicy.parse("latest:2").loaded([1, 9, 10])
        (9, 10)
    """

    latest: int = 1
    specific: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "VersionPolicy":
        """Reads `latest`, `latest:2`, `all` or `specific:1,3`.

        Raises:
            InputError: It is none of these.
        """
        found = _POLICY.fullmatch(text)
        if not found:
            raise InputError(
                f"versions {text!r}; expected latest, latest:2, all, or numbers such as specific:1,3"
            )
        if found["versions"]:
            return cls(specific=tuple(sorted({int(number) for number in found["versions"].split(",")})))
        return cls(latest=0 if text == "all" else int(found["count"] or 1))

    def loaded(self, there: Iterable[int]) -> tuple[int, ...]:
        """The versions that are loaded of those in the folder, ascending."""
        versions = sorted(there)
        if self.specific:
            return tuple(version for version in versions if version in self.specific)
        return tuple(versions[-self.latest :])

    def __str__(self) -> str:
        if self.specific:
            return f"specific:{','.join(map(str, self.specific))}"
        return f"latest:{self.latest}" if self.latest else "all"


@dataclass(frozen=True)
class Choices:
    """What an operator can choose; each is a flag of `make_deployment.py`.

    Args:
        name: What clients call the model, and of the objects in Kubernetes; None for that of the folder.
        versions: `latest:N`, `all` or `specific:1,3`; None for the newest, or for those that have labels.
        labels: `stable:1,canary:2`; empty for none.
        replicas: Servers that always run.
        max_replicas: Servers at most; None for four times as many.
        cpus: Processors that one server computes with; a node of a cluster must have as many to give.
        image: Container image; None for TF Serving's own.
        namespace: Of Kubernetes; None for the one that kubectl uses.
        volume_claim: PersistentVolumeClaim with the folder of the model; None for a folder of the node.
        batching: Whether the server joins requests; None for where there is a GPU.
        gpu: Whether one server has one GPU.
        slow_ms: A 99th percentile of the answer times above this raises an alert, in milliseconds.
    """

    name: str | None = None
    versions: str | None = None
    labels: str = ""
    replicas: int = 2
    max_replicas: int | None = None
    cpus: int = 4
    image: str | None = None
    namespace: str | None = None
    volume_claim: str | None = None
    batching: bool | None = None
    gpu: bool = False
    slow_ms: int = 1000


@dataclass(frozen=True)
class Plan:
    """The choices with nothing left open.

    Args:
        model: The folder of versions on this machine, absolute.
        policy: Which versions are loaded.
        loaded: Those that are loaded of the folder as it is now, ascending; at least one.
        labels: Label -> version.
        choices: The rest; no None but `namespace` and `volume_claim`.
    """

    model: Path
    policy: VersionPolicy
    loaded: tuple[ExportedVersion, ...]
    labels: Mapping[str, int]
    choices: Choices

    @property
    def name(self) -> str:
        """What clients call the model."""
        return self.choices.name or ""

    @property
    def newest(self) -> ExportedVersion:
        """What answers a request that names neither version nor label."""
        return self.loaded[-1]


def make_plan(model: str | Path, choices: Choices) -> Plan:
    """Checks the choices against the export and fills in what was left open.

    Args:
        model: The folder of versions.
        choices: The operator's.

    Returns:
        The plan.

    Raises:
        InputError: A choice is malformed or does not fit the export.
    """
    there = read_versions(model)
    folder = Path(model).resolve()
    name = _checked_name("name", choices.name or folder.name, _SERVICE)
    if choices.namespace is not None:
        _checked_name("namespace", choices.namespace, _OBJECT)
    if choices.volume_claim is not None:
        _checked_name("volume_claim", choices.volume_claim, _OBJECT)
    labels = parse_labels(choices.labels)
    policy = _policy(choices.versions, labels)
    asked = {
        **{version: "" for version in policy.specific},
        **{version: f"label {label}:{version}: " for label, version in labels.items()},
    }
    for version, why in asked.items():
        if version not in there:
            raise InputError(f"{why}version {version} is not in {folder}; there are {_list(there)}")
    numbers = policy.loaded(there)
    for label, version in labels.items():
        if version not in numbers:
            raise InputError(
                f"label {label}:{version}: --versions={policy} loads {_list(numbers)} only; add {version}"
            )
    loaded = tuple(read_version(there[number]) for number in numbers)
    if choices.gpu:
        _check_for_gpu(loaded)
    image = choices.image or DEFAULT_IMAGE + ("-gpu" if choices.gpu else "")
    if not re.fullmatch(r"[\w./:@-]+", image, re.ASCII):
        raise InputError(f"image {image!r}; expected a reference such as {DEFAULT_IMAGE}")
    most = choices.replicas * 4 if choices.max_replicas is None else choices.max_replicas
    if not 1 <= choices.replicas <= most:
        raise InputError(
            f"replicas {choices.replicas} to {most}; expected at least 1, and no more than the most"
        )
    filled = dataclasses.replace(
        choices, name=name, image=image, max_replicas=most, batching=_batching(choices, loaded)
    )
    return Plan(folder, policy, loaded, labels, filled)


def parse_labels(text: str) -> dict[str, int]:
    """Reads `stable:1,canary:2`.

    Returns:
        Label -> version.

    Raises:
        InputError: It is not of this form, or names a label twice.

    Example:
        >>> parse_labels("stable:1,canary:2")
        {'stable': 1, 'canary': 2}
    """
    labels: dict[str, int] = {}
    for part in text.split(",") if text else []:
        label, _, version = part.partition(":")
        if not (_LABEL.fullmatch(label) and version.isascii() and version.isdigit()):
            raise InputError(f"label {part!r}; expected a name and a version, such as stable:1,canary:2")
        if label in labels:
            raise InputError(
                f"label {label} is given to versions {labels[label]} and {version}; give it to one"
            )
        labels[label] = int(version)
    return labels


def _policy(versions: str | None, labels: Mapping[str, int]) -> VersionPolicy:
    if versions is not None:
        return VersionPolicy.parse(versions)
    # With labels the operator chooses: tomorrow's newest version would push a labelled one out.
    return VersionPolicy(specific=tuple(sorted(set(labels.values())))) if labels else VersionPolicy()


def _check_for_gpu(loaded: Iterable[ExportedVersion]) -> None:
    for version in loaded:
        if version.precision == "int8":
            raise InputError(
                f"gpu: version {version.number} is in 8 bits, which only CPUs compute; leave --gpu out, or "
                "export the model with --precision=float32"
            )


def _batching(choices: Choices, loaded: Iterable[ExportedVersion]) -> bool:
    can_batch = all(version.has_fixed_rank() for version in loaded)
    if choices.batching and not can_batch:
        raise InputError(
            "batching: the model takes lists of different lengths for a row, which the server cannot join; "
            "leave batching off and let clients send batches"
        )
    return (choices.gpu and can_batch) if choices.batching is None else choices.batching


def _checked_name(what: str, name: str, pattern: re.Pattern) -> str:
    if not pattern.fullmatch(name):
        first = "a letter" if pattern is _SERVICE else "a letter or a digit"
        raise InputError(
            f"{what} {name!r}: Kubernetes takes 1 to 63 of a-z, 0-9 and '-', {first} first and no '-' last; "
            f"give --{what}"
        )
    return name


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
