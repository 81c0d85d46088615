"""Multiple choice: where the right one is, in each way of saying so."""

import json

import pytest

from kbert.data import read_choices
from kbert.errors import InputError


def read(tmp_path, *rows, **settings):
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return read_choices(str(path), **settings)


@pytest.mark.parametrize("label, number", [(1, 1), ("1", 1), ("B", 1), ("b", 1), ("南", 1), ("C", 2), (0, 0)])
def test_labels(tmp_path, label, number):
    (row,) = read(tmp_path, {"context": "c", "question": "q", "choices": ["北", "南", "西"], "label": label})
    assert (row.text, row.question, row.choices, row.label) == ("c", "q", ("北", "南", "西"), number)


def test_columns_by_name(tmp_path):
    row = {"story": "c", "text": "t", "choices": ["a", "b"], "gold": 1, "label": 0}
    (found,) = read(tmp_path, row, context_column="story", label_column="gold")
    assert (found.text, found.label) == ("c", 1)
    with pytest.raises(InputError, match="c.jsonl:1: there is no column 'x'; .* set --label_column"):
        read(tmp_path, row, label_column="x")
    del row["choices"]
    with pytest.raises(InputError, match="for the choices .* rename the one with the choices$"):
        read(tmp_path, row)


def test_a_choice_goes_before_its_number(tmp_path):
    (row,) = read(tmp_path, {"question": "1 + 1?", "options": ["3", "1", "2"], "answer": "2"})
    assert (row.text, row.question, row.label) == ("1 + 1?", "", 2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"label": 2}, r"c.jsonl:1: the label is 2; expected 0 to 1, A to B"),
        ({"label": "x"}, "the label is 'x'"),
        ({"label": -1}, "the label is -1"),
        ({"label": None}, "has no label"),
        ({"choices": ["one"]}, "expected a list of 2 texts"),
        ({"choices": "ab"}, "expected a list of 2 texts"),
        ({"question": ""}, "neither 'context' nor 'question'"),
        ({"context": ["a", "b"]}, r"c.jsonl:1: context or question is \['a', 'b'\]; expected a text"),
        ({"question": 5}, "context or question is 5; expected a text"),
    ],
)
def test_bad_rows(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, {"question": "q", "choices": ["a", "b"], "label": 0} | change)


def test_without_labels(tmp_path):
    (row,) = read(tmp_path, {"question": "q", "choices": ["a", "b"]}, labelled=False)
    assert row.label is None


def test_some_rows_may_have_a_passage(tmp_path):
    row = {"question": "q", "choices": ["a", "b"], "label": 0}
    first, second = read(tmp_path, row, row | {"passage": "p"})
    assert (first.text, first.question) == ("q", "")
    assert (second.text, second.question) == ("p", "q")


def test_a_passage_by_another_name_is_not_lost(tmp_path, caplog):
    """As where files of two sources were put together, or a name is misspelt."""
    row = {"question": "q", "choices": ["a", "b"], "label": 0}
    with pytest.raises(InputError, match="c.jsonl:2: has 'passage', the rows before it 'context'; .*same"):
        read(tmp_path, row | {"context": "p"}, row | {"passage": "r"})
    with pytest.raises(InputError, match="c.jsonl:2: has 'passage', the rows before it 'context'"):
        read(
            tmp_path,
            row | {"context": "p", "passage": None},
            row | {"context": None, "passage": "r"},
        )
    read(tmp_path, row | {"context": "p"}, row | {"context": ""}, row)
    assert "1 rows, such as" in caplog.text and "c.jsonl:3, do not say what passage" in caplog.text
    first, second = read(tmp_path, *[row | {"context": text, "article": "x"} for text in ("p", None)])
    assert (first.text, second.text) == ("p", "q")  # What all rows have is something else.
    read(tmp_path, row, row)
    assert caplog.text.count("do not say") == 2


@pytest.mark.parametrize("label", ["", -1, None, "?"])
def test_what_a_test_file_has_in_place_of_a_label(tmp_path, label):
    (row,) = read(tmp_path, {"question": "q", "choices": ["a", "b"], "label": label}, labelled=False)
    assert row.label is None
