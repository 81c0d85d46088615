"""The report of a run: the task's own parts, scores with intervals, the errors and nothing else."""

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
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
)
from kbert.errors import InputError
from kbert.run_grid import GridPoint
from kbert.run_report import check_folder, remove_old, write_predictions, write_results, write_run_report
from kbert.run_settings import RunSettings
from kbert.tasks import (
    Classification,
    Embedding,
    MultiLabel,
    MultipleChoice,
    QuestionAnswering,
    Regression,
    Tagging,
)
from kbert.text import WordPieceTokenizer


@pytest.fixture
def report(tiny_vocab, tmp_path):
    """A function from a task's class, its rows and answers to `report.json`, and the page."""
    tokenizer = WordPieceTokenizer(str(tiny_vocab))

    def write(kind, rows, answers):
        task = kind.learn(rows, tokenizer, max_length=32)
        scores = task.scores(rows, answers)
        write_run_report(
            tmp_path, task, rows, answers, scores, model="runs/m", data={"dev": "dev.tsv"},
            lengths=np.array([5] * len(rows)), num_truncated=1, history=[{"loss": 0.5}],
        )  # fmt: skip
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        return json.loads((tmp_path / "report.json").read_text(encoding="utf-8")), page, task

    return write


def test_classification(report):
    rows = [
        Example(f"text <{i}>", None, label, f"f:{i}") for i, label in enumerate(["no", "yes", "yes", "no"])
    ]
    said = [("no", 0.9), ("no", 0.7), ("yes", 0.6), ("yes", 0.8)]
    answers = [{"label": a, "label_id": ["no", "yes"].index(a), "score": s} for a, s in said]
    found, page, _ = report(Classification, rows, answers)
    score = found["scores"][0]
    assert score["name"] == "accuracy" and score["value"] == 0.5 and score["low"] < 0.5 < score["high"]
    assert found["confusion"]["matrix"] == [[1, 1], [1, 1]] and found["lengths"]["truncated"] == 1
    assert [(e["source"], e["gold"], e["predicted"]) for e in found["errors"]] == [
        ("f:3", "no", "yes"),
        ("f:1", "yes", "no"),
    ]
    assert "text &lt;3&gt;" in page and "<3>" not in page


def test_curves_are_those_of_the_run_that_is_told_of(tiny_vocab, tmp_path):
    """Where there was no training, the steps that stand in the folder are another run's."""
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.9}\n{"step": 2, "loss": 0.7}\n', "utf-8")
    rows = [Example("a", None, label, f"f:{label}") for label in ("no", "yes")]
    task = Classification.learn(rows, WordPieceTokenizer(str(tiny_vocab)), max_length=32)
    answers = [{"label": "no", "label_id": 0, "score": 0.9}] * 2
    for history, titles in [([], []), ([{"loss": 0.8}], ["loss"])]:
        write_run_report(
            tmp_path, task, rows, answers, task.scores(rows, answers), model="m", data={"data": "test.tsv"},
            lengths=np.array([5, 5]), num_truncated=0, history=history,
        )  # fmt: skip
        found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        assert [panel["title"] for panel in found["curves"]] == titles
        assert found["title"] == "classification: test.tsv"
    steps = found["curves"][0]["lines"][0]
    assert steps == {"name": "training, steps", "points": [[0.5, 0.9], [1.0, 0.7]]}


def test_nothing_of_an_earlier_run_is_taken_for_this_one_s(tmp_path, caplog):
    """Of the files of GLUE those of other test files stay, which is told."""
    left = ["predictions.jsonl", "predictions.json", "predictions.conll", "null_odds.json", "report.html"]
    left += ["report.json", "metrics.json", "clue_predict.json", "RTE.tsv"]
    for name in (*left, "QNLI.tsv", "notes.txt"):
        (tmp_path / name).write_text("of another run", encoding="utf-8")
    remove_old(tmp_path, "RTE.tsv", "clue_predict.json")
    assert {path.name for path in tmp_path.iterdir()} == {"QNLI.tsv", "notes.txt"}
    assert "has QNLI.tsv of another run" in caplog.text and "RTE" not in caplog.text


