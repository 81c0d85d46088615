"""Columns and spans become words with tags, and keep their places in the text."""

import json

import pytest

from kbert.data import convert_tags, read_conll, read_entities
from kbert.data.tagging_readers import split_words
from kbert.errors import InputError
from kbert.tag_schemes import entities_of, faulty_tags, find_scheme


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def words(row):
    return [row.text[begin:end] for begin, end in row.words]


def test_conll_columns(tmp_path):
    lines = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n\nLondon NNP I-NP I-LOC\n"
    path = write(tmp_path / "c.txt", lines)
    first, second = read_conll(path)
    assert (first.text, words(first), first.tags) == ("EU rejects", ["EU", "rejects"], ("I-ORG", "O"))
    assert (first.source, second.source) == (f"{path}:3", f"{path}:7")
    assert read_conll(path, tag_column=1)[0].tags == ("NNP", "VBZ")
    assert [row.tags for row in convert_tags([first, second])] == [("B-ORG", "O"), ("B-LOC",)]
    assert convert_tags([first], "BIOES")[0].tags == ("S-ORG", "O")


def test_of_conllu_words_alone_are_read(tmp_path):
    empty = "\t_" * 6
    lines = [
        "# newdoc", "# text = vámonos", f"1-2\tvámonos\t_\t_{empty}", f"1\tvamos\tir\tVERB{empty}",
        f"2\tnos\tnos\tPRON{empty}", f"2.1\tya\tya\tADV{empty}", "", "# text = #", f"1\t#\t#\tSYM{empty}",
    ]  # fmt: skip
    path = tmp_path / "a.conllu"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    texts = read_conll(str(path), word_column=1, tag_column=3)
    assert [(text.text, text.tags) for text in texts] == [("vamos nos", ("VERB", "PRON")), ("#", ("SYM",))]
    other = path.rename(tmp_path / "a.txt")
    with pytest.raises(InputError, match="a.txt:1: .*; call a file with comments FILE.conllu"):
        read_conll(str(other), word_column=1, tag_column=3)


def test_one_character_a_line(tmp_path):
    path = write(tmp_path / "c.txt", "北\tB-LOC\n京\tI-LOC\n\u3000\tO\nA\tO\n\u2028\tO\n\n好\tO")
    first, second = read_conll(path)
    assert (first.text, words(first)) == ("北京\u3000A\u2028", ["北", "京", "\u3000", "A", "\u2028"])
    assert second.tags == ("O",)


def test_spaces_around_a_tag_are_none_of_it(tmp_path):
    (row,) = read_conll(write(tmp_path / "c.txt", "New\t B-LOC\n \tO\nYork\tI-LOC \n"))
    assert row.tags == ("B-LOC", "O", "I-LOC") and row.text == "New   York"


def test_windows_lines_and_byte_order_mark(tmp_path):
    (tmp_path / "c.txt").write_bytes("\ufeffgood A\r\nfilm N\r\n\r\n".encode())
    (row,) = read_conll(str(tmp_path / "c.txt"))
    assert (row.text, row.tags) == ("good film", ("A", "N"))


@pytest.mark.parametrize(
    "text, settings, message",
    [
        ("a O\nb\n", {}, r"c.txt:2: 1 columns \('b'\); expected 2"),
        ("a O\nb x O\n", {}, "c.txt:2: 3 columns"),
        ("a\nb\n", {}, "c.txt:1: 1 columns"),
        ("a O\n", {"tag_column": 2}, "c.txt:1: 2 columns.*a tag in 2"),
        ("a\tO\nb\t\n", {}, r"c.txt:2: 2 columns \('b\\t'\); expected 2, .* and a tag in -1"),
        ("\n-DOCSTART- O\n", {}, "has no words"),
    ],
)
def test_bad_columns(tmp_path, text, settings, message):
    with pytest.raises(InputError, match=message):
        read_conll(write(tmp_path / "c.txt", text), **settings)
    with pytest.raises(InputError, match="No such file"):
        read_conll(str(tmp_path / "none"))


