"""SQuAD's and CMRC's measures against the figures of the official scripts."""

import json

import pytest

from kbert.evaluation import best_null_threshold, cmrc_scores, squad_scores, squad_v2_scores
from kbert.evaluation.answer_scores import squad_question_scores
from kbert.evaluation.chinese_answer_scores import cmrc_question_scores, segments
from kbert.evaluation.treebank_words import treebank_words


def cases(shared, name):
    found = json.loads((shared / f"golden/metrics/{name}.json").read_text(encoding="utf-8"))["cases"]
    assert found
    for case in found:
        case["answers"] = {row["id"]: row["answers"] for row in case["references"]}
    return found


@pytest.mark.golden
def test_squad_v1_equals_the_official_script(shared):
    for case in cases(shared, "squad_v1"):
        scores = squad_scores(case["answers"], case["predictions"])
        assert {name: scores[name] for name in case["expected"]} == case["expected"], case["name"]
        for key, (exact, f1) in squad_question_scores(case["answers"], case["predictions"]).items():
            assert {"exact_match": 100 * exact, "f1": 100 * f1} == case["each"][key], key


@pytest.mark.golden
def test_squad_v1_of_a_published_system(shared):
    published = json.loads((shared / "golden/metrics/squad_v1_published.json").read_text(encoding="utf-8"))
    for name, expected in published["sets"].items():
        articles = json.loads((shared / "data" / name).read_text(encoding="utf-8"))["data"]
        questions = [q for article in articles for part in article["paragraphs"] for q in part["qas"]]
        answers = {q["id"]: [answer["text"] for answer in q["answers"]] for q in questions}
        scores = squad_scores(answers, published["predictions"])
        assert scores == expected["expected"] | {"total": expected["questions"]}


@pytest.mark.golden
def test_squad_v2_equals_the_official_script(shared):
    with_threshold = 0
    for case in cases(shared, "squad_v2"):
        expected, null_scores = case["expected"], case.get("na_probs")
        scores = squad_v2_scores(
            case["answers"], case["predictions"], null_scores, case.get("na_prob_thresh", 0.0)
        )
        assert scores == {key: value for key, value in expected.items() if not key.startswith("best")}
        if null_scores:
            with_threshold += 1
            for measure in ("exact", "f1"):
                found = best_null_threshold(case["answers"], case["predictions"], null_scores, measure)
                assert found == (expected[f"best_{measure}_thresh"], expected[f"best_{measure}"])
    assert with_threshold == 2


@pytest.mark.golden
def test_cmrc_equals_the_official_script(shared):
    for case in cases(shared, "cmrc2018"):
        assert cmrc_scores(case["answers"], case["predictions"]) == case["expected"], case["name"]
        for key, (em, f1) in cmrc_question_scores(case["answers"], case["predictions"]).items():
            assert (100 * em, 100 * f1) == (case["each"][key]["em"], case["each"][key]["f1"]), key


def test_an_answer_of_articles_matches_exactly_and_yet_has_no_f1():
    assert squad_scores({"q": ["the"]}, {"q": "a"}) == {"exact_match": 100.0, "f1": 0.0, "total": 1}
    assert squad_v2_scores({"q": []}, {"q": "the"})["f1"] == 100.0


def test_a_threshold_for_differences_of_scores_may_be_negative():
    """Official thresholds are for probabilities; those of BERT's differences go below 0."""
    answers = {"a": ["x"], "b": [], "c": []}
    predictions = {"a": "x", "b": "y", "c": "z"}
    null_scores = {"a": -7.0, "b": -3.0, "c": 2.0}
    threshold, best = best_null_threshold(answers, predictions, null_scores)
    assert (threshold, best) == (-7.0, 100.0)
    assert squad_v2_scores(answers, predictions, null_scores, threshold)["f1"] == 100.0
    threshold, best = best_null_threshold({"a": [], "b": []}, predictions, {"a": -7.0, "b": -3.0})
    assert threshold < -7 and best == 100.0


def test_missing_predictions_count_zero():
    answers = {"a": ["x"], "b": ["y"]}
    assert squad_scores(answers, {"a": "x"})["f1"] == 50.0
    assert squad_v2_scores(answers, {"a": "x"})["exact"] == 50.0
    assert cmrc_scores(answers, {"a": "x"}) == {
        "em": 50.0,
        "f1": 50.0,
        "average": 50.0,
        "total": 2,
        "skip": 1,
    }


def test_missing_predictions_count_zero_whatever_their_null_scores():
    answers, predictions = {"a": ["x"], "b": [], "c": []}, {"a": "x", "b": ""}
    for null_scores in ({"a": -1.0, "b": 2.0, "c": 3.0}, {"a": -1.0, "b": 2.0}):
        scores = squad_v2_scores(answers, predictions, null_scores)
        assert (scores["HasAns_f1"], scores["NoAns_f1"], scores["total"]) == (100.0, 50.0, 3)
        threshold, best = best_null_threshold(answers, predictions, null_scores)
        assert (threshold, best) == (-1.0, pytest.approx(200 / 3))
        assert squad_v2_scores(answers, predictions, null_scores, threshold)["f1"] == best


def test_the_longest_run_in_one_piece_counts():
    # 2 of 4 units stand together in both; 3 are in common.
    assert cmrc_question_scores({"q": ["甲乙丙丁"]}, {"q": "甲乙丁丙"})["q"] == (0.0, 0.5)


@pytest.mark.parametrize(
    "text, words",
    [
        ("at&t's u.s. office, no. 1.", "at & t 's u.s. office , no. 1 ."),
        ('he said "no", didn\'t he?', "he said `` no '' , did n't he ?"),
        ("1,000 (or 3.5%)", "1,000 ( or 3.5 % )"),
        ("well... i cannot, we're gonna 'tis", "well ... i can not , we 're gon na 't is"),
        ("'tis rock 'n roll, the boys' d'ye <b>[c]", "'t is rock 'n roll , the boys ' d 'ye < b > [ c ]"),
        ("", ""),
    ],
)
def test_words_of_the_penn_treebank(text, words):
    """As nltk 3.9.1, `word_tokenize(text, preserve_line=True)`."""
    assert treebank_words(text) == words.split()


def test_segments_of_mixed_text():
    assert segments("用iphone 6s的u.s.版") == ["用", "iphone", "6s", "的", "u.s", ".", "版"]
