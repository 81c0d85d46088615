"""`tf_scripts/build_vocab.py`, run as a user runs it."""

import gzip
import os
import pathlib
import subprocess
import sys

import pytest

from kbert.text import Vocab, train_vocab

SCRIPT = pathlib.Path(__file__).parents[2] / "tf_scripts" / "build_vocab.py"


def build_vocab(*flags):
    command = [sys.executable, str(SCRIPT), *flags]
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "PYTHONHASHSEED": "7"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_files_globs_and_commas_are_read_once(tmp_path):
    texts = {"a.txt": "low lower\nlowest\n", "b.txt": "Slow slower, café\n", "c.text": "low\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    texts["d.gz"] = "slowest of the slow\n中文\n"
    (tmp_path / "d.gz").write_bytes(gzip.compress(texts["d.gz"].encode()))
    output = tmp_path / "new" / "vocab.txt"
    result = build_vocab(
        f"--input={tmp_path}/*.txt,{tmp_path}/a.txt",
        f"--input={tmp_path}/c.text,{tmp_path}/d.gz",
        "--vocab_size=60",
        "--special_tokens=[PAD],[CLS],[SEP],[UNK],[MASK],[NAME]",
        "--unused=3",
        "--character_coverage=0.99",
        f"--output={output}",
    )
    assert result.returncode == 0, result.stderr
    expected = train_vocab(
        "".join(texts.values()).split("\n"),
        60,
        special_tokens=["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[NAME]"],
        unused=3,
        character_coverage=0.99,
    )
    assert expected.tokens[:5] == ("[PAD]", "[unused0]", "[unused1]", "[unused2]", "[CLS]")
    assert Vocab.read(output).tokens == expected.tokens
    assert f"Wrote {len(expected)} word pieces to {output}" in result.stderr


@pytest.mark.slow
def test_json_lines_may_have_their_text_anywhere(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"content": "low lower"}\n{"content": "lowest"}\n')
    result = build_vocab(
        f"--input={tmp_path}/in.jsonl", "--text_field=content", f"--output={tmp_path}/vocab.txt"
    )
    assert result.returncode == 0, result.stderr
    assert "low" in Vocab.read(tmp_path / "vocab.txt").tokens


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "output", "message"),
    [
        (None, "vocab.txt", "no such file"),
        (b"\n \n", "vocab.txt", "no word of up to 50 characters"),
        ("好\n".encode() + "中文\n".encode("gbk"), "vocab.txt", "in.txt:2: is no UTF-8"),
        (b"\n", "", "is a folder; name a file in it"),  # Told before the text, which has no word, is read.
        (b"\n", "in.txt/vocab.txt", "in.txt: cannot be written to (Not a directory)"),
    ],
)
def test_wrong_input_is_one_line_and_no_file(tmp_path, content, output, message):
    if content is not None:
        (tmp_path / "in.txt").write_bytes(content)
    result = build_vocab(f"--input={tmp_path}/in.txt", f"--output={tmp_path}/{output}")
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert (result.returncode, len(errors)) == (2, 1) and message in errors[0]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "vocab.txt").exists()
