"""Two worker processes on loopback: the same weights as one device, and what happens when one is gone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kbert.errors import InputError
from kbert.training import is_chief, strategy_for
from tests.training import small_run

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "tf_scripts/launch_local.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def launch(folder, *arguments, workers=2, grace=10):
    return subprocess.Popen(
        [sys.executable, str(LAUNCH), f"--workers={workers}", f"--grace_seconds={grace}", "--",
         small_run.__file__, str(folder), "strategy=multi_worker", *arguments],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start_workers(folder, *arguments):
    """Two processes without a launcher, as a scheduler on many machines starts them."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    return [
        subprocess.Popen(
            [sys.executable, small_run.__file__, str(folder), "strategy=multi_worker", *arguments],
            env={**ENVIRONMENT, "TF_CONFIG": json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            )},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for index in range(2)
    ]  # fmt: skip


def wait_for_step(folder, step, processes):
    while (
        not (folder / "metrics.jsonl").exists()
        or f'"step": {step},' not in (folder / "metrics.jsonl").read_text()
    ):
        assert all(process.poll() is None for process in processes), "ended too early"
        time.sleep(0.01)


def final(folder):
    with np.load(folder / "final.npz") as file:
        return [file[name] for name in file.files]


def launch_code(tmp_path, code, *flags, hangup="SIG_DFL"):
    """Starts the launcher with a script of this code; as under nohup where `hangup` is "SIG_IGN"."""
    script = tmp_path / "script.py"
    script.write_text("import json, os, sys, time\n" + code)
    start = (
        f"import os, signal, sys; signal.signal(signal.SIGHUP, signal.{hangup}); "
        f"os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start, str(LAUNCH), *flags, "--", str(script), "--flag=of the script"],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_launcher_gives_each_worker_its_number_and_marks_its_lines(tmp_path):
    code = "print(os.environ['TF_CONFIG'], sys.argv[1:])\nprint('low', file=sys.stderr)"
    out, err = launch_code(tmp_path, code, "--workers=3").communicate(timeout=60)
    configs = {}
    for line in out.splitlines():
        name, _, rest = line.partition("] ")
        assert rest.endswith(" ['--flag=of the script']")
        configs[name] = json.loads(rest.removesuffix(" ['--flag=of the script']"))
    assert sorted(configs) == ["[worker 0", "[worker 1", "[worker 2"]
    assert [configs[f"[worker {i}"]["task"]["index"] for i in range(3)] == [0, 1, 2]
    addresses = configs["[worker 0"]["cluster"]["worker"]
    assert len(set(addresses)) == 3 and all(c["cluster"]["worker"] == addresses for c in configs.values())
    assert sorted(err.splitlines()) == [f"[worker {i}] low" for i in range(3)]


@pytest.mark.parametrize(
    ("last_words", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137), ("pass", 0)]
)
def test_one_that_fails_ends_all_with_its_code(last_words, code, tmp_path):
    """The others sleep for ever; where nobody fails, nobody is ended."""
    index = "json.loads(os.environ['TF_CONFIG'])['task']['index']"
    body = f"if {index} == 1:\n    {last_words}\nelse:\n    time.sleep({1 if code == 0 else 1000})"
    process = launch_code(tmp_path, body, "--workers=3", "--grace_seconds=2")
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert ("worker 1 ended with" in errors) == (code != 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_the_code_comes_back(number, tmp_path):
    """One leaves with a code of its own, the other is deaf and is killed after the grace time."""
    body = (
        "import signal\n"
        "index = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN if index else lambda *_: sys.exit(75))\n"
        "print('ready')\ntime.sleep(1000)"
    )
    process = launch_code(tmp_path, body, "--workers=2", "--grace_seconds=1")
    assert {process.stdout.readline().strip() for _ in range(2)} == {f"[worker {i}] ready" for i in range(2)}
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 75


def test_under_nohup_a_closed_terminal_ends_nobody(tmp_path):
    process = launch_code(tmp_path, "print('ready')\ntime.sleep(1)", "--workers=1", hangup="SIG_IGN")
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_workers_go_on_where_their_lines_cannot_be_written(tmp_path):
    """As with `| head`; a megabyte is more than the pipe between worker and launcher holds."""
    process = launch_code(tmp_path, "print(('x' * 99 + '\\n') * 10_000)\nsys.exit(75)", "--workers=1")
    process.stdout.close()
    try:
        assert process.wait(timeout=60) == 75
    finally:
        process.kill()
        process.stderr.close()


def test_the_launcher_needs_a_script():
    done = subprocess.run([sys.executable, str(LAUNCH)], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 2 and "error: no script; expected" in done.stderr


def test_multi_worker_needs_its_environment(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(InputError, match="no TF_CONFIG.*launch_local"):
        strategy_for("multi_worker")
    assert is_chief()


@pytest.mark.parametrize("name", ["default", "mirrored"])
def test_workers_that_would_train_alone_in_one_folder_are_refused(name, monkeypatch):
    def config(workers):
        return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}})

    monkeypatch.setenv("TF_CONFIG", config(["localhost:1", "localhost:2"]))
    with pytest.raises(InputError, match=f"names 2 workers, but with strategy '{name}'.*=multi_worker"):
        strategy_for(name)
    # What is no JSON TensorFlow itself refuses, but by default it does not look at it.
    for alone in (config(["localhost:1"]), "{}", *(["", "[1]", "x"] if name == "default" else [])):
        monkeypatch.setenv("TF_CONFIG", alone)
        assert strategy_for(name).num_replicas_in_sync


