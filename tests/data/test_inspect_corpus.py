"""`tf_scripts/inspect_corpus.py`, run as a user runs it."""

import gzip
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "tf_scripts" / "inspect_corpus.py"


def run(*flags):
    command = [sys.executable, str(SCRIPT), *flags]
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    return subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.mark.slow
def test_report_picture_and_warnings(tmp_path, tiny_vocab):
    (tmp_path / "a.txt").write_bytes("The film is good.\nThe film is good.\n\nbad 院\n".encode())
    (tmp_path / "b.txt").write_bytes(gzip.compress("很好。\n\xff".encode() + b"\xff\n"))
    done = run(f"--input={tmp_path}/?.txt", f"--vocab={tiny_vocab}", f"--output_dir={tmp_path}/report")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report/report.json").read_text("utf-8"))
    assert (report["documents"], report["sentences"], report["invalid_utf8"]) == (3, 5, 1)
    assert report["unknown_characters"][0]["character"] in "ÿy院" and report["repeated_share"] == 0.2
    assert [path.rpartition("/")[2] for path in report["files"]] == ["a.txt", "b.txt"]
    for warning in report["warnings"]:
        assert f"WARNING: {warning}" in done.stdout
    assert "documents            3" in done.stdout and "2 times" in done.stdout
    picture = tmp_path / "report/lengths.png"
    assert picture.is_file() == bool(importlib.util.find_spec("matplotlib"))
    assert picture.is_file() or ".[plots]" in done.stderr


@pytest.mark.slow
def test_no_text_is_one_line(tmp_path, tiny_vocab):
    (tmp_path / "a.txt").write_text("\n\n")
    done = run(f"--input={tmp_path}/a.txt", f"--vocab={tiny_vocab}", f"--output_dir={tmp_path}/out")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(errors)) == (2, 1) and "no text" in errors[0]
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_case_is_the_vocabularys_and_the_folder_is_looked_at_first(tmp_path):
    words = [letter * length for letter in "abcdefghij" for length in range(1, 9)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *(word.capitalize() for word in words)]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n")
    (tmp_path / "a.txt").write_text("Aaa bb.\nCcc dd.\n")
    flags = (f"--input={tmp_path}/a.txt", f"--vocab={tmp_path}/vocab.txt")
    done = run(*flags, f"--output_dir={tmp_path}/report")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "report/report.json").read_text("utf-8"))["lowercase"] is False
    assert "lowercase=" not in done.stderr
    done = run(*flags, f"--output_dir={tmp_path}/a.txt/report")
    assert done.returncode == 2 and "cannot be written to (Not a directory)" in done.stderr
