"""The graph of question answering gives what the task decodes in NumPy."""

import functools
import random

import numpy as np
import pytest
import tensorflow as tf

from kbert.config import BertConfig
from kbert.data import read_questions
from kbert.errors import InputError
from kbert.export import export, samples, text_module
from kbert.export.text_answers import MAX_WINDOWS
from kbert.tasks import QuestionAnswering
from kbert.text import WordPieceTokenizer
from tests.export.conftest import MAX_LENGTH, WORDS
from tests.export.test_signatures import TEXTS


@pytest.fixture
def make(tokenizer):
    """Function of what a question-answering task's spec has, to the module, with random weights."""

    def make(tokenizer=tokenizer, scale=0.3, exported_length=None, **spec):
        settings = {
            "measure": "squad",
            "stride": 8,
            "max_question_length": 9,
            "max_answer_length": 5,
            "n_best": 20,
        }
        spec = {"name": "question_answering", "max_length": MAX_LENGTH, "lowercase": True} | settings | spec
        task = QuestionAnswering(spec, tokenizer)
        config = BertConfig(
            vocab_size=len(tokenizer.vocab), hidden_dim=16, num_layers=1, num_heads=2,
            intermediate_dim=32, max_length=48,
        )  # fmt: skip
        model = task.blank_model(config)
        model.build()
        generator = np.random.default_rng(3)
        for weight in model.weights:
            if "layer_norm" not in weight.path:
                weight.assign(generator.normal(0, scale, weight.shape))
        return text_module(task, model, exported_length)

    return make


def random_requests(seed, count=8):
    rng = random.Random(seed)

    def text(most):
        words = rng.choices(
            [*WORDS, "café", "cafe\u0301", "😀", "Straße", "zzz", "loses"], k=rng.randrange(most)
        )
        return " ".join(words).encode()

    return [text(14) for _ in range(count)], [text(120) for _ in range(count)]


ODD = [*TEXTS, *samples.TEXTS, b"the way " * 120]
ASKED = [ODD[place - 4] for place in range(len(ODD))]


def assert_same(found, wanted):
    """Rows of a graph and plain answers; lists are filled up behind their end."""
    for name, values in found.items():
        for row, want in enumerate(wanted):
            value, expected = values.numpy()[row], want[name]
            if isinstance(expected, list):
                filling = {"answers": b"", "starts": -1, "ends": -1}.get(name, 0.0)
                assert all(rest == filling for rest in value[len(expected) :].tolist()), name
                value = value[: len(expected)]
                expected = [text.encode() for text in expected] if name == "answers" else expected
            if values.dtype == tf.float32:
                np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5, err_msg=name)
            elif values.dtype == tf.string:
                assert np.array_equal(value, expected if isinstance(expected, list) else expected.encode()), (
                    name
                )
            else:
                assert np.array_equal(value, expected), name


def assert_is_the_tasks(module, questions, contexts):
    # Both references ask the task, which runs the model; once for each row is enough.
    module._answer_of_task = functools.cache(module._answer_of_task)
    wanted = [module.reference(*row) for row in zip(questions, contexts, strict=True)]
    texts = tf.constant(questions), tf.constant(contexts)
    assert_same(module.answer(*texts), wanted)
    listed = [module.reference_all(*row) for row in zip(questions, contexts, strict=True)]
    assert_same(module.answer_all(*texts), listed)
    return wanted


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"n_best": 1},
        {"n_best": 3, "null_threshold": 0.0, "stride": 1},
        {"null_threshold": -0.5, "stride": 28, "max_answer_length": 40},
        {"null_threshold": 100.0, "max_question_length": 1},
        {"null_threshold": -100.0},
        {"scale": 0.0, "null_threshold": 0.0},  # All scores are equal: the order decides.
    ],
)
def test_answers_are_the_tasks(make, spec):
    module = make(**spec)
    questions, contexts = random_requests(1)
    rows = assert_is_the_tasks(module, [*questions, *ASKED], [*contexts, *ODD])
    assert {row["truncated"] for row in rows} == {False, True}
    if spec.get("null_threshold", 0.0) == 0.0 and spec.get("scale") != 0.0:
        assert len({row["answer"] for row in rows}) > 5
    assert max(row["num_windows"] for row in rows) > 3


