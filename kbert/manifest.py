"""`manifest.json`: what was run, with what, and what came out, beside every model."""

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from kbert.version import __version__
from kbert.whole_files import write_whole

_PACKAGES = ("tensorflow", "tensorflow-text", "keras", "numpy")


def write_manifest(
    folder: str | os.PathLike, *, command: str, flags: dict[str, Any], metrics: dict[str, Any], seconds: float
) -> None:
    """Writes `manifest.json` into a model folder.

    Args:
        folder: Exists.
        command: Name of the script.
        flags: All its flags by name, defaults included; the seed among them.
        metrics: What was measured.
        seconds: Wall-clock time of the run.
    """
    manifest = {
        "command": command,
        "flags": flags,
        "metrics": metrics,
        "seconds": round(seconds, 1),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {
            "kbert": __version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "git_commit": _git_commit(),
    }
    write_whole(Path(folder) / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def _version(package: str) -> str | None:
    """The version that is installed; None where none is, as training does without tensorflow-text."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the source tree that kbert runs from, `+` behind it where files are changed."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "-C", here, "describe", "--always", "--abbrev=40", "--dirty=+"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):  # No git: the version says enough.
        return None
    return commit.stdout.strip() or None
