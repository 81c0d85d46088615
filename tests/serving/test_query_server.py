import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.scripted_server import ScriptedServer, reply

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tf_scripts" / "query_server.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def query(*flags, **options):
    command = [sys.executable, str(SCRIPT), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, **options)


def answers(*flags, **options):
    done = query(*flags, **options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.strip("\n").split("\n")]


def refused(*flags, code=2, **options):
    done = query(*flags, **options)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    return line, done.stdout


@pytest.mark.serving
def test_typed_answers(server):
    at = [f"--url={server.rest_url}", "--model=k", "--typed"]
    (classified,) = answers(*at, "--text=a nice day")
    assert sorted(classified) == ["label", "label_id", "probabilities", "score", "truncated"]
    first, second = answers(*at, "--signature=tag", "--text=中文 b", "--text=c")
    assert [word["text"] for word in first["words"]][-1] == "b"
    assert [entity["text"] for entity in second["entities"]] == ["c"]
    (found,) = answers(*at, "--signature=answer", "--question=who?", "--context=I", "--version=1")
    assert (found["text"], found["start"]) == ("I", 0)


@pytest.mark.serving
def test_a_wrong_row_is_named_and_the_rows_before_it_are_answered(server, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n\n{"text": "b"}\n{"text": 3}\n{"text": "c"}\n')
    line, stdout = refused(f"--url={server.rest_url}", "--model=k", f"--input={rows}")
    assert f"{rows}:4: " in line and "400" in line
    assert len(stdout.splitlines()) == 2


def test_a_file_of_texts_is_sent_in_batches_and_in_order(tmp_path):
    texts = ["中😀", "", '{"text": "x"}', " b ", "\x85c"]
    (tmp_path / "texts.txt").write_bytes("\r\n".join(texts).encode())
    with ScriptedServer() as server:
        at = [f"--url={server.url}", "--model=m", "--max_batch=2"]
        found = answers(*at, f"--input={tmp_path / 'texts.txt'}")
        assert [answer["echo"] for answer in found] == texts
        assert len(server.requests) == 3
        assert answers(*at, "--input=-", input="\n".join(texts)) == found
        rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        assert answers(*at, "--input=-", "--input_format=jsonl", input=rows) == found


def test_a_byte_order_mark_is_no_part_of_the_first_text():
    with ScriptedServer() as server:
        flags = [f"--url={server.url}", "--model=m", "--input=-"]
        found = answers(*flags, input="\ufeffAngela\n\ufeffMerkel\n")
        assert [answer["echo"] for answer in found] == ["Angela", "\ufeffMerkel"]


def test_answers_come_while_the_input_is_read():
    with ScriptedServer() as server:
        flags = [f"--url={server.url}", "--model=m", "--max_batch=1", "--input=-"]
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        with process:
            for text in ("a", "b"):
                process.stdin.write(f"{text}\n")
                process.stdin.flush()
                assert json.loads(process.stdout.readline())["echo"] == text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b'{"text": "a"}\n{"text": \n', "rows.jsonl:2: Expecting value"),
        ("rows.jsonl", b'{"text": "a"}\n["b"]\n', "rows.jsonl:2: ['b']; expected an object"),
        ("rows.jsonl", b'{"text": "a"}\n{"question": "b"}\n', "rows.jsonl:2: inputs ['question']; the first"),
        ("rows.jsonl", b'{"text": "\\ud83d"}\n', "rows.jsonl:1: row 1 has half a character"),
        ("texts.txt", b"a\nb\xff\n", "texts.txt:2: 'utf-8' codec can't decode"),
    ],
)
def test_a_broken_line_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    line, stdout = refused("--model=m", "--url=http://127.0.0.1:1", f"--input={name}", cwd=tmp_path)
    assert message in line and stdout == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "nothing to ask; give one of --text"),
        (("--text=a", "--input=x"), "--text and --input; give one of"),
        (("--question=a",), "1 questions but 0 passages"),
        (("--context=a", "--text=b"), "--context without --question"),
        (("--input=missing.txt",), "missing.txt: No such file"),
        (("--text=a", "--timeout=0"), "timeout_seconds=0"),
        (("--text=a", "--version=1", "--label=x"), "give one of them"),
    ],
)
def test_wrong_flags(flags, message):
    assert message in refused("--model=m", *flags)[0]


def test_a_server_that_fails_is_no_wrong_input():
    with ScriptedServer(reply("500 Internal Server Error", {"error": "broken"})) as server:
        line, _ = refused(f"--url={server.url}", "--model=m", "--text=a", code=1)
    assert line == f"error: {server.url}/v1/models/m:predict: 500 broken"