def test_windows_fit_another_length_than_the_tasks(make):
    """Settings that nobody chose, of a model that was trained with longer windows."""
    chosen = {"stride": None, "max_question_length": None}
    module = make(max_length=48, **chosen)
    assert (module._stride, module._question_length) == (11, 22)
    module = make(max_length=48, exported_length=20, **chosen)
    assert (module._stride, module._question_length) == (4, 8)
    question, context = b"what never loses its way ?", b"the film is long but it never loses its way " * 3
    found = module.answer(tf.constant([question]), tf.constant([context]))
    assert_same(found, [module.reference(question, context)])
    with pytest.raises(InputError, match="stride=11; a window of max_length=20 holds 9 pieces"):
        make(max_length=48, exported_length=20, stride=11, max_question_length=8)


@pytest.mark.slow
def test_question_after_question_as_all_at_once(make):
    module = make(null_threshold=0.0)
    run = {name: module.signatures()[name] for name in ("serving_default", "nbest")}
    questions, contexts = random_requests(2, 8)
    questions, contexts = questions + ASKED[:5], contexts + ODD[:5]
    for function in run.values():
        together = function(question=tf.constant(questions), context=tf.constant(contexts))
        for row, (question, context) in enumerate(zip(questions, contexts, strict=True)):
            alone = function(question=tf.constant([question]), context=tf.constant([context]))
            for name, values in alone.items():
                if values.dtype == tf.float32:
                    np.testing.assert_allclose(values[0], together[name][row], atol=1e-5)
                else:
                    assert np.array_equal(values[0], together[name][row]), name
        none = function(question=tf.zeros([0], tf.string), context=tf.zeros([0], tf.string))
        assert {value.shape[0] for value in none.values()} == {0}


@pytest.mark.slow
def test_what_is_beyond_all_windows_or_a_megabyte_is_not_read(make):
    module = make(stride=3)
    room = MAX_LENGTH - 3 - 1
    most = room + (MAX_WINDOWS - 1) * 3
    contexts = [b"film " * (most - 1) + end for end in (b"way", b"way long", b"way" + b" long" * 300)]
    rows = assert_is_the_tasks(module, [b"the"] * 3, contexts)
    assert [row["num_windows"] for row in rows] == [MAX_WINDOWS] * 3
    assert [row["truncated"] for row in rows] == [False, True, True]
    huge = module.answer(tf.constant([b"the"]), tf.constant(["房间 film ".encode() * 120_000]))
    assert huge["truncated"].numpy().tolist() == [True]


@pytest.mark.slow
def test_unequal_inputs_and_wrong_ranks_are_refused_in_the_graph(make):
    unknown = tf.TensorSpec(None, tf.string)
    one, two = tf.constant([b"a"]), tf.constant([b"a", b"b"])
    for function in (make().answer, make().answer_all):
        run = tf.function(function, input_signature=[unknown, unknown], autograph=False)
        for question, context in ((one, two), (two, one), (one[0], one), (one, one[None]), (one[:0], one)):
            with pytest.raises(tf.errors.InvalidArgumentError):
                run(question, context)


@pytest.mark.slow
def test_signatures_have_the_names_and_types_of_the_contract(make):
    found = {
        name: {key: (spec.dtype.name, spec.shape.rank) for key, spec in function.structured_outputs.items()}
        for name, function in make(null_threshold=0.0).signatures().items()
    }
    assert found["serving_default"] == {
        "answer": ("string", 1), "score": ("float32", 1), "probability": ("float32", 1),
        "null_score": ("float32", 1), "start": ("int32", 1), "end": ("int32", 1),
        "num_windows": ("int32", 1), "truncated": ("bool", 1),
    }  # fmt: skip
    assert found["nbest"] == {
        "answers": ("string", 2), "scores": ("float32", 2), "probabilities": ("float32", 2),
        "starts": ("int32", 2), "ends": ("int32", 2), "num_answers": ("int32", 1),
    }  # fmt: skip


@pytest.mark.slow
def test_real_questions(make, shared):
    path = shared / "data" / "squad-v2.0" / "dev.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    vocab = shared / "data" / "vocab" / "bert-base-uncased.txt"
    known = {"tokenizer": WordPieceTokenizer(str(vocab))} if vocab.is_file() else {}
    rows = read_questions(str(path))[::100][:40]
    questions, contexts = zip(*[(row.question.encode(), row.context.encode()) for row in rows], strict=True)
    assert_is_the_tasks(make(null_threshold=0.0, stride=15, **known), list(questions), list(contexts))


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.parametrize("threshold", [None, 0.0])
def test_it_passes_the_self_test(make, threshold, tmp_path):
    assert export(make(null_threshold=threshold), tmp_path) == str(tmp_path / "1")
