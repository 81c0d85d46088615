"""What an exported version says of itself in `assets.extra/kbert.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbert.errors import InputError
from kbert.serving.versions import find_latest_version, find_versions

#: Where `export` writes the description of a version, below its folder.
DESCRIPTION = Path("assets.extra", "kbert.json")


@dataclass(frozen=True)
class ExportedVersion:
    """One version of an export.

    Args:
        number: Its integer name.
        task: What the model does, such as classification.
        weights_bytes: What its weights take in memory, in bytes.
        precision: Of its matrix products: float32, bfloat16 or int8.
        signatures: Signature name -> `inputs` and `outputs`, each name -> `dtype` and `shape`.
        samples: The requests that the export was tested with: dicts of `signature`, `inputs` (name -> a value
            for each row) and `outputs`. Bytes that are no UTF-8 are `{"b64": ...}`.
    """

    number: int
    task: str
    weights_bytes: int
    precision: str
    signatures: Mapping[str, Mapping[str, Any]]
    samples: tuple[Mapping[str, Any], ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs of `serving_default`."""
        return tuple(self.signatures["serving_default"]["inputs"])

    def has_fixed_rank(self) -> bool:
        """Whether all inputs are one string for each row, which batching on the server needs."""
        shapes = [
            spec["shape"] for signature in self.signatures.values() for spec in signature["inputs"].values()
        ]
        return all(len(shape) == 1 for shape in shapes)


def read_versions(folder: str | Path) -> dict[int, Path]:
    """The versions of an export.

    Args:
        folder: Contains one subfolder per version, as `export_model.py` writes them.

    Returns:
        Number -> subfolder, the highest number first; at least one.

    Raises:
        InputError: There is no export.
    """
    find_latest_version(folder)  # for what it says where there is none
    return find_versions(folder)


def read_version(folder: Path) -> ExportedVersion:
    """Reads the description of one version.

    Args:
        folder: The folder of the version.

    Raises:
        InputError: The folder is no version that kbert exported.
    """
    if not (folder / "saved_model.pb").is_file():
        raise InputError(f"{folder}: no saved_model.pb; export the model again or remove this folder")
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{folder}: no {DESCRIPTION} there; give an export that export_model.py made")
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        return ExportedVersion(
            number=int(folder.name),
            task=str(described["task"]["name"]),
            weights_bytes=int(described["weights"]["bytes"]),
            precision=str(described.get("precision", "float32")),
            signatures={
                name: {side: dict(described["signatures"][name][side]) for side in ("inputs", "outputs")}
                for name in sorted(
                    described["signatures"], key=lambda name: (name != "serving_default", name)
                )
            },
            samples=tuple(
                {key: sample[key] for key in ("signature", "inputs")} for sample in described["samples"]
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the description of an export ({type(error).__name__}: {error}); export again"
        ) from error
