"""serve.py and query_server.py as a user runs them: two processes, signals, exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.serving
ROOT = Path(__file__).parents[2]
# The scripts must find kbert where it is not installed, too.
OPTIONS = {"text": True, "cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}


def command(script, *flags):
    return [sys.executable, str(ROOT / "tf_scripts" / script), *flags]


def run(script, *flags):
    return subprocess.run(command(script, *flags), capture_output=True, timeout=120, **OPTIONS)


def refused(finished):
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def served(tiny_export):
    """A running serve.py and its ready line; stopped by SIGTERM at the end of the module."""
    flags = [f"--model={tiny_export}", "--rest_port=0", "--grpc_port=0"]
    process = subprocess.Popen(command("serve.py", *flags), stderr=subprocess.PIPE, **OPTIONS)
    try:
        for line in process.stderr:
            if "serving k" in line:
                break
        yield process, line
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
def test_the_whole_life_of_a_server(served):
    process, ready = served
    found = re.search(
        r"serving k version 1 at (http://127.0.0.1:\d+)/v1/models/k:predict and grpc (\S+)$", ready
    )
    assert found, ready
    url, address = found.groups()

    asked = run("query_server.py", f"--url={url}", "--model=k", "--text=a nice day", "--text=ünï")
    assert asked.returncode == 0, asked.stderr
    over_rest = [json.loads(line) for line in asked.stdout.splitlines()]
    assert [answer["num_tokens"] for answer in over_rest] == [12, 7]

    asked = run("query_server.py", f"--url=grpc://{address}", "--model=k", "--text=a nice day")
    assert json.loads(asked.stdout)["label"] == over_rest[0]["label"]

    line = refused(run("query_server.py", f"--url={url}", "--model=none", "--text=a"))
    assert "404 Servable not found for request: Latest(none)" in line

    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    assert process.wait(timeout=30) == 0, rest
    assert rest.splitlines()[-1].endswith("stopped")
    assert "Traceback" not in rest
    assert "no answer" in refused(run("query_server.py", f"--url={url}", "--model=k", "--text=a"))


def test_a_folder_without_versions(tmp_path):
    assert "no version" in refused(run("serve.py", f"--model={tmp_path}"))


def test_a_file_of_authorities_that_is_missing(tiny_export, certificate):
    files = [f"--ssl_cert={certificate}/cert.pem", f"--ssl_key={certificate}/key.pem"]
    line = refused(run("serve.py", f"--model={tiny_export}", *files, "--ssl_client_ca=missing.pem"))
    assert line == "error: missing.pem: No such file or directory"


@pytest.mark.slow
def test_a_configuration_file_and_labels_that_make_no_sense(tmp_path, tiny_export):
    (tmp_path / "models.config").write_text("model_config_list { config { nane: 'k' } }")
    line = refused(run("serve.py", f"--model_config_file={tmp_path / 'models.config'}"))
    assert "models.config" in line and "nane" in line
    finished = run("serve.py", f"--model={tiny_export}", "--labels=stable:7", "--rest_port=0")
    assert finished.returncode == 2
    assert "assign label to version 7 of model k" in finished.stderr.splitlines()[-1]


def test_wrong_flags_are_refused_without_loading_tensorflow():
    assert "--text" in refused(run("query_server.py", "--model=k"))
    assert "--model" in refused(run("serve.py"))
    assert "one of them" in refused(run("serve.py", "--model=x", "--model_config_file=y"))
    assert "rest_port" in refused(run("serve.py", "--model=x", "--rest_port=65536"))
    assert "'stable' is no label:version" in refused(run("serve.py", "--model=x", "--labels=stable"))


def test_the_client_needs_no_tensorflow():
    heavy = {"tensorflow", "grpc", "numpy"}
    program = f"import sys, kbert.serving; sys.exit(len({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, **OPTIONS).returncode == 0
