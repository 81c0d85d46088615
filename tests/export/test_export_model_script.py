import json
import os
import pathlib
import subprocess
import sys

import pytest

from kbert.checkpoints import save_folder
from tests.export.conftest import LABELS, MAX_LENGTH

pytestmark = pytest.mark.serving

REPOSITORY = pathlib.Path(__file__).parents[2]


def run(*flags):
    return subprocess.run(
        [sys.executable, "tf_scripts/export_model.py", *flags],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


def test_script_exports_a_model_folder(make_model, tokenizer, tmp_path):
    tokenizer.vocab.write(tmp_path / "vocab.txt")
    task = {
        "name": "classification",
        "labels": LABELS,
        "max_length": MAX_LENGTH,
        "pair": False,
        "lowercase": True,
    }
    save_folder(tmp_path / "model", make_model(), task, tmp_path / "vocab.txt")
    process = run(f"--model_dir={tmp_path}/model", f"--export_dir={tmp_path}/served/mine", "--max_length=24")
    assert process.returncode == 0, process.stderr
    version = tmp_path / "served" / "mine" / "1"
    assert process.stdout == f"{version}\n"
    description = json.loads((version / "assets.extra" / "kbert.json").read_text())
    assert description["task"]["max_length"] == 24
    last = process.stderr.strip().splitlines()[-3:]
    assert f"serve.py --model={version.parent}" in last[0]
    assert (
        f"tensorflow_model_server --rest_api_port=8501 --model_name=mine --model_base_path={version.parent}"
        in last[2]
    )


def test_script_refuses_what_is_no_model(tmp_path):
    process = run(f"--model_dir={tmp_path}/nowhere", f"--export_dir={tmp_path}/out")
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert "nowhere" in process.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
