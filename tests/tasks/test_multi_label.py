"""Several labels at once: which apply, from which probability on, and how well."""

import numpy as np
import pytest

from kbert import data, fine_tuning
from kbert.data import LabelSetExample
from kbert.errors import InputError
from kbert.tasks import Columns, MultiLabel, task_class


def rows(*pairs):
    return [
        LabelSetExample(text, None, tuple(labels.split()), f"f:{line}")
        for line, (text, labels) in enumerate(pairs, 2)
    ]


DATA = rows(("good film", "film good"), ("film", "film"), ("good", "good"), ("not", ""))


def logits_of(probabilities):
    probabilities = np.array(probabilities)
    return {"logits": list(np.log(probabilities / (1 - probabilities)))}


def test_targets_are_a_matrix(tokenizer):
    task = MultiLabel.learn(DATA, tokenizer, 16)
    assert task.labels == ["film", "good"] and task.spec["threshold"] == 0.5
    targets = task.encode(DATA).targets["labels"]
    assert targets.dtype == np.float32 and targets.tolist() == [[1, 1], [1, 0], [0, 1], [0, 0]]
    with pytest.raises(InputError, match="f:2: label 'bad' was not seen in training, .* one of film, good;"):
        task.encode(rows(("x", "good bad")))


def test_a_label_that_was_not_seen_in_training_is_a_miss(tokenizer, caplog):
    task = MultiLabel.learn(DATA, tokenizer, 16)
    rows_ = [*DATA, *rows(("x", "good bad"))]
    with caplog.at_level("WARNING"):
        encoded = task.encode(rows_)
    assert "1 of 5 rows have a label that was not seen in training, such as 'bad'" in caplog.text
    assert encoded.targets["labels"].tolist() == [[1, 1], [1, 0], [0, 1], [0, 0], [0, 1]]
    outputs = logits_of([[0.9, 0.9], [0.9, 0.1], [0.1, 0.9], [0.1, 0.1], [0.1, 0.9]])
    assert 0.1 < task.chosen_on_dev(rows_, encoded, outputs)["threshold"] < 0.9
    answers = task.answers(rows_, encoded, outputs)
    scores = task.scores(rows_, answers)
    assert scores["micro_f1"] == pytest.approx(2 * 5 / (5 + 6)) and scores["exact_match"] == 4 / 5
    assert scores["macro_f1"] == pytest.approx(2 / 3)
    parts = task.report_parts(rows_, answers)
    assert parts["per_label"]["bad"]["support"] == 1 and parts["per_label"]["bad"]["f1"] == 0
    assert [(error.gold, error.predicted) for error in parts["errors"]] == [("good, bad", "good")]


def test_the_threshold_decides_and_is_chosen_on_dev(tokenizer):
    task = MultiLabel.learn(DATA, tokenizer, 16)
    encoded, outputs = task.encode(DATA), logits_of([[0.4, 0.3], [0.35, 0.1], [0.1, 0.45], [0.2, 0.05]])
    assert all(answer["labels"] == [] for answer in task.answers(DATA, encoded, outputs))
    task.spec.update(task.chosen_on_dev(DATA, encoded, outputs))
    assert task.spec["threshold"] == pytest.approx(0.25)
    again = task_class("multi_label")(task.spec, tokenizer)
    answers = again.answers(DATA, encoded, outputs)
    assert [answer["labels"] for answer in answers] == [["film", "good"], ["film"], ["good"], []]
    assert answers[0]["probabilities"] == pytest.approx({"film": 0.4, "good": 0.3})
    assert again.scores(DATA, answers) == {"micro_f1": 1.0, "macro_f1": 1.0, "exact_match": 1.0}
    answers[1] = {"labels": ["good"], "label_ids": [1]}  # One of four found wrongly, one missed.
    # Scripts read further files as the training file was.
    kept = {"no_label": "", "separator": ";"}
    assert MultiLabel.columns_to_keep("f.tsv", Columns(**kept), DATA) == kept
    assert MultiLabel({**task.spec, **kept}, tokenizer).kept_columns == kept
    scores = again.scores(DATA, answers)
    assert scores["micro_f1"] == pytest.approx(2 * 3 / 8) and scores["exact_match"] == 0.75