def test_spans_of_characters(tmp_path, caplog):
    rows = [
        {"text": "Im  Café in New York.", "entities": [{"start": 12, "end": 20, "type": "LOC"}]},
        {"text": "我在北京", "label": [[2, 4, "LOC"], [0, 1, "PER"]]},
        {"text": "nothing", "entities": []},
    ]
    path = write(tmp_path / "e.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows[::2]))
    english, nothing = read_entities(path)
    assert words(english) == ["Im", "Café", "in", "New", "York", "."]
    assert english.tags == ("O", "O", "O", "B-LOC", "I-LOC", "O")
    assert nothing.tags == ("O",)
    (chinese,) = read_entities(write(tmp_path / "z.jsonl", json.dumps(rows[1])))
    assert chinese.tags == ("B-PER", "O", "B-LOC", "I-LOC")
    assert not caplog.text
    inside = {"text": "Newyork", "spans": [{"start": 3, "end": 7, "label": "LOC"}]}
    (widened,) = read_entities(write(tmp_path / "w.jsonl", json.dumps(inside)))
    assert widened.tags == ("B-LOC",) and "1 entities begin or end within a word" in caplog.text


@pytest.mark.parametrize(
    "entity",
    [[0, 9, "X"], [3, 2, "X"], [-1, 2, "X"], [0, 2], "x", [2, 3, "X"], {"start": 0, "end": 2, "type": None}]
    + [{"start": 0, "end": 2, "type": "X", "text": "cd"}],
)
def test_spans_that_are_none(tmp_path, entity):
    with pytest.raises(InputError, match="e.jsonl:1: entity .* which has 5 characters"):
        read_entities(write(tmp_path / "e.jsonl", json.dumps({"text": "ab cd", "entities": [entity]})))


@pytest.mark.parametrize("entities", ["LOC", {"start": 0, "end": 2, "type": "X"}, 5, {}])
def test_spans_that_are_in_no_list(tmp_path, entities):
    with pytest.raises(InputError, match="e.jsonl:1: the entities are .*; expected a list of objects"):
        read_entities(write(tmp_path / "e.jsonl", json.dumps({"text": "ab cd", "entities": entities})))


def test_rows_that_do_not_say_what_entities_they_have(tmp_path, caplog):
    """Both may mean that there are none; or the name is misspelt."""
    rows = ['"entities": []', '"entitles": [[0, 2, "X"]]', '"entities": null']
    lines = "\n".join(f'{{"text": "ab", {row}}}' for row in rows)
    read = read_entities(write(tmp_path / "e.jsonl", lines))
    assert [row.tags for row in read] == [("O",)] * 3
    assert "e.jsonl: 2 rows, such as" in caplog.text and "e.jsonl:2, do not say what entities" in caplog.text


def test_overlapping_spans(tmp_path):
    row = {"text": "ab cd", "entities": [[0, 5, "X"], [3, 5, "Y"]]}
    with pytest.raises(InputError, match="'cd' shares a word"):
        read_entities(write(tmp_path / "e.jsonl", json.dumps(row)))


def test_words_keep_their_marks():
    text = "नमस्ते e\u0301te\u0301 $5_x 𠀀a"
    assert [text[begin:end] for begin, end in split_words(text)] == [
        *("नमस्ते", "e\u0301te\u0301", "$", "5", "_", "x", "𠀀", "a")
    ]


@pytest.mark.parametrize(
    "name, scheme, rows, entities",
    [("conll2003/dev.txt", "IOB1", 3250, None), ("peoples-daily-ner/dev.txt", "BIO", 1989, None)],
)
def test_the_benchmarks_files(shared, name, scheme, rows, entities):
    texts = read_conll(str(shared / "data" / name))
    assert len(texts) == rows and find_scheme(text.tags for text in texts) == scheme
    for before, after in zip(texts, convert_tags(texts, "BIOES"), strict=True):
        assert not faulty_tags(after.tags, "BIOES")
        assert entities_of(before.tags) == entities_of(after.tags)
    assert (" " in texts[0].text or len(texts[0].words) == 1) == (scheme == "IOB1")
