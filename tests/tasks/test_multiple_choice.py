"""Multiple choice: unlike numbers of choices in one batch, and what is cut when the text is long."""

import dataclasses

import numpy as np
import pytest

from kbert.data import ChoiceExample, training_batches
from kbert.errors import InputError
from kbert.inference import Predictor
from kbert.models import MultipleChoiceObjective
from kbert.tasks import Columns, MultipleChoice, task_class


def row(text, question, choices, label=0, line=2):
    return ChoiceExample(text, question, tuple(choices), label, f"f:{line}")


DATA = [
    row("the film was good .", "is the film good ?", ["bad", "very good", "not"], 1),
    row("the play", "", ["is bad", "was"], 0, 3),
]


def make_task(tokenizer, max_length=20):
    return task_class("multiple_choice")(MultipleChoice.learn(DATA, tokenizer, max_length).spec, tokenizer)


def words_of(task, ids):
    return [[" ".join(task.tokenizer.vocab.tokens[i] for i in choice) for choice in r] for r in ids.to_list()]


def test_each_choice_is_a_sequence_of_its_own(tokenizer):
    task = make_task(tokenizer)
    encoded = task.encode(DATA)
    first = "[CLS] the film was good . [SEP] is the film good ? "
    assert words_of(task, encoded.inputs["token_ids"]) == [
        [first + "bad [SEP]", first + "very good [SEP]", first + "not [SEP]"],
        ["[CLS] the play [SEP] is bad [SEP]", "[CLS] the play [SEP] was [SEP]"],
    ]
    assert encoded.inputs["segment_ids"].to_list()[1] == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
    assert encoded.targets["label"].tolist() == [1, 0] and encoded.lengths.tolist() == [15, 7]
    assert encoded.num_truncated == 0


def test_a_question_without_a_text_is_read_as_in_a_file(tokenizer, tmp_path):
    task, file = make_task(tokenizer), tmp_path / "f.jsonl"
    file.write_text('{"question": "is the film good", "choices": ["very", "not"], "label": 0}\n', "utf-8")
    given = task.rows_of([""], [["very", "not"]], ["is the film good"])
    of_file, of_call = (
        task.encode(MultipleChoice.read(str(file), Columns())),
        task.encode(given, labelled=False),
    )
    for name, values in of_file.inputs.items():
        assert of_call.inputs[name].to_list() == values.to_list(), name
    assert words_of(task, of_call.inputs["token_ids"])[0][0] == "[CLS] is the film good [SEP] very [SEP]"


def test_a_long_passage_gives_way_to_question_and_choice(tokenizer):
    long = [row("film " * 30, "is the play good", ["very bad", "not"]), DATA[1]]
    task = make_task(tokenizer, 16)
    encoded = task.encode(long)
    assert words_of(task, encoded.inputs["token_ids"])[0][0] == (
        "[CLS]" + 7 * " film" + " [SEP] is the play good very bad [SEP]"
    )
    assert encoded.num_truncated == 1


def test_answers_are_the_model_s_own_however_the_batch_is_filled(tokenizer, tiny_config):
    task = make_task(tokenizer)
    model = task.blank_model(tiny_config)
    model.build()
    for weight in model.weights:
        weight.assign(np.random.default_rng(3).normal(0, 0.3, weight.shape))
    encoded = task.encode(DATA, labelled=False)
    together = task.answers(DATA, encoded, Predictor(task, model)(encoded))
    for one, data in zip(together, DATA, strict=True):
        alone = task.encode([data], labelled=False)
        inputs = {name: ids.to_tensor() for name, ids in alone.inputs.items()}
        inputs["padding_mask"] = (inputs["token_ids"].numpy() > 0).astype("int32")
        logits = np.asarray(model(inputs)["logits"])[0].astype(float)
        expected = np.exp(logits) / np.exp(logits).sum()
        assert one["probabilities"] == pytest.approx(expected.tolist(), abs=1e-5)
        assert one["choice_id"] == expected.argmax() and one["choice"] == data.choices[one["choice_id"]]
        assert one["score"] == max(one["probabilities"])
    assert isinstance(task.objective(model), MultipleChoiceObjective)


@pytest.mark.slow
def test_what_fills_up_the_batch_is_never_chosen(tokenizer):
    task = make_task(tokenizer)
    outputs = {"logits": [np.array([1.0, 3.0, 2.0]), np.array([-2e9, -3e9, -1e9])]}
    answers = task.answers(DATA, task.encode(DATA), outputs)
    assert [answer["choice"] for answer in answers] == ["very good", "is bad"]
    assert task.scores(DATA, answers) == {"accuracy": 1.0}
    answers[0]["choice_id"] = 0
    assert task.scores(DATA, answers) == {"accuracy": 0.5}


def test_an_empty_choice_is_none(tokenizer):
    """It fills up a list, as in files with as many choices in each row; exports have the same rule."""
    task = make_task(tokenizer)
    given = task.rows_of(["t"] * 3, [["a", "", "b", ""], ["", "a"], ["", ""]])
    outputs = {"logits": [np.array([1.0, 9.0, 1.0, 2.0]), np.array([5.0, -3e9]), np.array([1.0, 2.0])]}
    first, second, none = task.answers(given, task.encode(given, labelled=False), outputs)
    assert (first["choice"], first["choice_id"], first["probabilities"]) == ("a", 0, [0.5, 0.0, 0.5, 0.0])
    assert (second["choice"], second["choice_id"], none["choice"]) == ("a", 1, "")
    assert none["score"] == 0.0 and none["probabilities"] == [0.0, 0.0]


