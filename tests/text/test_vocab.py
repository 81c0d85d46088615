import pytest

from kbert.errors import InputError
from kbert.text import Vocab

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_line_numbers_are_ids(tmp_path):
    path = write(tmp_path / "vocab.txt", "[PAD]\nx\n[MASK]\n[UNK]\n[SEP]\n##x\n[CLS]\n")
    vocab = Vocab.read(path)
    assert vocab.tokens == ("[PAD]", "x", "[MASK]", "[UNK]", "[SEP]", "##x", "[CLS]")
    assert [vocab.id(token) for token in vocab.tokens] == list(range(len(vocab)))
    assert (vocab.pad_id, vocab.unk_id, vocab.cls_id, vocab.sep_id, vocab.mask_id) == (0, 3, 6, 4, 2)
    assert sorted(vocab.special_ids) == [0, 2, 3, 4, 6]
    assert "##x" in vocab and "y" not in vocab


def test_only_newlines_end_a_line(tmp_path):
    odd = ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\u3000"]
    vocab = Vocab.read(write(tmp_path / "vocab.txt", "\n".join([*SPECIALS, *odd, "last"])))
    assert vocab.tokens == (*SPECIALS, *odd, "last")


def test_windows_line_ends_and_byte_order_mark_are_no_part_of_tokens(tmp_path):
    vocab = Vocab.read(write(tmp_path / "vocab.txt", "\ufeff" + "\r\n".join([*SPECIALS, "x", ""])))
    assert vocab.tokens == (*SPECIALS, "x")


def test_empty_lines_at_the_end_and_blanks_around_pieces_are_dropped(tmp_path):
    lines = [*SPECIALS, " x", "##y\t ", "\u3000", "", " ", "\r", ""]
    assert Vocab.read(write(tmp_path / "vocab.txt", "\n".join(lines))).tokens == (
        *SPECIALS,
        "x",
        "##y",
        "\u3000",
    )


def test_write_is_undone_by_read_and_leaves_nothing_else(tmp_path):
    vocab = Vocab([*SPECIALS, "\u2028", "é", "##中"])
    vocab.write(tmp_path / "vocab.txt")
    assert Vocab.read(tmp_path / "vocab.txt").tokens == vocab.tokens
    assert [path.name for path in tmp_path.iterdir()] == ["vocab.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "vocab.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        Vocab.write(type("Broken", (), {"tokens": ["\ud800"]})(), path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("vocab.txt", "old")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*SPECIALS, "x", "", "y"], r"vocab\.txt:7: .*empty.*\[unused900\]"),
        ([*SPECIALS, "x", " \t", "y"], r"vocab\.txt:7: .*empty"),
        ([*SPECIALS, "x", "y", "x"], r"vocab\.txt:8: 'x' is on line 6.*\[unused900\] on line 6"),
        ([*SPECIALS, "x", "y", "x "], r"vocab\.txt:8: 'x' is on line 6"),
        ([*SPECIALS, "x\t-3.2"], r"vocab\.txt:6: .*tab.*cut -f1"),
        (["\r".join(SPECIALS)], r"vocab\.txt:1: .*carriage return"),
        (["<s>", "<pad>", "</s>", "<unk>", "x"], r"missing.*another kind of model"),
        (SPECIALS[:4], r"vocab\.txt: \[MASK\] missing.*\[unusedN\].*resize_vocab"),
        ([*SPECIALS, "é" * 129], r"vocab\.txt:6: .*256 bytes"),
        (["[PAD]", "[UNK]", "[SEP]", "x"], r"vocab\.txt: \[CLS\], \[MASK\] missing"),
        ([], r"vocab\.txt: \[PAD\], "),
        ([*SPECIALS, "ing", "▁the", "▁a"], r"vocab\.txt:7: 2 entries begin with ▁, as SentencePiece"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path, lines, message):
    path = write(tmp_path / "vocab.txt", "".join(line + "\n" for line in lines))
    with pytest.raises(InputError, match=message):
        Vocab.read(path)


def test_a_file_that_is_no_utf8_or_not_there_is_refused(tmp_path):
    path = write(tmp_path / "vocab.txt", b"[PAD]\n[UNK]\n\xd6\xd0\n")
    with pytest.raises(InputError, match=r"vocab\.txt:3: is no UTF-8"):
        Vocab.read(path)
    with pytest.raises(InputError, match=r"none\.txt: cannot be read"):
        Vocab.read(tmp_path / "none.txt")


def test_an_unknown_token_has_no_id():
    with pytest.raises(InputError, match="'x' is none of the 5"):
        Vocab(SPECIALS).id("x")


@pytest.mark.golden
@pytest.mark.parametrize(("name", "size"), [("uncased", 30522), ("cased", 28996), ("chinese", 21128)])
def test_googles_vocabularies_have_their_published_sizes(shared, name, size):
    vocab = Vocab.read(shared / "data" / "vocab" / f"bert-base-{name}.txt")
    assert (len(vocab), vocab.pad_id, vocab.unk_id) == (size, 0, 100)
    assert [vocab.cls_id, vocab.sep_id, vocab.mask_id] == [101, 102, 103]
