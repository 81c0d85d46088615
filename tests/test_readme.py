"""Every command of the README, run in a folder of its own with smaller numbers."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALLER = {
    "--steps=20000": "--steps=2",
    "--vocab_size=8000": "--vocab_size=500",
    "--task=classification": "--task=classification --epochs=1",
    "python ": f"{sys.executable} ",
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Shell:
    """Runs the README's commands in `folder`; a command that ends in & runs on."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {"8501": free_port(), "8500": free_port()}
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
        self.servers = []

    def run(self, block):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("source "):
                self.command(line)

    def command(self, line):
        for old, new in {**SMALLER, **self.ports}.items():
            line = line.replace(old, new)
        options = dict(shell=True, cwd=self.folder, env=self.environment)
        if line.endswith("&"):
            log = open(self.folder / "server.log", "w", encoding="utf-8")  # noqa: SIM115 - until close()
            self.servers.append((subprocess.Popen("exec " + line[:-1], stderr=log, **options), log))
            self.wait_for_server()
            return ""
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, **options)
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
        self.output = done.stdout
        return done.stdout

    def wait_for_server(self):
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(self.ports["8501"]))) == 0:
                    return
            time.sleep(0.1)
        pytest.fail((self.folder / "server.log").read_text())

    def close(self):
        for server, log in self.servers:
            server.terminate()
            server.wait(timeout=30)
            log.close()


@pytest.mark.slow
@pytest.mark.serving
def test_commands_run_as_written(tmp_path):
    (tmp_path / "tf_scripts").symlink_to(ROOT / "tf_scripts")
    sample = ROOT / "tf_scripts/sample_data"
    rows = (sample / "sentences.train.tsv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "train.tsv").write_text("\n".join(rows[:101]), encoding="utf-8")
    shutil.copy(sample / "sentences.dev.tsv", tmp_path / "dev.tsv")
    texts = [row.split("\t")[2] for row in rows[1:]]
    documents = ["\n".join(texts[i : i + 12]) for i in range(0, len(texts), 12)]
    (tmp_path / "corpus.txt").write_text("\n\n".join(documents), encoding="utf-8")

    own_data, query, pretrain, convert, curl = blocks("bash")
    forms, python = blocks("python")
    shell = Shell(tmp_path)
    try:
        shell.run(pretrain)
        shutil.copytree(tmp_path / "runs/pretrained", tmp_path / "runs/quickstart/pretrained")
        shell.run(own_data)
        shell.run(query)
        assert len(shell.output.splitlines()) == 2 and '"label"' in shell.output
        shell.run(convert)
        shutil.copytree(ROOT / "tests/golden/model_garden/encoder", tmp_path / "bert-model-garden")
        (tmp_path / "forms.py").write_text(forms, encoding="utf-8")
        shell.command("python forms.py")
        (tmp_path / "example.py").write_text(python, encoding="utf-8")
        shell.command("python example.py")
        assert "'label_id'" in shell.output and "(1, 4, 256)" in shell.output
        if shutil.which("curl"):
            shell.run(curl)
            assert '"predictions"' in shell.output and '"truncated"' in shell.output
    finally:
        shell.close()


def test_setup_commands_and_files_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"^make ([a-z]+)$", README, re.MULTILINE)
    assert {"quickstart", "test"} <= set(named) <= set(targets)
    for path in re.findall(r"`((?:kbert|tf_scripts|docs)/\w*)`", README):
        assert (ROOT / path).exists(), path
