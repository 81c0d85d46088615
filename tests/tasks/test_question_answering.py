"""Questions on passages: an oracle that knows the pieces gives the answers, by each benchmark's measure."""

import json
import tracemalloc

import numpy as np
import pytest

import kbert
from kbert.checkpoints import save_folder
from kbert.data import Answer, Question
from kbert.errors import InputError
from kbert.evaluation import squad_v2_scores
from kbert.tasks import Columns, QuestionAnswering, question_answering, task_class
from kbert.tasks.question_answering import window_settings
from kbert.text import WordPieceTokenizer

TEXT = "The film was very good! 我们很喜欢这部电影。"


def question(key, answer, context=TEXT, asked="was the film good?"):
    start = None if answer is None else context.index(answer)
    answers = () if answer is None else (Answer(answer, start, start),)
    return Question(key, asked, context, answers, answer is not None, f"f.json: question {key}")


def learn(tokenizer, rows, max_length=40, **options):
    return QuestionAnswering.learn(rows, tokenizer, max_length, **options)


def oracle(encoded, padding=3):
    """Scores of a model that knows the positions; what lies behind a row's end is still more likely."""
    targets = [encoded.targets[name] for name in ("start_position", "end_position")]
    outputs = {"start_logits": [], "end_logits": []}
    for length, *places in zip(encoded.lengths, *targets, strict=True):
        for name, place in zip(outputs, places, strict=True):
            logits = np.zeros(length + padding, np.float32)
            logits[max(place, 0)] = 10.0
            logits[length:] = 99.0
            outputs[name].append(logits)
    return outputs


def answered(task, rows, outputs=oracle):
    encoded = task.encode(rows)
    return task.answers(rows, encoded, outputs(encoded))


def test_answers_are_parts_of_the_passage_in_the_order_of_the_questions(tokenizer):
    golds = ["very good", "我们", "film", "电影", "The film was very good!"]
    rows = [question(str(-number), gold) for number, gold in enumerate(golds)]
    task = learn(tokenizer, rows, max_length=16, max_question_length=5)
    assert len(task.encode(rows)) > len(rows)
    answers = answered(task, rows)
    # The last has 6 pieces, of the 8 that a window holds.
    assert [answer["answer"] for answer in answers] == golds
    for row, answer in zip(rows, answers, strict=True):
        assert row.context[answer["start"] : answer["end"]] == answer["answer"]
        assert answer["n_best"][0] == {key: answer[key] for key in answer["n_best"][0]}
        assert 0 < answer["probability"] <= 1 and answer["score"] == 20.0
    assert json.loads(json.dumps(answers)) == answers
    assert task.scores(rows, answers)["f1"] == 100.0
    assert task.prediction_row(rows[1], answers[1]) == {
        "source": "f.json: question -1", "id": "-1", "question": "was the film good?", "gold": ["我们"],
        **answers[1],
    }  # fmt: skip


def test_texts_from_python_are_strings(tokenizer):
    task = learn(tokenizer, [question("1", "film")])
    for columns in (["q", None], [TEXT] * 2), (["q"] * 2, [TEXT, None]):
        with pytest.raises(InputError, match="text 1 is None; expected a string"):
            task.rows_of(*columns)


def test_settings_that_are_left_out_fit_the_windows(tokenizer):
    rows = [question("1", "film")]
    names = ("max_answer_length", "measure", "null_threshold")

    def settled(max_length, **options):
        spec = learn(tokenizer, rows, max_length, **options).spec
        assert QuestionAnswering(spec, tokenizer).spec == spec
        # Models of before have the numbers; those of today keep None, for exports with other windows.
        before = spec | window_settings(spec)
        assert window_settings(before) == window_settings(spec)
        assert (spec["stride"], spec["max_question_length"]) == (
            options.get("stride"),
            options.get("max_question_length"),
        )
        return [*window_settings(spec).values(), *(spec[name] for name in names)]

    assert settled(384) == [128, 64, 30, "squad", None]
    assert settled(128) == [31, 62, 30, "squad", None]
    assert settled(8) == [1, 2, 30, "squad", None]
    assert settled(4)[:2] == [1, 1]
    assert settled(384, stride=200, max_question_length=32, max_answer_length=5)[:3] == [200, 32, 5]
    with pytest.raises(InputError, match="stride=0; expected at least 1"):
        settled(384, stride=0)
    with pytest.raises(InputError, match="measure='bleu'; expected one of auto, squad, squad_v2, cmrc"):
        settled(384, measure="bleu")
    with pytest.raises(InputError, match="stride=99.*expected 1 to 63"):
        learn(tokenizer, rows, 128, stride=99).encode(rows)


def test_long_answers_of_the_training_rows_lengthen_answers(tokenizer):
    rows = [question(str(n), "film") for n in range(95)]
    long = [question(str(n), "good " * 39 + "good", "good " * 50) for n in range(95, 100)]
    assert learn(tokenizer, rows + long).spec["max_answer_length"] == 40
    assert learn(tokenizer, rows).spec["max_answer_length"] == 30


