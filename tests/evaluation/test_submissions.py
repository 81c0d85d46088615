"""Submissions: read back as the benchmarks' own scripts read them."""

import csv
import io
import json

import pytest

from kbert.errors import InputError
from kbert.evaluation import (
    answers_json,
    benchmark_file,
    check_submission,
    clue_labels,
    conll_columns,
    entity_scores,
    glue_labels,
    glue_scores,
    json_lines,
    null_odds_json,
    squad_v2_scores,
    write_whole,
)
from kbert.evaluation.submissions import GLUE_FILES


def rows_of(text):
    return list(csv.reader(io.StringIO(text), delimiter="\t"))


def test_each_benchmark_has_a_file_of_its_own():
    label, score = [{"label": "neutral", "score": 0.9}], [{"score": 2.5}]
    assert benchmark_file("MNLI-m", "classification", label) == (
        "MNLI-m.tsv",
        glue_labels("MNLI-m", ["neutral"]),
    )
    assert benchmark_file("CLUE", "classification", label) == ("clue_predict.json", clue_labels(["neutral"]))
    (_, with_id), (_, counted) = (
        benchmark_file(name, "classification", label, ids=[7]) for name in ("CLUE", "MNLI-m")
    )
    assert json.loads(with_id)["id"] == 7 and rows_of(counted)[1] == ["0", "neutral"]
    assert benchmark_file("STS-B", "regression", score) == ("STS-B.tsv", glue_scores([2.5]))
    for name, task in [("STS-B", "classification"), ("CLUE", "regression"), ("RTE", "tagging")]:
        with pytest.raises(
            InputError, match=f"--submission={name}: is for --task=.*; the model is of {task}"
        ):
            benchmark_file(name, task, [])
    for task in ("classification", "regression"):
        with pytest.raises(InputError, match="no 'SST2'; expected one of .*, or CLUE"):
            benchmark_file("SST2", task, [])


def test_glue_wants_its_own_labels():
    for name, labels in GLUE_FILES.items():
        if labels:
            rows = rows_of(glue_labels(name, labels[::-1]))
            assert rows == [
                ["index", "prediction"],
                *([str(n), label] for n, label in enumerate(labels[::-1])),
            ]
    with pytest.raises(InputError, match=r"RTE\.tsv: the label of row 1 is 'neutral'.*entailment or not_"):
        glue_labels("RTE", ["entailment", "neutral"])
    with pytest.raises(InputError, match="no 'SST2'; expected one of CoLA"):
        glue_labels("SST2", ["0"])
    with pytest.raises(InputError, match="has scores, no labels"):
        glue_labels("STS-B", ["0"])


def test_a_model_of_other_labels_is_told_before_it_answers():
    two, three = ["entailment", "not_entailment"], ["contradiction", "entailment", "neutral"]
    check_submission("RTE", "classification", two[::-1])
    check_submission("MNLI-m", "classification", three)
    check_submission("CLUE", "classification", ["体育"])
    check_submission("STS-B", "regression")
    check_submission("STS-B", "regression", ["LABEL_0"])  # As of a model from Hugging Face.
    with pytest.raises(
        InputError, match="--submission=RTE: GLUE expects entailment or not_.*label .*is 'contradiction'"
    ):
        check_submission("RTE", "classification", three)


def test_scores_of_sts_b_have_three_decimals_and_stay_in_range():
    assert rows_of(glue_scores([-0.2, 0.0004, 3.14159, 5.01])) == [
        ["index", "prediction"], ["0", "0.000"], ["1", "0.000"], ["2", "3.142"], ["3", "5.000"]
    ]  # fmt: skip


def test_clue_wants_a_json_object_a_line():
    lines = clue_labels(["neutral", "entailment"], ids=[7, 9]).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": 7, "label": "neutral"}, {"id": 9, "label": "entailment"}
    ]  # fmt: skip


def test_answers_are_read_back_by_the_measure():
    answers = {"a": '北京\n"市"', "b": "", "c": "Denver Broncos"}
    read = json.loads(answers_json(answers))
    assert read == answers and list(read) == list(answers)
    assert "北京" in answers_json(answers)
    odds = json.loads(null_odds_json({"a": -3, "b": 2.5, "c": 1.0}))
    assert odds == pytest.approx({"a": 0.047426, "b": 0.924142, "c": 0.731059}, abs=1e-6)
    scores = squad_v2_scores({"a": ["北京\n市"], "b": [], "c": []}, read, odds, null_threshold=0.5)
    assert scores["exact"] == 100.0
    with pytest.raises(ValueError):
        null_odds_json({"a": float("nan")})


def test_by_its_default_the_script_of_squad_takes_no_answer_away():
    # Thresholds are chosen on dev, and may be large; that of the script is 1.0.
    golds, answers = {"a": ["Bonn"], "b": ["Rome"], "c": []}, {"a": "Bonn", "b": "Rome", "c": ""}
    odds = json.loads(null_odds_json({"a": 6.5, "b": -40.0, "c": 7.25}))
    assert squad_v2_scores(golds, answers, odds, null_threshold=1.0)["exact"] == 100.0
    assert odds["b"] < odds["a"] < odds["c"]


def test_columns_are_read_back_as_conlleval_reads_them():
    words = [["In", "New York", "\u3000", ""], ["北", "京"]]
    gold = [["O", "B-LOC", "O", "O"], ["B-LOC", "I-LOC"]]
    predicted = [["O", "B-ORG", "O", "O"], ["B-LOC", "I-LOC"]]
    text = conll_columns(zip(words, gold, predicted, strict=True))
    sentences = [[line.split() for line in block.split("\n")] for block in text.strip("\n").split("\n\n")]
    assert [[len(line) for line in block] for block in sentences] == [[3] * 4, [3] * 2]
    assert [line[0] for line in sentences[0]] == ["In", "New_York", "_", "_"]
    read = [[[line[column] for line in block] for block in sentences] for column in (1, 2)]
    assert read == [gold, predicted]
    assert entity_scores(*read)["f1"] == 0.5
    assert text.endswith("京 I-LOC I-LOC\n\n")
    assert conll_columns([[["a"], ["O"]]]) == "a O\n\n"
    with pytest.raises(ValueError):
        conll_columns([[["a", "b"], ["O"]]])


def test_lines_of_predictions_are_json():
    rows = [{"text": '中\u2028文\n"', "score": 0.5}, {"label": None}]
    assert [json.loads(line) for line in json_lines(rows)] == rows
    with pytest.raises(ValueError):
        list(json_lines([{"score": float("inf")}]))


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "predictions.jsonl"
    for rows in ([{"text": "a" * 100}], [{"text": "\udc00 中"}]):
        write_whole(path, json_lines(rows))
        assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows
    with pytest.raises(ValueError):
        write_whole(path, json_lines([{"score": 1.0}, {"score": float("inf")}]))
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows
    assert list(tmp_path.iterdir()) == [path]