@pytest.mark.parametrize("pooling, given", [("mean", []), ("max", ["film", "good"]), ("vote", ["film"])])
def test_windows_of_a_text_give_one_set(tokenizer, pooling, given):
    texts = rows(("the a is was not good", "film good"), ("film", "film"))
    task = MultiLabel.learn(texts, tokenizer, 4, long_text="windows", stride=2, window_pooling=pooling)
    encoded = task.encode(texts)
    assert encoded.owner.tolist() == [0, 0, 0, 1]
    outputs = logits_of([[0.6, 0.1], [0.6, 0.1], [0.1, 0.9], [0.3, 0.2]])
    answers = task.answers(texts, encoded, outputs)
    assert [answer["labels"] for answer in answers] == [given, []]


def test_epochs_are_compared_by_thresholds_of_their_own(tokenizer, tiny_config, monkeypatch):
    """By 0.5, neither of these would give any label, and the first would be kept."""
    task = MultiLabel.learn(DATA, tokenizer, 16)
    gold = data.label_matrix(DATA, task.labels)
    outputs = iter([logits_of(np.full_like(gold, 0.2)), logits_of(np.where(gold, 0.45, 0.05))])
    monkeypatch.setattr(fine_tuning, "Predictor", lambda *_, **__: lambda encoded: next(outputs))
    model = task.blank_model(tiny_config)
    model.build()
    measure = fine_tuning._Measure(task, model, model, DATA, parts=1)
    assert measure(None)["micro_f1"] < 1.0 == measure(None)["micro_f1"]


@pytest.mark.slow
def test_it_learns_labels_that_come_together(tokenizer, fine_tuned):
    texts = rows(*((f"{text} {'the ' * n}", labels) for n in range(4) for text, labels in (
        ("good film", "g f"), ("film", "f"), ("good", "g"), ("was", ""))))  # fmt: skip
    done = fine_tuned(MultiLabel.learn(texts, tokenizer, 16), texts, epochs=40, seed=2)
    assert done.scores["micro_f1"] == 1.0 == done.score
    assert done.task.spec["threshold"] != 0.5
    assert [answer["labels"] for answer in done.answers[:4]] == [["f", "g"], ["f"], ["g"], []]


def test_files_with_separators_and_without_labels(tmp_path, tokenizer):
    file = tmp_path / "f.tsv"
    file.write_text("text\tlabels\ngood film\tg; f\nfilm\tf\nbad\t\n", encoding="utf-8")
    read = MultiLabel.read(str(file), Columns(separator=";"))
    assert [row.labels for row in read] == [("g", "f"), ("f",), ()]
    file.write_text("text\tlabels\na\tx\nb\t-\nc\t-,x\n", encoding="utf-8")
    assert [row.labels for row in MultiLabel.read(str(file), Columns())] == [("x",), ("-", "x")]
    assert len(MultiLabel.read(str(file), Columns(), labelled=False)) == 3
    assert len(MultiLabel.read(str(file), Columns(no_label=""))) == 3
    file.write_text("text\ngood film\n", encoding="utf-8")
    with pytest.raises(InputError, match="customary name for the label"):
        MultiLabel.read(str(file), Columns())
    (row,) = MultiLabel.read(str(file), Columns(), labelled=False)
    assert row.text == "good film" and row.labels == ()
    task = MultiLabel.learn(DATA, tokenizer, 16)
    assert task.encode([row], labelled=False).targets == {}
    assert task.prediction_row(DATA[0], {"labels": ["film"]}) == {
        "source": "f:2", "text": "good film", "gold": ["film", "good"], "labels": ["film"]
    }  # fmt: skip
