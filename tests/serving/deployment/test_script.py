"""make_deployment.py as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.deployment.conftest import by_kind

ROOT = Path(__file__).resolve().parents[3]


def run(*flags):
    return subprocess.run(
        [sys.executable, str(ROOT / "tf_scripts/make_deployment.py"), *map(str, flags)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def refused(*flags):
    done = run(*flags)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.slow
def test_a_folder_that_is_there_is_written_only_when_told(make_described, tmp_path):
    model, output = make_described(1, 2), tmp_path / "deployment"
    (output / "config").mkdir(parents=True)
    for name in ("ssl.config", "batching.config", "models.config"):
        (output / "config" / name).write_text("old")
    flags = [f"--model={model}", f"--output={output}", "--labels=stable:1,canary:2", "--replicas=7"]
    assert "--overwrite" in refused(*flags)
    done = run(*flags, "--overwrite", "--slow_ms=20")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}\n"
    written = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert written == {
        "README.md", "config/models.config", "config/monitoring.config", "config/ssl.config",
        "config/ssl.config.example", "docker-compose.yml", "kubernetes-monitoring.yaml", "kubernetes.yaml",
        "prometheus-alerts.yaml", "tensorflow_serving.protoset", "tls.md",
    }  # fmt: skip
    assert (output / "config/ssl.config").read_text() == "old"  # an operator's own
    assert 'key: "canary" value: 2' in (output / "config/models.config").read_text()
    assert "> 20000\n" in (output / "prometheus-alerts.yaml").read_text()
    found = by_kind((output / "kubernetes.yaml").read_text())
    assert found["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 7


WRONG = {
    "no export": ("--model={tmp}/nowhere --output={tmp}/out", "no such folder"),
    "no version": ("--model={tmp}/full --output={tmp}/out", "no version"),
    "a version": ("--model={model}/1 --output={tmp}/out", "looks like the folder to give"),
    "full folder": ("--model={model} --output={tmp}/full", "there is something in it"),
    "file": ("--model={model} --output={tmp}/full/file", "a file of that name"),
    "half a label": ("--model={model} --output={tmp}/out --labels=stable", "expected a name and a version"),
    "label of no version": ("--model={model} --output={tmp}/out --labels=a:9", "version 9 is not in"),
    "label of another version": (
        "--model={model} --output={tmp}/out --labels=a:1 --versions=latest", "loads 2 only; add 1"
    ),
    "policy": ("--model={model} --output={tmp}/out --versions=newest", "expected latest"),
    "name": ("--model={model} --output={tmp}/out --name=My_Model", "Kubernetes takes"),
    "replicas": ("--model={model} --output={tmp}/out --replicas=0", "replicas"),
    "unknown flag": ("--model={model} --output={tmp}/out --label=a:1", "label"),
    "no output": ("--model={model}", "output"),
}  # fmt: skip


@pytest.mark.slow_after_first
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_one_line_and_nothing_is_written(wrong, make_described, tmp_path):
    flags, message = WRONG[wrong]
    model = make_described(1, 2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    line = refused(*(flag.format(tmp=tmp_path, model=model) for flag in flags.split()))
    assert message in line
    assert sorted(os.listdir(tmp_path)) == ["full", "models"]
    assert os.listdir(tmp_path / "full") == ["file"]