def test_the_measure_is_that_of_the_data(tokenizer):
    english = [question("1", "film"), question("2", "good")]
    chinese = [question("1", "电影", context="我们很喜欢这部电影, film。" * 2)]
    cases = [(english, "squad", "exact_match"), (chinese, "cmrc", "em")]
    cases += [([*english, question("3", None)], "squad_v2", "exact")]
    for rows, measure, score in cases:
        task = learn(tokenizer, rows)
        assert task.spec["measure"] == measure
        assert task.scores(rows, answered(task, rows))[score] == 100.0
        assert task.best_score == "f1" and score in task.comparable_scores
    assert learn(tokenizer, chinese, measure="squad").spec["measure"] == "squad"
    with pytest.raises(InputError, match="question 3: has no answer; .* squad .*fine-tune with --measure=sq"):
        learn(tokenizer, english).encode([*english, question("3", None)])


def test_the_language_is_told_in_little_memory():
    """An object for each character would take forty times the room of the passages."""
    rows = [
        question("1", "电影", "我们很喜欢这部电影。" * 20_000),
        question("2", "good", "good film " * 17_000),
    ]
    rows += [question(str(number), "good", f"good {number}") for number in range(3, 900)]
    tracemalloc.start()
    measure = question_answering._customary_measure(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert measure == "cmrc" and peak < 1e6
    assert question_answering._customary_measure(rows[1:]) == "squad"
    assert question_answering._customary_measure([*rows[1:900], *rows[2:500], rows[0]]) == "cmrc"
    many = [question(str(number), "good", f"good {number}") for number in range(1001)]
    assert question_answering._customary_measure([*many, rows[0]]) == "squad"


def outputs_of_differences(task, golds, differences):
    """Of a model that knows the answers, and says for each question how much no answer scores above it."""
    encoded = task.encode([question(str(number), gold or "was") for number, gold in enumerate(golds)])
    outputs = {name: [0.5 * logits for logits in rows] for name, rows in oracle(encoded, padding=0).items()}
    for logits, difference in zip(outputs["start_logits"], differences, strict=True):
        logits[0] = 10.0 + difference
    return outputs


def test_a_threshold_for_no_answer_is_chosen_on_dev_and_kept(tokenizer):
    """How much no answer scores above the best answer is 1, 3, 2 and 4 here: 2.x parts them."""
    golds = ["film", None, "good", None]
    rows = [question(str(number), gold) for number, gold in enumerate(golds)]
    task = learn(tokenizer, rows)
    assert task.spec["null_threshold"] == 0.0
    encoded = task.encode(rows)
    outputs = outputs_of_differences(task, golds, [1.0, 3.0, 2.0, 4.0])
    assert [answer["answer"] for answer in task.answers(rows, encoded, outputs)] == [""] * 4
    chosen = task.chosen_on_dev(rows, encoded, outputs)
    assert chosen == {"null_threshold": 2.5}
    task.spec.update(chosen)
    again = task_class("question_answering")(json.loads(json.dumps(task.spec)), tokenizer)
    answers = again.answers(rows, encoded, outputs)
    assert [answer["answer"] for answer in answers] == ["film", "", "good", ""]
    moved = {name: [logits.copy() for logits in rows_of] for name, rows_of in outputs.items()}
    for logits in moved["start_logits"]:
        logits[0] += 1e-5
    assert [answer["answer"] for answer in again.answers(rows, encoded, moved)] == ["film", "", "good", ""]
    assert again.scores(rows, answers) == squad_v2_scores(
        {"0": ["film"], "1": [], "2": ["good"], "3": []}, {"0": "film", "1": "", "2": "good", "3": ""}
    )
    with_answers = [rows[0], rows[2]]
    assert task.chosen_on_dev(with_answers, task.encode(with_answers), outputs) == {}
    assert learn(tokenizer, with_answers).chosen_on_dev(with_answers, encoded, outputs) == {}


@pytest.mark.parametrize(
    "golds, differences, threshold",
    [
        (["film", "good", None], [1.0, 2.0, -1.0], 2.5),  # It is best to answer all,
        ([None, None], [-1.0, 2.0], -1.5),  # or nothing.
        ([None, None], [0.25, 2.0], -0.25),
        ([None, None], [1.0, 2.0], 0.0),
    ],
)
def test_a_threshold_at_an_end_of_dev_lies_on_none_of_its_questions(tokenizer, golds, differences, threshold):
    """An export, whose numbers are a little other ones, gives the same answers."""
    task = learn(tokenizer, [question("1", "film"), question("2", None)])
    rows = [question(str(number), gold) for number, gold in enumerate(golds)]
    encoded, outputs = task.encode(rows), outputs_of_differences(task, golds, differences)
    chosen = task.chosen_on_dev(rows, encoded, outputs)
    assert chosen == {"null_threshold": threshold}
    task.spec.update(chosen)
    expected = [
        "" if difference > threshold else gold or "was"
        for gold, difference in zip(golds, differences, strict=True)
    ]
    assert [answer["answer"] for answer in task.answers(rows, encoded, outputs)] == expected


@pytest.mark.slow
def test_a_model_learns_to_answer(fine_tuned, tokenizer, tiny_vocab, tmp_path):
    """The answer is the one Chinese character; where there is none, there is no answer."""
    rows = []
    for number in range(40):
        rng = np.random.default_rng(number)
        words = list(rng.choice(["film", "play", "good", "bad", "very"], size=rng.integers(3, 12)))
        gold = str(rng.choice(["我", "们", "很", "电"])) if number % 4 else None
        words.insert(int(rng.integers(len(words))), gold or "not")
        rows.append(question(str(number), gold, " ".join(words), asked="was"))
    task = learn(tokenizer, rows, max_length=10, max_question_length=2)
    assert len(task.encode(rows)) > len(rows)
    done = fine_tuned(task, rows)
    assert done.scores["f1"] > 95.0 and done.scores["NoAns_exact"] > 85.0
    assert done.history[-1]["loss"] < 0.5 * done.history[0]["loss"]
    save_folder(tmp_path / "m", done.model, task=done.task.spec, vocab_path=tiny_vocab)
    answering = kbert.pipeline(tmp_path / "m")
    answers = answering([row.question for row in rows], [row.context for row in rows])
    assert [answer["answer"] for answer in answers] == [answer["answer"] for answer in done.answers]
    assert answering(rows[0].question, rows[0].context)["answer"] == answers[0]["answer"]
    assert answering("film", "")["answer"] == "" and answering([], []) == []
    with pytest.raises(InputError, match="2 questions and 1 passages"):
        answering(["a", "b"], ["c"])


def test_qa_is_no_name():
    with pytest.raises(InputError, match="task 'qa'; expected one of .*question_answering"):
        task_class("qa")


@pytest.mark.parametrize(
    "name, vocab, least",
    [
        ("xquad-zh", "chinese", 100.0),
        ("xquad-en", "uncased", 99.4),
        ("squad-v2.0", "uncased", 100.0),
        pytest.param("squad-v1.1", "cased", 99.8, marks=pytest.mark.slow),
        pytest.param("cmrc2018", "chinese", 99.9, marks=pytest.mark.slow),
        pytest.param("drcd", "chinese", 100.0, marks=pytest.mark.slow),
    ],
)
def test_pieces_reach_the_answers_of_the_benchmarks(shared, name, vocab, least):
    """What is missing to 100 are answers that end within a word, such as `(2,70` of `(2,700,000`."""
    tokenizer = WordPieceTokenizer(
        str(shared / f"data/vocab/bert-base-{vocab}.txt"), lowercase=vocab != "cased"
    )
    rows = QuestionAnswering.read(str(shared / f"data/{name}/dev.json"), Columns())
    task = learn(tokenizer, rows, max_length=384, max_answer_length=200)
    answers = answered(task, rows)
    scores = task.scores(rows, answers)
    assert scores[task.comparable_scores[1]] >= least
    for row, answer in zip(rows, answers, strict=True):
        if row.answer is not None:
            start, end = row.answer.start, row.answer.start + len(row.answer.text)
            assert answer["start"] <= start and end <= answer["end"]


@pytest.mark.parametrize("task", ["tagging", "question_answering"])
def test_data_sets_that_a_task_does_not_read(task):
    with pytest.raises(InputError, match=f"tfds:x: --task={task} reads no tfds: data set; write its rows"):
        task_class(task).read("tfds:x", Columns())


def test_columns_that_a_task_does_not_look_at():
    """Whoever names them would else train on others."""
    for columns, flag in [(Columns(label="x"), "label_column"), (Columns(names=("a",)), "columns")]:
        with pytest.raises(InputError, match=f"--{flag} says nothing to --task=question_answering"):
            QuestionAnswering.read("f.json", columns)
    with pytest.raises(InputError, match="--pair_column says nothing to --task=tagging"):
        task_class("tagging").read("f.txt", Columns(text="0", pair="1"))


@pytest.mark.parametrize(
    "name, flags",
    [
        ("classification", ["separator"]),
        ("regression", ["separator"]),
        ("embedding", ["separator", "no_label"]),
        ("multiple_choice", ["separator", "no_label"]),
        ("tagging", ["separator", "no_label"]),
        ("question_answering", ["separator", "no_label"]),
    ],
)
def test_marks_that_a_task_does_not_look_at(name, flags):
    for flag in flags:
        with pytest.raises(InputError, match=f"^--{flag} says nothing to --task={name}; leave it out"):
            task_class(name).read("f.tsv", Columns(**{flag: "|"}))
