"""serve.py as a process of its own, as users start it, with its log and its memory."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class ServerProcess:
    """A running serve.py that has said where it answers."""

    def __init__(self, process: subprocess.Popen, log: Path):
        self.process, self.log = process, log
        for _ in range(900):
            found = re.search(
                r"serving \S+ version .* at http://([0-9.]+):(\d+)/\S+ and grpc (\S+)", self.told()
            )
            if found:
                break
            assert process.poll() is None, self.told()
            time.sleep(0.1)
        else:
            raise AssertionError(f"no server after 90 seconds: {self.told()}")
        self.host, self.port, self.grpc_address = found[1], int(found[2]), found[3]

    def told(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def megabytes(self, kind: str = "VmRSS") -> float:
        """Its resident memory, in MiB; of the kind VmHWM the most that it ever was."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{kind}:\s+(\d+) kB", status)[1]) / 1024


@contextlib.contextmanager
def server_process(model: Path | None, folder: Path, *flags: str) -> Iterator[ServerProcess]:
    """Serves the versions in `model`, or what `flags` name; the log is written into `folder`."""
    if not os.path.isdir("/proc/self"):
        pytest.skip("memory is read from /proc, which this system does not have")
    log = folder / "log"
    command = [sys.executable, str(ROOT / "tf_scripts/serve.py"), *([f"--model={model}"] if model else [])]
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [*command, "--rest_port=0", "--grpc_port=0", *flags],
            stderr=file,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        yield ServerProcess(process, log)
    finally:
        process.kill()
        process.wait()
