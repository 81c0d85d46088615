"""benchmarks/children.py: a script that is started may save when the benchmark is stopped."""

import os
import signal
import subprocess
import sys

import pytest

CHILD = """
import signal, sys, time
def save(*_):
    time.sleep(0.5)  # Longer than `subprocess.run` would wait.
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
print("training", flush=True)
time.sleep(60)
"""
PARENT = f"""
import signal, sys
import children
signal.signal(signal.SIGINT, signal.default_int_handler)  # In the background of a shell it would be ignored.
children.run([sys.executable, "-c", {CHILD!r}])
"""


@pytest.mark.parametrize("stop", ["SIGTERM", "Ctrl-C"])
def test_a_child_has_the_time_to_save(stop, load_benchmark):
    folder = load_benchmark("children").__file__.removesuffix("/children.py")
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdout.readline() == "training\n"
        if stop == "SIGTERM":
            parent.terminate()
        else:
            os.killpg(parent.pid, signal.SIGINT)  # As a terminal does.
        output, errors = parent.communicate(timeout=30)
    assert output == "saved\n"
    assert parent.returncode != 0 and errors.splitlines()[-1] == "KeyboardInterrupt"


def test_a_child_that_fails_is_an_error(load_benchmark):
    with pytest.raises(subprocess.CalledProcessError, match="exit status 2"):
        load_benchmark("children").run([sys.executable, "-c", "import sys; sys.exit(2)"])
