"""Starts scripts as processes that have TensorFlow imported already, which is most of what a short one does.

Run as a program, `python -m tests.forked_scripts`, this file reads a line of JSON for each script to start:
its arguments, and the files of its output. It answers with the exit code.
"""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class ForkedScripts:
    """Runs scripts of tf_scripts/ one after the other, each in a process of its own, forked from one.

    What a script does before it imports TensorFlow, such as setting variables for it, has no effect.

    Args:
        folder: For the output of each.
    """

    def __init__(self, folder):
        self._files = [folder / "stdout", folder / "stderr"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked_scripts"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def run(self, script, *flags):
        """As `subprocess.run`: with the exit code, stdout and stderr as text."""
        arguments = [str(ROOT / "tf_scripts" / script), *map(str, flags)]
        self._process.stdin.write(json.dumps([arguments, *map(str, self._files)]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        outputs = [path.read_text(encoding="utf-8") for path in self._files]
        return subprocess.CompletedProcess(arguments, code, *outputs)

    def end(self):
        self._process.communicate(timeout=60)


def _become(arguments, stdout, stderr):
    """The script itself, in this process."""
    for stream, path in ((sys.stdout, stdout), (sys.stderr, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    sys.argv = arguments
    sys.path[0] = str(Path(arguments[0]).parent)
    runpy.run_path(arguments[0], run_name="__main__")


def _serve():
    from kbert import entry

    entry.quieten_tensorflow()
    # No operation may run here: the threads that TensorFlow starts for the first would not live on in a fork.
    import kbert.fine_tuning
    import kbert.tasks  # noqa: F401

    for line in sys.stdin:
        process = os.fork()
        if not process:
            return _become(*json.loads(line))
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