def test_many_predictions_are_not_in_memory_together(tiny_vocab, tmp_path):
    """The lines of these are 2.5 MB."""
    task = Embedding.learn(
        [Triple("a", "b", None, "f:2")], WordPieceTokenizer(str(tiny_vocab)), max_length=32
    )
    rows = task.rows_of(["good film"]) * 300
    answers = [{"embedding": vector} for vector in np.random.default_rng(1).random((300, 384), np.float32)]
    tracemalloc.start()
    write_predictions(tmp_path, task, rows, answers, labelled=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6 and not (tmp_path / ".predictions.jsonl.partial").exists()
    lines = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 300
    assert json.loads(lines[7]) == {
        "source": "texts", "text": "good film", "embedding": answers[7]["embedding"].tolist()
    }  # fmt: skip


def test_the_report_of_a_training_stays_beside_its_model(tmp_path):
    check_folder(tmp_path / "dev")
    (tmp_path / "kbert.json").write_text("{}", encoding="utf-8")
    check_folder(tmp_path / "dev")
    with pytest.raises(InputError, match="is the folder of a model, .*; choose another, such as .*dev$"):
        check_folder(tmp_path)
    with pytest.raises(InputError, match="kbert.json/dev: cannot be written to"):
        check_folder(tmp_path / "kbert.json/dev")


def test_regression_shows_the_largest_distances_first(report):
    rows = [ScoredExample("a", "b", float(i), f"f:{i}") for i in range(4)]
    found, page, _ = report(Regression, rows, [{"score": value} for value in (0.5, 1.0, 2.0, 1.0)])
    assert found["errors_by"] == "distance"
    assert [(e["source"], e["weight"]) for e in found["errors"]] == [("f:3", 2.0), ("f:0", 0.5)]
    assert "Of 4 rows the 2 of the largest distance, the largest first." in page and "not right" not in page
    assert found["number_pairs"] == [[0.0, 0.5], [1.0, 1.0], [2.0, 2.0], [3.0, 1.0]]


def test_tags_that_are_no_entities_have_an_interval_and_errors_too(report):
    rows = [TaggedText("good film", ((0, 4), (5, 9)), ("JJ", "NN"), f"f:{i}") for i in range(1, 4)]
    said = [{"tags": tags, "scores": [0.9, 0.6]} for tags in (["JJ", "NN"], ["JJ", "JJ"], ["JJ", "NN"])]
    found, _, _ = report(Tagging, rows, said)
    (score,) = found["scores"]
    assert score["name"] == "accuracy" and score["value"] == pytest.approx(5 / 6)
    assert score["low"] < 5 / 6 <= score["high"]
    (error,) = found["errors"]
    assert error["source"] == "f:2" and error["weight"] == 0.6
    assert [(mark["begin"], mark["label"], mark["role"]) for mark in error["texts"][0]["marks"]] == [
        (5, "NN", "gold"),
        (5, "JJ", "predicted"),
    ]


def test_tagging_marks_entities_in_their_text(report):
    rows = [
        TaggedText("good film", ((0, 4), (5, 9)), ("B-A", "O"), "f:1"),
        TaggedText("bad play", ((0, 3), (4, 8)), ("B-A", "O"), "f:4"),
    ]
    right = [{"type": "A", "start": 0, "end": 4, "text": "good", "score": 0.9}]
    wrong = [{"type": "A", "start": 4, "end": 8, "text": "play", "score": 0.7}]
    answers = [
        {"entities": right, "tags": ["B-A", "O"], "words": ["good", "film"]},
        {"entities": wrong, "tags": ["O", "B-A"], "words": ["bad", "play"]},
    ]
    found, _, task = report(Tagging, rows, answers)
    assert found["scores"][0]["name"] == "f1" and found["scores"][0]["value"] == 0.5
    assert found["scores"][0]["low"] == 0 and found["scores"][0]["high"] == 1
    [error] = found["errors"]
    assert error["weight"] == 0.7
    assert error["texts"][0]["marks"] == [
        {"begin": 0, "end": 3, "label": "A", "role": "gold"},
        {"begin": 4, "end": 8, "label": "A", "role": "predicted"},
    ]
    assert task.submission(rows, answers) == {
        "predictions.conll": "good B-A B-A\nfilm O O\n\nbad B-A O\nplay O B-A\n\n"
    }


def test_answers_are_marked_beside_the_right_ones(report):
    def question(key, text, start):
        return Question(
            key, "what ?", "a good film", (Answer(text, start, start),), True, f"f: question {key}"
        )

    rows = [question("p", "good", 2), question("q", "film", 7)]
    answers = [
        {"answer": "good", "start": 2, "end": 6, "probability": 0.8, "null_difference": -1.0},
        {"answer": "a good", "start": 0, "end": 6, "probability": 0.6, "null_difference": -2.0},
    ]
    found, _, task = report(QuestionAnswering, rows, answers)
    values = {score["name"]: score for score in found["scores"]}
    assert values["exact_match"]["value"] == 50 and values["exact_match"]["low"] == 0
    [error] = found["errors"]
    assert error["gold"] == "film" and error["predicted"] == "a good"
    assert [(m["begin"], m["end"], m["role"]) for m in error["texts"][1]["marks"]] == [
        (7, 11, "gold"),
        (0, 6, "predicted"),
    ]
    files = task.submission(rows, answers)
    assert list(files) == ["predictions.json"] and json.loads(files["predictions.json"]) == {
        "p": "good",
        "q": "a good",
    }


def test_labels_given_wrongly_come_by_how_sure_the_model_was(report):
    rows = [
        LabelSetExample("good film", None, ("film", "praise"), "f:1"),
        LabelSetExample("bad play", None, ("play",), "f:2"),
        LabelSetExample("what ?", None, (), "f:3"),
    ]
    likely = [(0.9, 0.1, 0.8), (0.6, 0.2, 0.1), (0.7, 0.1, 0.1)]
    labels = ["film", "play", "praise"]
    answers = [
        {
            "labels": [label for label, p in zip(labels, row, strict=True) if p >= 0.5],
            "label_ids": [number for number, p in enumerate(row) if p >= 0.5],
            "probabilities": dict(zip(labels, row, strict=True)),
        }
        for row in likely
    ]
    found, page, _ = report(MultiLabel, rows, answers)
    score = found["scores"][0]
    assert score["name"] == "micro_f1" and score["value"] == pytest.approx(4 / 7) and score["low"] < 4 / 7
    # Against `play` of row 2 the model was surer, 0.8, than for `film`, 0.6.
    assert [(e["source"], e["gold"], e["predicted"], e["weight"]) for e in found["errors"]] == [
        ("f:2", "play", "film", 0.8),
        ("f:3", "none", "film", 0.7),
    ]
    assert found["per_label"]["film"] == {"precision": 1 / 3, "recall": 1.0, "f1": 0.5, "support": 1}
    assert sum(row["count"] for row in found["calibration"]["bins"]) == 9
    assert "from a probability of 0.5 on" in page
    assert "Calibration counts each label of each row" in page


def test_choices_are_shown_with_text_and_question(report):
    rows = [
        ChoiceExample("a film", "was it good ?", ("yes", "no"), 1, "f:1"),
        ChoiceExample("", "which ?", ("play", "film"), 0, "f:2"),
    ]
    answers = [
        {"choice": "yes", "choice_id": 0, "score": 0.75, "probabilities": [0.75, 0.25]},
        {"choice": "play", "choice_id": 0, "score": 0.6, "probabilities": [0.6, 0.4]},
    ]
    found, _, _ = report(MultipleChoice, rows, answers)
    [score] = found["scores"]
    assert (score["name"], score["value"], score["low"], score["high"]) == ("accuracy", 0.5, 0, 1)
    [error] = found["errors"]
    assert (error["gold"], error["predicted"], error["weight"]) == ("no", "yes", 0.75)
    assert [(text["name"], text["text"]) for text in error["texts"]] == [
        ("text", "a film"),
        ("question", "was it good ?"),
        ("choice", "yes"),
        ("choice", "no"),
    ]
    assert found["calibration"]["expected_calibration_error"] == pytest.approx((0.75 + 0.4) / 2)


def test_cosines_are_compared_by_rank(report):
    rows = [ScoredExample("a", "b", float(i), f"f:{i}") for i in range(4)]
    found, page, _ = report(Embedding, rows, [{"similarity": value} for value in (0.9, 0.1, 0.2, 0.3)])
    assert found["scores"][0]["name"] == "spearman" and found["scores"][0]["low"] is not None
    assert found["number_pairs"][0] == [0.0, 0.9] and found["numbers_are"] == "cosine"
    assert found["errors_by"] == "distance of ranks"
    assert [(e["source"], e["weight"]) for e in found["errors"][:2]] == [("f:0", 3.0), ("f:1", 1.0)]
    assert "Of 4 rows the 4 of the largest distance of ranks" in page and "not right" not in page
    found, _, _ = report(Embedding, rows, [{"similarity": value} for value in (0.1, 0.3, 0.2, 0.9)])
    assert [(e["source"], e["weight"]) for e in found["errors"]] == [("f:1", 1.0), ("f:2", 1.0)]


def test_texts_not_found_first_come_by_rank(report):
    rows = [Triple(f"a{i}", f"b{i}", f"c{i}", f"f:{i}") for i in range(3)]
    found, page, _ = report(Embedding, rows, [{"similarity": 0.5, "rank": rank} for rank in (1, 2, 3)])
    assert "2 of 2 rows that are not right, those of the largest rank first." in page
    assert found["scores"][0]["name"] == "recall@1" and found["scores"][0]["value"] == pytest.approx(1 / 3)
    assert [(e["source"], e["predicted"]) for e in found["errors"]] == [("f:2", "rank 3"), ("f:1", "rank 2")]
    assert [text["name"] for text in found["errors"][0]["texts"]] == ["anchor", "positive", "negative"]


def test_the_time_before_an_interruption_counts(tiny_vocab, tmp_path):
    """Of two runs the second one is the last part of a stopped one."""
    points = [GridPoint(RunSettings(seed=seed), tmp_path / str(seed), 0.5) for seed in (1, 2)]
    for point, seconds in zip(points, (300, 400), strict=True):
        point.folder.mkdir()
        line = json.dumps({"step": 7, "seconds": seconds})
        (point.folder / "metrics.jsonl").write_text(f'{{"step": 3, "seconds": 9}}\n{line}\n', "utf-8")
    rows = [Example("a", None, label, f"f:{label}") for label in ("no", "yes")]
    task = Classification.learn(rows, WordPieceTokenizer(str(tiny_vocab)), max_length=32)
    best = SimpleNamespace(task=task, history=[], scores={})
    for took, told in [(60.0, 700), (900.0, 900)]:
        write_results(tmp_path, best, points, [], None, flags={}, data={}, seconds=took)
        assert json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["seconds"] == told