def test_an_empty_choice_is_none_in_training_too(tokenizer, tiny_config):
    """Else the softmax is over choices that are not there, and the model learns that they are wrong."""
    task = make_task(tokenizer)
    filled = [row("the play", "", ["", "was", "is bad", ""], 2, 3), DATA[0]]
    encoded, of_others = task.encode(filled), task.encode([row("the play", "", ["was", "is bad"], 1)])
    assert words_of(task, encoded.inputs["token_ids"])[0] == [
        "", "[CLS] the play [SEP] was [SEP]", "[CLS] the play [SEP] is bad [SEP]", ""
    ]  # fmt: skip
    model = task.blank_model(tiny_config)
    model.build()

    def terms_of(rows):
        ((inputs, targets),) = training_batches(rows, 1, 1, seed=1).take(1)
        return task.objective(model)(model(inputs), targets)

    first = task.encode(filled[:1])
    assert np.array(terms_of(first)["loss"]) == pytest.approx(np.array(terms_of(of_others)["loss"]), rel=1e-5)


def test_a_row_is_not_learned_whose_right_choice_is_none(tokenizer):
    with pytest.raises(InputError, match="f:7: the right choice is an empty one, which is none"):
        MultipleChoice.learn([*DATA, row("the play", "", ["", "was"], 0, 7)], tokenizer, 20)


def test_a_question_without_any_choice_can_be_read(tokenizer):
    """A batch of nothing but such rows would have no width."""
    assert make_task(tokenizer).encode([row("the play", "", ["", ""])]).lengths.tolist() == [5]


@pytest.mark.slow
def test_it_learns(tokenizer, fine_tuned):
    rng = np.random.default_rng(5)
    data = []
    for line in range(16):
        choices = ["bad", "not", "very", "good"][: 3 + line % 2]
        choices[0] = "film"  # Always right, wherever it stands.
        order = rng.permutation(len(choices))
        data.append(row("the", "", [choices[i] for i in order], int(np.flatnonzero(order == 0)[0]), line))
    done = fine_tuned(MultipleChoice.learn(data, tokenizer, 16), data, epochs=20)
    assert done.scores == {"accuracy": 1.0}


def test_from_python_and_from_a_file(tokenizer, tmp_path):
    task = make_task(tokenizer)
    assert task.rows_of(["t"], [["a", "b"]], ["q"]) == [ChoiceExample("t", "q", ("a", "b"), None, "texts")]
    assert task.rows_of(["t"], [["a", "b"]])[0].question == ""
    with pytest.raises(InputError, match="1 texts, 2 lists of choices"):
        task.rows_of(["t"], [["a", "b"], ["c", "d"]])
    with pytest.raises(InputError, match="choices are 'ab'; expected a list of 2 texts or more"):
        task.rows_of(["t"], ["ab"])
    for missing in (float("nan"), None, [], ["a"], ["a", float("nan")]):
        with pytest.raises(InputError, match="the choices are .*; expected a list of 2 texts or more"):
            task.rows_of(["t"], [missing])
    assert task.rows_of(["t"], np.array([["a", "b"]]))[0].choices == ("a", "b")
    for columns in (["t", None], [["a", "b"]] * 2), (["t"] * 2, [["a", "b"]] * 2, ["q", None]):
        with pytest.raises(InputError, match="text 1 is None; expected a string"):
            task.rows_of(*columns)
    file = tmp_path / "f.jsonl"
    file.write_text('{"question": "q", "choices": ["a", "b"], "answer": "B"}\n', encoding="utf-8")
    (read,) = MultipleChoice.read(str(file), Columns())
    assert read == ChoiceExample("q", "", ("a", "b"), 1, f"{file}:1")
    assert task.rows_of([""], [["a", "b"]], ["q"]) == [ChoiceExample("q", "", ("a", "b"), None, "texts")]
    assert task.prediction_row(read, {"choice_id": 0}) == {"source": f"{file}:1", "gold": 1, "choice_id": 0}


def test_passages_of_further_files_are_read_by_the_column_of_training(tokenizer, tmp_path):
    file, other = tmp_path / "f.jsonl", tmp_path / "o.jsonl"
    file.write_text('{"story": "s", "question": "q", "choices": ["a", "b"], "label": 0}\n', encoding="utf-8")
    other.write_text('{"question": "q", "choices": ["a", "b"], "label": 0}\n', encoding="utf-8")
    named = Columns(text="story")
    rows = MultipleChoice.read(str(file), named)
    kept = MultipleChoice.columns_to_keep(str(file), named, rows)
    task = MultipleChoice.learn(rows, tokenizer, 16, **kept)
    later = Columns(**task.kept_columns)
    assert MultipleChoice.read(str(file), later) == rows and rows[0].text == "s"
    with pytest.raises(InputError, match="there is no column 'story'; .* set --text_column"):
        MultipleChoice.read(str(other), later)
    for columns in dataclasses.replace(later, text=""), Columns(**make_task(tokenizer).kept_columns):
        assert MultipleChoice.read(str(other), columns)[0].text == "q"
