"""Numbers for texts and pairs: learned without their unit, answered with it, scored as in GLUE."""

import numpy as np
import pytest

from kbert.data import ScoredExample
from kbert.errors import InputError
from kbert.tasks import Columns, Regression, task_class


def rows(*scores, pair="film"):
    return [ScoredExample(f"{'good ' * n}", pair, score, f"f:{n + 2}") for n, score in enumerate(scores)]


def test_targets_have_no_unit_and_answers_have_that_of_the_file(tokenizer):
    data = rows(10.0, 30.0, 80.0)
    task = task_class("regression")(Regression.learn(data, tokenizer, 16).spec, tokenizer)
    targets = task.encode(data).targets["score"]
    assert targets.dtype == np.float32 and targets.shape == (3,)
    np.testing.assert_allclose(targets, (np.array([10, 30, 80]) - 40) / np.std([10, 30, 80]), rtol=1e-6)
    answers = task.answers(data, task.encode(data), {"logits": list(targets[:, None])})
    assert [answer["score"] for answer in answers] == pytest.approx([10, 30, 80], rel=1e-5)
    assert [*answers[0]] == ["score"] and type(answers[0]["score"]) is float


def test_scores_are_those_of_glue(tokenizer):
    data = rows(1.0, 2.0, 3.0)
    task = Regression.learn(data, tokenizer, 16)
    scores = task.scores(data, [{"score": score} for score in (1.0, 10.0, 100.0)])
    pearson = np.corrcoef([1, 2, 3], [1, 10, 100])[0, 1]
    assert scores == pytest.approx(
        {
            "pearson": pearson,
            "spearman": 1.0,
            "mean_correlation": (1 + pearson) / 2,
            "mse": (8**2 + 97**2) / 3,
        }
    )
    assert task.best_score == "mean_correlation"
    answers, chosen = [{"score": score} for score in (1.0, 10.0, 100.0)], np.array([2, 0, 2])
    measures, some = task.report_parts(data, answers)["measures"], [answers[row] for row in chosen]
    answers.clear()  # A draw of many rows has no time for lists of them.
    assert measures(chosen) == task.scores([data[row] for row in chosen], some)
    assert Regression.learn(data, tokenizer, 16, best_score="pearson").best_score == "pearson"
    with pytest.raises(InputError, match="best_score='mse'"):  # The smaller, the better.
        Regression.learn(data, tokenizer, 16, best_score="mse")


def test_a_report_shows_large_numbers_as_they_are(tokenizer):
    data = rows(2015.0, 1234567.5, 4.2)
    task = Regression.learn(data, tokenizer, 16)
    errors = task.report_parts(data, [{"score": score} for score in (2013.4, 1234000.0, 3.14159)])["errors"]
    said = [("2015", "2013.40"), ("1234567.5", "1234000.00"), ("4.2", "3.14")]
    assert [(error.gold, error.predicted) for error in errors] == said


@pytest.mark.slow
def test_it_learns_in_any_unit(tokenizer, fine_tuned):
    data = [
        ScoredExample(f"{word} {'film ' * n}", None, 1000 * (5 + score), f"f:{n}")
        for n in range(4)
        for word, score in (("very", 2.0), ("good", 1.0), ("not", -1.0), ("bad", -2.0))
    ]
    done = fine_tuned(Regression.learn(data, tokenizer, 16), data, epochs=40)
    assert done.scores["mse"] < 0.2 * np.var([row.score for row in data]) and done.scores["pearson"] > 0.9


@pytest.mark.parametrize("pooling, score", [("mean", 2.0), ("max", 5.0), ("vote", 1.0)])
def test_windows_give_one_number(tokenizer, pooling, score):
    data = [ScoredExample("the a is was not good", None, 4.0, "f:2"), ScoredExample("a", None, 2.0, "f:3")]
    task = Regression.learn(data, tokenizer, 4, long_text="windows", stride=2, window_pooling=pooling)
    encoded = task.encode(data)
    assert encoded.targets["score"].tolist() == [1.0, 1.0, 1.0, -1.0]  # Mean 3, deviation 1.
    logits = [np.array([value - 3.0]) for value in (0.0, 1.0, 5.0, 2.5)]
    answers = task.answers(data, encoded, {"logits": logits})
    assert [answer["score"] for answer in answers] == pytest.approx([score, 2.5])


def test_files(tmp_path, tokenizer):
    file = tmp_path / "f.tsv"
    file.write_text("sentence1\tsentence2\tgrade\na\tb\t4.5\n", encoding="utf-8")
    (row,) = Regression.read(str(file), Columns(label="grade"))
    assert row == ScoredExample("a", "b", 4.5, f"{file}:2")
    (row,) = Regression.read(str(file), Columns(), labelled=False)
    assert row.score is None
    file.write_text("text\tscore\na\t1\nb\tNA\n", encoding="utf-8")
    assert [row.text for row in Regression.read(str(file), Columns(no_label="NA"))] == ["a"]
    with pytest.raises(InputError, match="f.tsv:3: the score is 'NA'; expected a number"):
        Regression.read(str(file), Columns())
    with pytest.raises(InputError, match="f:2: all 2 rows have the score 3.0; there is nothing to learn"):
        Regression.learn(rows(3.0, 3.0), tokenizer, 16)
