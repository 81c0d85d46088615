"""Each fault is found where it is, counted, and nothing else is."""

import pytest

from kbert.data import (
    Answer,
    Example,
    Question,
    TaggedText,
    answer_faults,
    classification_faults,
    report_faults,
    tagging_faults,
)
from kbert.data.faults import DataFault, fault_table
from kbert.errors import InputError


def rows(*triples, file="t"):
    return [Example(*triple, f"{file}:{number}") for number, triple in enumerate(triples, start=2)]


def table(faults):
    return {fault.kind: (fault.count, fault.places) for fault in faults}


CLEAN = [("a", None, "good"), ("b", None, "good"), ("c", None, "bad"), ("d", None, "bad")]


def test_clean_data_has_no_faults():
    assert classification_faults(rows(*CLEAN), rows(("e", None, "bad"), file="d")) == []
    again = [("a", "x", "1"), ("a", "y", "0"), ("b", "x", "1"), ("c", "x", "0")]
    assert classification_faults(rows(*again)) == []  # The same text with another pair is another row.
    assert classification_faults(rows(*CLEAN, CLEAN[0])) == []


def test_faults_of_classes():
    train = rows(*CLEAN, (" ", None, "good"), ("a ", None, "bad"), ("f", None, "godd"))
    dev = rows(("c", None, "bad"), ("g", None, "ugly"), ("h", "", "good"), file="d")
    assert table(classification_faults(train, dev)) == {
        "empty text": (2, ("t:6", "d:4")),
        "equal texts with different labels": (2, ("t:2 (good)", "t:7 (bad)")),
        "label of one row only (a typo?)": (1, ("t:8 (godd; good?)",)),
        "label of dev that is not in train": (1, ("d:3 (ugly)",)),
        "row of dev that is also in train": (1, ("d:2",)),
    }


def test_three_places_at_most_but_all_are_counted():
    (fault,) = classification_faults(rows(*CLEAN), rows(*CLEAN, file="d"))
    assert (fault.count, fault.places) == (4, ("d:2", "d:3", "d:4"))


def tagged(tags, source, text="x y"):
    return TaggedText(text, ((0, 1), (2, 3)), tuple(tags.split()), source)


def test_faults_of_tags():
    good = [tagged("B-PER I-PER", "t:1"), tagged("B-LOC O", "t:4", "z y"), tagged("B-LOC O", "t:7", "v w")]
    assert tagging_faults(good, [tagged("O O", "d:1", "u u")]) == []
    bad = [*good, tagged("O I-PER", "t:9", "u v"), tagged("B-LOK O", "t:12", "u w")]
    assert table(tagging_faults(bad, [tagged("O O", "d:1")])) == {
        "tag against the rules of BIO": (1, ("t:9, word 2 (I-PER, not B-PER)",)),
        "type of one word only (a typo?)": (1, ("t:12 (LOK; LOC?)",)),
        "text of dev that is also in train": (1, ("d:1",)),
    }
    assert tagging_faults(good, scheme="IOB1")[0].count == 3
    assert tagging_faults([tagged("NN VB", "t:1"), tagged("NN VB", "t:3", "a b")]) == []


def test_faults_of_answers():
    def asked(key, *answers, context="ab cd"):
        return Question(key, f"{key}?", context, answers, True, f"q.json: question {key}")

    right, moved, lost = Answer("ab", 0, 0), Answer("cd", 3, 5), Answer("xy", None, -1)
    assert answer_faults([asked("1", right)], [asked("2", right)]) == []
    found = table(
        answer_faults([asked("1", lost, right), asked("2", lost), asked("3", moved)], [asked("1", right)])
    )
    assert found == {
        "answer that is not in its passage (not trained on)": (
            2,
            ("q.json: question 1 ('xy')", "q.json: question 2 ('xy')"),
        ),
        "answer at another place than the file says (put right)": (
            1,
            ("q.json: question 3 ('cd': 3, not 5)",),
        ),
        "question of train without any answer in its passage (left out)": (1, ("q.json: question 2",)),
        "question of dev that is also in train": (1, ("q.json: question 1",)),
    }
    assert answer_faults([asked("1", right, context="")])[0].kind == "empty question or passage"


def test_report_and_strict(caplog):
    faults = [DataFault("empty text", 12, ("a:3", "a:9")), DataFault("b", 1, ("a:1",))]
    report_faults([], strict=True)
    assert not caplog.text
    report_faults(faults)
    assert "12  empty text  a:3, a:9, ...\n 1  b           a:1" in caplog.text
    assert fault_table(faults) in caplog.text
    with pytest.raises(InputError, match="12 × empty text, as a:3; 1 × b, as a:1; .*--strict"):
        report_faults(faults, strict=True)
