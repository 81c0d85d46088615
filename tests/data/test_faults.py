"""Each fault is found where it is, counted, and nothing else is."""

import pytest

from kbert.data import (
    Answer,
    ChoiceExample,
    Example,
    LabelSetExample,
    Question,
    ScoredExample,
    TaggedText,
    Triple,
    answer_faults,
    choice_faults,
    classification_faults,
    report_faults,
    score_faults,
    similarity_faults,
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
        "label of dev that is not in train (counts as wrong)": (1, ("d:3 (ugly)",)),
        "row of dev that is also in train": (1, ("d:2",)),
    }


def test_labels_that_only_case_or_spaces_part():
    train = rows(*CLEAN, ("e", None, "Good"), ("f", None, "Good"), ("g", None, "bad "), ("h", None, "bad "))
    places = ("t:6 ('Good'; 'good'?)", "t:7 ('Good'; 'good'?)", "t:8 ('bad '; 'bad'?)")
    kind = "label that only case or spaces part from another one (the same?)"
    assert table(classification_faults(train)) == {kind: (4, places)}
    sets = [LabelSetExample(str(n), None, (label,), f"t:{n}") for n, label in enumerate("aaaAA")]
    assert table(classification_faults(sets)) == {kind: (2, ("t:3 ('A'; 'a'?)", "t:4 ('A'; 'a'?)"))}


def test_three_places_at_most_but_all_are_counted():
    (fault,) = classification_faults(rows(*CLEAN), rows(*CLEAN, file="d"))
    assert (fault.count, fault.places) == (4, ("d:2", "d:3", "d:4"))


def test_faults_of_several_labels():
    def sets(*rows, file="t"):
        return [
            LabelSetExample(t, None, tuple(ls.split()), f"{file}:{n}") for n, (t, ls) in enumerate(rows, 2)
        ]

    clean = sets(("a", "x y"), ("b", "y x"), ("c", ""), ("a", "y x"))
    assert classification_faults(clean, sets(("d", "x"))) == []
    found = classification_faults(
        [*clean, *sets(("b", "x"), ("d", "y yy"), file="u")], sets(("c", "x z"), ("", "x"), file="d")
    )
    assert table(found) == {
        "empty text": (1, ("d:3",)),
        "equal texts with different labels": (2, ("t:3 (y, x)", "u:2 (x)")),
        "label of one row only (a typo?)": (1, ("u:3 (yy; y?)",)),
        "label of dev that is not in train (counts as wrong)": (1, ("d:2 (z)",)),
        "row of dev that is also in train": (1, ("d:2",)),
    }


def test_faults_of_scores():
    train = [
        ScoredExample("a", "b", 1.0, "t:2"),
        ScoredExample("a", "b ", 2.0, "t:3"),
        ScoredExample("a", "c", 2.0, "t:4"),
        ScoredExample("a", " ", 2.0, "t:5"),
    ]
    assert score_faults(train[1:3], [ScoredExample("b", "a", 1.0, "d:2")]) == []
    assert table(score_faults(train, [ScoredExample("a", "c", 1.0, "d:2")])) == {
        "empty text": (1, ("t:5",)),
        "equal texts with different scores": (2, ("t:2 (1.0)", "t:3 (2.0)")),
        "row of dev that is also in train": (1, ("d:2",)),
    }


def test_faults_of_choices():
    def asked(source, text, *choices, question=""):
        return ChoiceExample(text, question, choices, 0, source)

    clean = [asked("t:1", "a", "x", "y"), asked("t:2", "a", "x", "y", question="q")]
    clean.append(asked("t:0", "a", "x", "y", "", ""))  # Two choices, and what fills up.
    assert choice_faults(clean, [asked("d:1", "a", "x", "z")]) == []
    bad = [*clean, asked("t:3", "b", "x", "x"), asked("t:4", "b", "x", " "), asked("t:5", "c", "", "")]
    assert table(choice_faults(bad, [asked("d:1", "a", "x", "y")])) == {
        "empty text or choice": (2, ("t:4", "t:5")),
        "choice that is there twice": (1, ("t:3",)),
        "row of dev that is also in train": (1, ("d:1",)),
    }


def test_faults_of_texts_that_belong_together():
    clean = [Triple("a", "b", None, "t:1"), Triple("a", "c", "d", "t:2")]
    assert similarity_faults(clean, [Triple("b", "a", None, "d:1")]) == []
    bad = [*clean, Triple("a", "a", None, "t:3"), Triple("a", "e", "e", "t:4"), Triple("a", "f", "", "t:5")]
    assert table(similarity_faults(bad, [Triple("a", "c", "e", "d:1")])) == {
        "empty text": (1, ("t:5",)),
        "two equal texts as a pair": (1, ("t:3",)),
        "the same text as right and wrong": (1, ("t:4",)),
        "row of dev that is also in train": (1, ("d:1",)),
    }


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
    odd = tagging_faults([*bad, tagged("PER O", "t:15", "o p")], [tagged("B-LOC LOC", "d:1", "r s")])
    assert odd[0].places == ("t:9, word 2 (I-PER, not B-PER)", "t:15 (tag 'PER')", "d:1 (tag 'LOC')")
    assert tagging_faults([tagged("NN VB", "t:1"), tagged("NN VB", "t:3", "a b")]) == []
    parts = [tagged("NN-HL NN-HL", "t:1")], [tagged("NN-HL VB-HL", "d:1", "a b")]
    assert table(tagging_faults(*parts)) == {
        "tag of dev that is not in train (counts as wrong)": (1, ("d:1 (VB-HL)",))
    }


def test_faults_of_answers():
    def asked(key, *answers, context="ab cd"):
        return Question(key, f"{key}?", context, answers, True, f"q.json: question {key}")

    right, moved, lost = Answer("ab", 0, 0), Answer("cd", 3, 5), Answer("xy", None, -1)
    assert answer_faults([asked("1", right)], [asked("2", right)]) == []
    found = table(
        answer_faults([asked("1", lost, right), asked("2", lost), asked("3", moved)], [asked("1", right)])
    )
    assert found == {
        "answer that is not in its passage, or in several places (not trained on)": (
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


def test_a_hint_is_looked_for_where_it_is_shown(monkeypatch):
    """Not for each of a hundred thousand names, as where the wrong column was taken for the label."""
    asked = []
    monkeypatch.setattr("difflib.get_close_matches", lambda name, others, n: asked.append(name) or [])
    (fault,) = classification_faults(rows(*((f"a{i}", None, str(i)) for i in range(50))))
    assert fault.count == 50 and asked == ["0", "1", "2"]
