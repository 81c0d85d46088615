"""Exit codes and error lines of a script, tried on a tiny one."""

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = '''
"""A script to try."""
import errno, subprocess, sys, time
from absl import flags
from kbert import entry
from kbert.errors import InputError

DEEDS = ["nothing", "refuse", "open", "break", "system", "diverge", "fill", "exceed", "outgrow", "wait",
         "start", "tell", "backend"]
flags.DEFINE_enum("do", "nothing", DEEDS, "What happens.")
flags.DEFINE_integer("count", 1, "How often.", lower_bound=1)
flags.DEFINE_string("input", None, "A file.", required=True)

def main():
    do = flags.FLAGS.do
    if do == "refuse":
        raise InputError("train.tsv:7: 2 columns came;\\n  3 were expected")
    if do == "open":
        open(flags.FLAGS.input)
    if do == "system":
        raise OSError("the socket is gone")
    if do == "fill":
        raise OSError(errno.ENOSPC, "No space left on device")
    if do == "exceed":
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    if do == "outgrow":
        raise OSError(errno.EFBIG, "File too large")
    if do == "diverge":
        raise FloatingPointError("the loss is nan at step 7")
    if do == "break":
        raise RuntimeError("a defect")
    if do == "tell":
        print(flags.FLAGS.input)
    if do == "backend":
        import os
        print(os.environ["KERAS_BACKEND"])
    if do == "start":
        subprocess.run([sys.executable, __file__, "--input=x", "--do=refuse"], check=True)
    if do == "wait":
        print("waiting", flush=True)
        time.sleep(60)
    print("done", flags.FLAGS.count)

if __name__ == "__main__":
    entry.run(main)
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "try_me.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return [sys.executable, str(path)]


def run(script, *arguments, **environment):
    done = subprocess.run(
        [*script, *arguments], capture_output=True, text=True, timeout=60, env=os.environ | environment
    )
    return done.returncode, done.stdout, done.stderr


def test_a_script_that_ends_well(script):
    assert run(script, "--input=x", "--count=3") == (0, "done 3\n", "")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--input=x", "--do=refuse"], "error: train.tsv:7: 2 columns came; 3 were expected"),
        (["--input=absent.txt", "--do=open"], "error: absent.txt: No such file or directory"),
        (["--input=x", "--do=fill"], "error: what was to be written: No space left on device"),
        (["--input=x", "--do=exceed"], "error: what was to be written: Disk quota exceeded"),
        (["--input=x", "--do=outgrow"], "error: what was to be written: File too large"),
        (["--input=x", "--colour=red"], "error: Unknown command line flag 'colour'"),
        (["--input=x", "--count=0"], "error: flag --count=0: 0 is not a positive integer"),
        (["--input=x", "--count=many"], "error: flag --count=many: invalid literal"),
        (["--input=x", "--do=fly"], "error: flag --do=fly: value should be one of"),
        ([], "error: flag --input=None: Flag --input must have a value other than None"),
        (["--input=x", "stray"], "error: unexpected argument 'stray'"),
    ],
    ids="refused file disk quota size flag range type choice required argument".split(),
)
def test_wrong_input_is_one_line_and_exit_code_2(script, arguments, message):
    code, output, errors = run(script, *arguments)
    assert (code, output) == (2, "")
    assert errors.startswith(message)
    assert errors.count("\n") == 1 and errors.endswith("\n")


@pytest.mark.parametrize("do, name", [("break", "RuntimeError: a defect"), ("system", "OSError: the socket")])
def test_a_defect_keeps_its_traceback(script, do, name):
    code, _, errors = run(script, "--input=x", f"--do={do}")
    assert code == 1
    assert "Traceback" in errors and name in errors


def test_a_lost_run_is_one_line_and_exit_code_1(script):
    assert run(script, "--input=x", "--do=diverge") == (1, "", "error: the loss is nan at step 7\n")


def test_what_a_process_has_told_is_not_followed_by_a_traceback(script):
    code, output, errors = run(script, "--input=x", "--do=start")
    assert (code, output) == (2, "")
    refused, ended = errors.splitlines()
    assert refused.startswith("error: train.tsv:7") and ended == f"error: {script[1]} ended with code 2"


def test_a_text_that_the_terminal_has_no_letters_for_is_one_line(script):
    code, output, errors = run(script, "--input=模型", "--do=tell", PYTHONIOENCODING="ascii:strict")
    assert (code, output) == (2, "")
    told = r"error: \u6a21\u578b: cannot be written in ascii; set PYTHONUTF8=1, and name paths in UTF-8"
    assert errors.splitlines() == [told]


def test_a_path_that_is_no_utf_8_is_one_line(script):
    code, output, errors = run(script, b"--input=\xe9", "--do=tell", PYTHONIOENCODING="utf-8:strict")
    assert (code, output) == (2, "")
    assert errors.startswith(r"error: \udce9: cannot be written in utf-8;") and errors.count("\n") == 1


def test_the_backend_of_other_work_does_no_harm(script):
    assert run(script, "--input=x", "--do=backend", KERAS_BACKEND="torch")[1].startswith("tensorflow\n")


def test_an_interrupt_ends_quietly(script):
    with subprocess.Popen(
        [*script, "--input=x", "--do=wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background of a shell, the child would inherit that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "interrupted\n")


def test_help_names_the_flags(script):
    code, output, _ = run(script, "--help")
    assert "--count" in output and "How often." in output
    assert code in (0, 1)  # absl's own choice
