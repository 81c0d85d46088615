"""Entity F1 against seqeval's figures."""

import json

import pytest

from kbert.evaluation.entity_scores import entity_counts, entity_scores

SCHEME_OF_MODE = {"default (as conlleval)": None, "strict IOB2": "BIO", "strict IOBES": "BIOES"}


@pytest.mark.golden
def test_scores_equal_seqevals(shared):
    cases = json.loads((shared / "golden/metrics/entity_f1.json").read_text(encoding="utf-8"))["cases"]
    assert {case["mode"] for case in cases} == set(SCHEME_OF_MODE)
    for case in cases:
        scores = entity_scores(case["y_true"], case["y_pred"], SCHEME_OF_MODE[case["mode"]])
        expected = case["expected"]
        for name in ("precision", "recall", "f1", "accuracy"):
            assert scores[name] == expected[name], (case["name"], name)
        report = expected["report"]
        assert scores["macro_f1"] == report["macro avg"]["f1-score"], case["name"]
        table = {
            kind: {"f1" if name == "f1-score" else name: value for name, value in row.items()}
            for kind, row in report.items()
            if not kind.endswith(" avg")
        }
        assert scores["per_type"] == table, case["name"]


def test_type_and_both_ends_must_be_right():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG"]]
    assert entity_scores(gold, gold)["f1"] == 1.0
    for wrong in (
        ["B-PER", "O", "O", "B-LOC"],
        ["B-ORG", "I-ORG", "O", "B-LOC"],
        ["B-PER"] * 2 + ["O", "B-LOC"],
    ):
        assert entity_scores(gold, [wrong, ["B-ORG"]])["recall"] == 2 / 3


def test_entities_do_not_run_over_the_border_of_sentences():
    apart = entity_scores([["O", "B-PER"], ["I-PER"]], [["O", "B-PER"], ["B-PER"]])
    assert (apart["f1"], apart["per_type"]["PER"]["support"]) == (1.0, 2)


def test_word_segmentation_in_letters():
    gold, predicted = [list("BESBME")], [list("BEBEBE")]
    hits, claimed, there = entity_counts(gold, predicted)
    assert (hits[""], claimed[""], there[""]) == (1, 3, 3)


def test_nothing_at_all():
    assert entity_scores([["O"]], [["O"]])["f1"] == 0.0
    assert entity_scores([], []) == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "macro_f1": 0.0,
        "accuracy": 0.0,
        "per_type": {},
    }


def test_padding_must_be_cut_off_first():
    with pytest.raises(ValueError, match="1 gold tags but 2 predicted"):
        entity_scores([["O"]], [["O", "B-PER"]])
    with pytest.raises(ValueError, match="zip"):
        entity_scores([["O"]], [["O"], ["O"]])
