import gzip
import json
import logging

import pytest

from kbert.data import line_stream
from kbert.data.line_stream import stream_lines
from kbert.errors import InputError

TEXT = "\ufeffOne\u2028line\r\n\n两行\nlast \x0b without end"
LINES = ["One\u2028line".encode(), b"", "两行".encode(), b"last \x0b without end", b""]


def write(path, content):
    path.write_bytes(content)
    return path


def test_only_newlines_end_lines_and_files_end_documents(tmp_path):
    first, second = write(tmp_path / "a", TEXT.encode()), write(tmp_path / "b", b"x\n")
    assert list(stream_lines([first, second])) == [*LINES, b"x", b""]


def test_gzip_is_told_by_content(tmp_path):
    zipped = write(tmp_path / "a.txt", gzip.compress(TEXT.encode()))
    plain = write(tmp_path / "b.gz", TEXT.encode())
    assert list(stream_lines([zipped])) == list(stream_lines([plain])) == LINES


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_json_rows_are_documents(tmp_path, compress):
    rows = [{"text": " One.\n\nTwo 二.\u3000\n"}, {"text": "Three."}]
    content = compress(("\ufeff" + "\n\n".join(json.dumps(row) for row in rows)).encode())
    for name in ("a.jsonl", "b.json.gz"):  # Whether it is gzip is told by its content.
        lines = list(stream_lines([write(tmp_path / name, content)]))
        assert lines == [b"One.", "Two 二.".encode(), b"", b"Three.", b"", b""]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b'{"body": "x"}', "has no text in 'text' .it has: body."),
        (b"{", "is no JSON"),
        (b"\xd6", "is no UTF-8"),
    ],
)
def test_wrong_rows_are_named(row, message, tmp_path):
    path = write(tmp_path / "a.jsonl", b'{"text": "fine"}\n\n' + row)
    with pytest.raises(InputError, match=rf"a\.jsonl:3: {message}"):
        list(stream_lines([path], strict=False))


def test_bytes_that_are_no_utf8_are_named_or_passed_on(tmp_path):
    path = write(tmp_path / "a.txt", b"fine\n\xd6\xd0\n")
    with pytest.raises(InputError, match=r"a\.txt:2: is no UTF-8"):
        list(stream_lines([path]))
    assert list(stream_lines([path], strict=False)) == [b"fine", b"\xd6\xd0", b""]


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:30] + b"xyz" + data[33:]])
def test_a_damaged_gzip_is_refused(tmp_path, damage):
    content = gzip.compress("".join(f"line {i * i}\n" for i in range(999)).encode())
    path = write(tmp_path / "a.gz", damage(content))
    with pytest.raises(InputError, match=r"a\.gz: the gzip breaks off or is damaged"):
        list(stream_lines([path]))


@pytest.mark.parametrize("text", ["ab cd efg hij klmnopqrs tu", "两行文字没有空格的文字", "😀" * 9, "x" * 24])
def test_huge_lines_are_cut_between_words_or_characters(tmp_path, text, monkeypatch):
    monkeypatch.setattr(line_stream, "_MAX_LINE_BYTES", 12)
    path = write(tmp_path / "a.txt", f"{text}\nnext\n".encode())
    *parts, last, end = stream_lines([path])
    assert (last, end) == (b"next", b"") and len(parts) > 1
    assert b"".join(parts).decode() == text and all(len(part) <= 12 for part in parts)
    if "ab" in text:
        assert parts[0] == b"ab cd efg " and b"hij " in parts
    rows = write(tmp_path / "a.jsonl", json.dumps({"text": f"{text}\nnext"}).encode())
    assert list(stream_lines([rows])) == [*parts, b"next", b"", b""]


def test_progress_has_rate_and_time_left(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(line_stream, "_LOG_SECONDS", 0)
    contents = {"a": b"x" * 999_999 + b"\n", "b.jsonl": b'{"text": "%s"}' % (b"x" * 999_988)}
    files = [write(tmp_path / name, content) for name, content in contents.items()]
    with caplog.at_level(logging.INFO, logger="absl"):
        assert len(list(stream_lines(files))) == 5
    assert [record.getMessage().split(" MB,")[0] for record in caplog.records] == [
        "Read 1 of 2",
        "Read 2 of 2",
        "Read 2 of 2",
    ]
    assert "MB/s" in caplog.text and " s left" in caplog.text
