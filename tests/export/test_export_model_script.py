import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from kbert.checkpoints import save_folder
from kbert.export import export
from tests.export.conftest import LABELS, MAX_LENGTH

pytestmark = pytest.mark.serving

REPOSITORY = pathlib.Path(__file__).parents[2]


#: Runs the script, but the process of the self-test is killed.
KILLED = """
import runpy
from kbert.export import saved_model
def verify(*_):
    raise saved_model.SelfTestError("the self-test failed, exit code -9, at: answers\\n  of a batch")
saved_model.verify = verify
runpy.run_path("tf_scripts/export_model.py", run_name="__main__")
"""


@pytest.fixture
def model_folder(make_model, tokenizer, tmp_path):
    tokenizer.vocab.write(tmp_path / "vocab.txt")
    task = {
        "name": "classification",
        "labels": LABELS,
        "max_length": MAX_LENGTH,
        "pair": False,
        "lowercase": True,
    }
    save_folder(tmp_path / "model", make_model(), task, tmp_path / "vocab.txt")
    return tmp_path / "model"


def python(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


def run(*flags, script="export_model.py"):
    return python(f"tf_scripts/{script}", *flags)


@pytest.mark.slow
def test_script_exports_a_model_folder(model_folder, tmp_path):
    process = run(f"--model_dir={model_folder}", f"--export_dir={tmp_path}/served/mine", "--max_length=24")
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


@pytest.mark.slow
def test_a_self_test_that_fails_is_one_line(model_folder, tmp_path):
    process = python("-c", KILLED, f"--model_dir={model_folder}", f"--export_dir={tmp_path}/served")
    assert process.returncode == 1 and "Traceback" not in process.stderr
    told = f"error: {tmp_path}/served: the self-test failed, exit code -9, at: answers of a batch"
    assert process.stderr.splitlines()[-1] == told and not os.listdir(tmp_path / "served")


@pytest.mark.slow
def test_script_refuses_what_is_no_model(tmp_path):
    process = run(f"--model_dir={tmp_path}/nowhere", f"--export_dir={tmp_path}/out")
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert "nowhere" in process.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_script_refuses_a_bucket_before_it_reads_the_model(tmp_path):
    process = run(f"--model_dir={tmp_path}/nowhere", "--export_dir=gs://bucket/mine")
    assert process.returncode == 2 and "Traceback" not in process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith("error: gs://bucket/mine: is an address")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--text_column=review", "--text_column is of --calibration_data, which is not given"),
        ("--pair_column=", "--pair_column is of --calibration_data, which is not given"),
        ("--columns=a,b", "--columns is of --calibration_data, which is not given"),
        ("--precision=int8", "--precision=int8 needs --calibration_data=FILE"),
    ],
)
def test_flags_that_would_do_nothing_are_refused_at_once(flag, said, tmp_path):
    process = run("--model_dir=none", f"--export_dir={tmp_path}/out", flag)
    assert process.returncode == 2 and process.stderr.startswith(f"error: {said}"), process.stderr


@pytest.mark.slow
def test_an_export_is_verified_anywhere_and_a_changed_one_is_found_out(make_module, tmp_path):
    version = export(make_module(), tmp_path / "served")
    moved = shutil.copytree(version, tmp_path / "elsewhere")
    process = run(f"--version={moved}", script="verify_export.py")
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert report["ok"] and report["checks"] == 8 and report["difference"] < 1e-5
    description = moved / "assets.extra" / "kbert.json"
    changed = json.loads(description.read_text())
    changed["samples"][0]["outputs"]["score"][0] += 0.01
    description.write_text(json.dumps(changed))
    process = run(f"--version={moved}", script="verify_export.py")
    assert process.returncode == 1
    assert "at: answers" in process.stderr and "score differs by 0.01" in process.stderr
    process = run(f"--version={tmp_path}", script="verify_export.py")
    assert process.returncode == 2 and "no assets.extra/kbert.json" in process.stderr
