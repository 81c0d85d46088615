"""64 clients at once: none is turned away, and the server's memory stays where it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.serving
def test_sixty_four_clients_for_a_while(tiny_export, tmp_path):
    if not os.path.isdir("/proc/self"):
        pytest.skip("memory is read from /proc, which this system does not have")
    (tmp_path / "texts.txt").write_text("".join(f"text {'x' * n}\n" for n in range(99)), encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks/serving_load.py"), f"--model={tiny_export}"]
    command += [f"--text={tmp_path}/texts.txt", "--clients=64", "--seconds=12"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["errors"] == 0 and figures["clients"] == 64
    assert figures["requests"] > 640
    assert figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] < 20_000
    memory = figures["resident_mib"]
    assert memory["end"] - memory["middle"] < 20, memory
