"""Classification of texts and pairs: labels, ids, answers and scores."""

import numpy as np
import pytest

from kbert.data import Example
from kbert.errors import InputError
from kbert.tasks import Classification, task_class


def rows(labels, pair=None):
    return [Example("good film", pair, label, f"f.tsv:{i + 2}") for i, label in enumerate(labels)]


def test_a_task_is_the_same_from_rows_and_from_its_spec(tokenizer):
    learned = Classification.learn(rows(["10", "9", "10"]), tokenizer, max_length=16)
    assert learned.spec == {
        "name": "classification", "max_length": 16, "lowercase": True, "labels": ["9", "10"], "pair": False,
        "long_text": "truncate", "stride": None, "window_pooling": "mean",
    }  # fmt: skip
    again = task_class("classification")(learned.spec, tokenizer)
    encoded = again.encode(rows(["9", "10"]))
    assert encoded.targets["label"].tolist() == [0, 1] and encoded.owner.tolist() == [0, 1]


def test_answers_and_scores_are_those_of_the_logits(tokenizer):
    task = Classification.learn(rows(["no", "yes"]), tokenizer, max_length=16)
    data = rows(["yes", "no", "no"])
    logits = [np.array([0.0, 1.0]), np.array([2.0, 0.0]), np.array([0.0, 3.0])]
    answers = task.answers(data, task.encode(data), {"logits": logits})
    assert [answer["label"] for answer in answers] == ["yes", "no", "yes"]
    assert answers[1]["score"] == pytest.approx(np.e**2 / (np.e**2 + 1))
    assert task.scores(data, answers)["accuracy"] == pytest.approx(2 / 3)
    assert task.prediction_row(data[1], answers[1]) == {
        "source": "f.tsv:3", "text": "good film", "gold": "no", **answers[1]
    }  # fmt: skip


def test_a_label_that_was_not_seen_in_training_counts_as_wrong(tokenizer, caplog):
    task = Classification.learn(rows(["no", "yes"]), tokenizer, max_length=16)
    data = rows(["yes", "no", "perhaps", "no", "yes"])
    with caplog.at_level("WARNING"):
        encoded = task.encode(data)
    assert (
        "1 of 5 rows have a label that was not seen in training, such as 'perhaps' (f.tsv:4)" in caplog.text
    )
    logits = np.array([[0.0, 1], [2, 0], [0, 3], [0, 3], [0, 3]])
    answers = task.answers(data, encoded, {"logits": list(logits)})
    predicted = ["yes", "no", "yes", "yes", "yes"]
    assert [answer["label"] for answer in answers] == predicted
    scores = task.scores(data, answers)
    # By hand: no 1 of 2 found, yes 2 of 2 found and 4 said, perhaps never said.
    f1 = [2 / 3, 2 * 2 / (4 + 2), 0.0]
    assert scores["accuracy"] == 3 / 5
    assert scores["f1"] == pytest.approx(f1[1]) and scores["macro_f1"] == pytest.approx(sum(f1) / 3)
    parts = task.report_parts(data, answers)
    assert parts["confusion"]["labels"] == ["no", "yes", "perhaps"]
    assert parts["confusion"]["matrix"] == [[1, 1, 0], [0, 2, 0], [0, 1, 0]]
    assert parts["per_label"]["perhaps"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert parts["measures"](np.array([2, 2]))["accuracy"] == 0.0


def test_the_score_that_decides_can_be_chosen(tokenizer):
    assert Classification.learn(rows(["no", "yes"]), tokenizer, 16).best_score == "accuracy"
    task = Classification.learn(rows(["no", "yes"]), tokenizer, 16, best_score="matthews")
    assert task.best_score == "matthews"
    assert task_class("classification")(task.spec, tokenizer).best_score == "matthews"
    assert set(task.comparable_scores) <= set(task.scores(rows(["no"]), [{"label_id": 0}]))
    three = ["no", "yes", "maybe"]
    with pytest.raises(InputError, match="best_score='f1'.*accuracy or macro_f1 or matthews$"):
        Classification.learn(rows(three), tokenizer, 16, best_score="f1")
    assert Classification.learn(rows(["no", "yes"]), tokenizer, 16, best_score="f1").best_score == "f1"


def test_wrong_rows_name_their_line(tokenizer):
    task = Classification.learn(rows(["no", "maybe"]), tokenizer, max_length=16)
    with pytest.raises(InputError, match="f.tsv:3: label 'yes' was not seen.*maybe, no; .*--label_column"):
        task.encode(rows(["no", "yes", "yes"]))  # Most rows: hardly the right column.
    with pytest.raises(InputError, match="f.tsv:2.*are pairs; --pair_column= reads"):
        task.encode(rows(["no"], pair="x"))
    paired = Classification.learn(rows(["no", "yes"], pair="the play"), tokenizer, max_length=16)
    with pytest.raises(InputError, match="f.tsv:2.*no second text.*--pair_column"):
        paired.encode(rows(["no"]))
    with pytest.raises(InputError, match="task 'sorting'; expected one of classification"):
        task_class("sorting")
