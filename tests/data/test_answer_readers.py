"""Answers stand where they are said to stand, or are put right, or are not trained on."""

import json

import pytest

from kbert.data import answer_faults, read_questions
from kbert.data.answer_readers import find_answer
from kbert.errors import InputError


def write(path, *questions, context="ab cd ab"):
    data = {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}]}
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


def question(key, *answers, **more):
    answers = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": key, "question": " q? ", "answers": answers, **more}


def test_questions(tmp_path):
    path = write(tmp_path / "q.json", question("1", ("cd", 3), ("ab", 6)), question(2, is_impossible=True))
    first, second = read_questions(path)
    assert (first.id, first.question, first.context, first.has_answer) == ("1", "q?", "ab cd ab", True)
    assert [(a.text, a.start) for a in first.answers] == [("cd", 3), ("ab", 6)]
    assert (second.id, second.answers, second.answer, second.has_answer) == ("2", (), None, False)
    assert first.source == f"{path}: question 1"


def test_plausible_answers_of_impossible_questions_are_none(tmp_path):
    row = question("1", ("cd", 3), is_impossible=True, plausible_answers=[{"text": "ab", "answer_start": 0}])
    assert read_questions(write(tmp_path / "q.json", row))[0].answers == ()


@pytest.mark.parametrize(
    "said, has_answer", [(None, True), (0, True), (1, False), ("false", None), ([], None)]
)
def test_a_text_does_not_say_whether_there_is_an_answer(tmp_path, said, has_answer):
    path = write(tmp_path / "q.json", question("1", ("cd", 3), is_impossible=said))
    if has_answer is None:
        with pytest.raises(
            InputError, match="q.json: question 1: is_impossible is .*; expected true or false"
        ):
            read_questions(path)
    else:
        assert read_questions(path)[0].has_answer is has_answer


@pytest.mark.parametrize(
    "text, start, found",
    [("cd", 3, 3), ("cd", 4, 3), ("cd", -1, 3), ("ab", 0, 0), ("ab", 5, 6), ("ab", 1, 0), ("ab", -1, None)]
    + [("xy", 0, None), ("xy", -1, None), ("", 0, None), ("ab", 99, 6), ("b", -1, None)],
)
def test_where_an_answer_stands(text, start, found):
    assert find_answer("ab cd ab", text, start) == found


def test_the_first_answer_with_a_place_is_trained_on(tmp_path):
    path = write(tmp_path / "q.json", question("1", ("xy", 0), ("cd", 2)), question("2", ("xy", -1)))
    first, second = read_questions(path)
    assert first.answer is first.answers[1] and first.answer.start == 3
    assert second.answer is None and second.has_answer


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "q.json:1: is no JSON"),
        ("[]", "form of SQuAD"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "form of SQuAD.*'context'"),
        ('{"data": []}', "has no questions"),
    ],
)
def test_other_files(tmp_path, text, message):
    (tmp_path / "q.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_questions(str(tmp_path / "q.json"))


def test_missing_answers_and_repeated_ids(tmp_path):
    path = write(tmp_path / "q.json", question("1"))
    with pytest.raises(InputError, match="question 1: has no answer"):
        read_questions(path)
    assert read_questions(path, labelled=False)[0].answers == ()
    with pytest.raises(InputError, match="question 1: two questions have this id"):
        read_questions(write(tmp_path / "q.json", *[question("1", ("ab", 0))] * 2))


@pytest.mark.parametrize(
    "name, questions, repaired, absent",
    [
        ("squad-v1.1/dev.json", 1421, 0, 0),
        ("squad-v2.0/dev.json", 1037, 0, 0),
        ("cmrc2018/train.json", 1924, 0, 109),
        ("cmrc2018/dev.json", 489, 7, 36),
        ("cmrc2018/trial.json", 1002, 5, 0),
        ("drcd/dev.json", 639, 0, 0),
    ],
)
def test_the_benchmarks_files(shared, name, questions, repaired, absent):
    rows = read_questions(str(shared / "data" / name))
    answers = [(row, answer) for row in rows for answer in row.answers]
    assert len(rows) == questions
    assert sum(answer.start is None for _, answer in answers) == absent
    assert sum(answer.start not in (None, answer.start_in_file) for _, answer in answers) == repaired
    for row, answer in answers:
        if answer.start is not None:
            assert row.context[answer.start :].startswith(answer.text)
    counts = {fault.kind.split(" (")[0]: fault.count for fault in answer_faults(rows)}
    assert counts.get("answer that is not in its passage, or in several places", 0) == absent
    assert counts.get("answer at another place than the file says", 0) == repaired


@pytest.mark.parametrize("more", [{"answers": None}, {"answers": [{"text": "cd"}]}, {"is_impossible": "?"}])
def test_what_a_test_file_has_in_place_of_answers(tmp_path, more):
    path = write(tmp_path / "q.json", {"id": "1", "question": "q?", **more})
    (row,) = read_questions(path, labelled=False)
    assert row.answers == () and row.has_answer
    with pytest.raises(InputError):
        read_questions(path)
