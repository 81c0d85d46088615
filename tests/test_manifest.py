import importlib.metadata
import json

from kbert.manifest import write_manifest


def test_a_package_that_is_not_installed_has_no_version(tmp_path, monkeypatch):
    version = importlib.metadata.version

    def without_text(package):
        if package == "tensorflow-text":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(importlib.metadata, "version", without_text)
    write_manifest(tmp_path, command="finetune.py", flags={"seed": 3}, metrics={"f1": 0.5}, seconds=1.23)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["versions"]["tensorflow-text"] is None
    assert manifest["versions"]["numpy"] == version("numpy")
    assert (manifest["flags"], manifest["seconds"]) == ({"seed": 3}, 1.2)