@pytest.mark.slow
def test_two_workers_give_the_weights_of_one_device(tmp_path):
    """Twenty steps; rows whose weights all sit with one worker, or nowhere; and micro-batches as well."""
    options = {"steps_per_epoch": 20, "epochs": 1, "dropout": 0}
    arguments = [f"{name}={value}" for name, value in options.items()]
    one, history = small_run.run(batch_size=16, **options)
    for name, more in {
        "workers": ["batch_size=16"],
        "workers and micro-batches": ["batch_size=4", "accumulate=4"],
    }.items():
        folder = tmp_path / name
        process = launch(folder, *arguments, *more)
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
        for a, b in zip(one, final(folder), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["loss"] == pytest.approx(history[0]["loss"], rel=1e-5)


@pytest.mark.slow
def test_a_killed_worker_ends_the_other_and_both_go_on(tmp_path):
    arguments = ("steps_per_epoch=100", "steps_per_call=2", "every_steps=20")
    whole = launch(tmp_path / "whole", *arguments)
    output = whole.communicate(timeout=300)[0]
    assert whole.returncode == 0, output
    for victim in (1, 0):
        folder = tmp_path / f"without {victim}"
        workers = start_workers(folder, *arguments)
        wait_for_step(folder, 40, workers)
        workers[victim].kill()
        began = time.monotonic()
        message = workers[1 - victim].communicate(timeout=60)[1]
        assert workers[1 - victim].returncode not in (0, None), message
        assert time.monotonic() - began < 60
        workers[victim].communicate()
        again = launch(folder, *arguments)
        output = again.communicate(timeout=300)[0]
        assert again.returncode == 0, output
        for a, b in zip(final(tmp_path / "whole"), final(folder), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_sigterm_to_one_worker_saves_for_all(tmp_path):
    """Whoever hears of it tells the others; both leave with the same code at the same step."""
    workers = start_workers(tmp_path, "steps_per_epoch=100000", "every_steps=1000000")
    wait_for_step(tmp_path, 40, workers)
    workers[1].send_signal(signal.SIGTERM)
    messages = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [75, 75], messages
    assert len(list((tmp_path / "checkpoints").glob("step-*.npz"))) == 1
