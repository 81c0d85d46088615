"""`tf_scripts/build_vocab.py`, run as a user runs it."""

import os
import pathlib
import subprocess
import sys

import pytest

from kbert.text import Vocab, train_vocab

SCRIPT = pathlib.Path(__file__).parents[2] / "tf_scripts" / "build_vocab.py"


def build_vocab(*flags):
    command = [sys.executable, str(SCRIPT), *flags]
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_files_globs_and_commas_are_read_once(tmp_path):
    texts = {"a.txt": "low lower\nlowest\n", "b.txt": "Slow slower, café\n", "c.text": "low\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    output = tmp_path / "new" / "vocab.txt"
    result = build_vocab(
        f"--input={tmp_path}/*.txt,{tmp_path}/a.txt",
        f"--input={tmp_path}/c.text",
        "--vocab_size=40",
        f"--output={output}",
    )
    assert result.returncode == 0, result.stderr
    expected = train_vocab("".join(texts.values()).split("\n"), 40)
    assert Vocab.read(output).tokens == expected.tokens
    assert f"Wrote {len(expected)} word pieces to {output}" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file is named"),
        (b"\n \n", "in.txt: holds no text"),
        ("好\n".encode() + "中文\n".encode("gbk"), "in.txt:2: is no UTF-8"),
    ],
)
def test_wrong_input_is_one_line_and_no_file(tmp_path, content, message):
    if content is not None:
        (tmp_path / "in.txt").write_bytes(content)
    result = build_vocab(f"--input={tmp_path}/in.txt", f"--output={tmp_path}/vocab.txt")
    assert (result.returncode, result.stderr.count("error:")) == (2, 1)
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "vocab.txt").exists()
