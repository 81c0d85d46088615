"""The graphs of tasks on texts give what the tasks answer in NumPy: labels, numbers, vectors, choices."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from kbert import features
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.export import export, text_module
from kbert.export.text_answers import MAX_WINDOWS
from kbert.export.window_pooling import pool_classes, pool_numbers
from kbert.models import Bert
from kbert.tasks import task_class
from tests.export.conftest import LABELS, MAX_LENGTH
from tests.export.test_signatures import TEXTS

LONG = b"the film is long but it never loses its way , once more " * 9
SPECS = {
    "classification": {"labels": LABELS},
    "multi_label": {"labels": LABELS, "threshold": 0.4},
    "regression": {"mean": 3.0, "deviation": 2.5},
    "embedding": {"form": "scored"},
    "multiple_choice": {},
}
WINDOWS = {"long_text": "windows", "stride": 11}


@pytest.fixture
def make(tokenizer):
    """Function of a task's name and what its spec has besides, to the module, with random weights."""

    def make(name, **changes):
        spec = {"name": name, "max_length": MAX_LENGTH, "lowercase": True, "pair": False}
        task = task_class(name)({**spec, **SPECS[name], **changes}, tokenizer)
        config = BertConfig(
            vocab_size=len(tokenizer.vocab), hidden_dim=16, num_layers=1, num_heads=2,
            intermediate_dim=32, max_length=48,
        )  # fmt: skip
        model = task.blank_model(config)
        model.build()
        generator = np.random.default_rng(3)
        for weight in model.weights:
            if "layer_norm" not in weight.path:
                weight.assign(generator.normal(0, 0.3, weight.shape))
        return text_module(task, model)

    return make


def assert_same(outputs, rows):
    """The outputs of a graph and the plain answers to its rows."""
    assert set(outputs) == set(rows[0])
    for name, values in outputs.items():
        want = [row[name] for row in rows]
        if values.dtype == tf.string:
            found = [
                [text.decode() for text in row] if np.ndim(row) else row.decode() for row in values.numpy()
            ]
            assert found == want, name
        elif values.dtype == tf.float32:
            np.testing.assert_allclose(values, np.array(want), atol=1e-5, err_msg=name)
        else:
            assert values.numpy().tolist() == want, name


@pytest.mark.slow_after_first
@pytest.mark.parametrize("pooling", ["mean", "max", "vote"])
@pytest.mark.parametrize("name", ["classification", "multi_label", "regression"])
def test_long_texts_are_read_in_windows_and_pooled_as_the_task_does(make, name, pooling):
    module = make(name, **WINDOWS, window_pooling=pooling)
    texts = [*TEXTS, LONG, LONG[:400]]
    rows = [module.reference(text) for text in texts]
    assert {row["truncated"] for row in rows} == {False, True}  # one of TEXTS has more than all windows
    assert max(row["num_tokens"] for row in rows) == 38 + (MAX_WINDOWS - 1) * 11 + 2
    assert_same(module.answer(tf.constant(texts)), rows)
    if pooling == "max":  # Here an earlier window has the last word.
        return
    # The end of a text that is read in windows has a say.
    changed = module.answer(tf.constant([LONG, LONG + "房间很干净".encode() * 20]))
    value = changed["score" if name == "regression" else "probabilities"].numpy()
    assert np.abs(value[0] - value[1]).max() > 1e-3


@pytest.mark.slow_after_first
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("name", ["classification", "multi_label", "regression"])
def test_texts_and_pairs_get_the_tasks_answers(make, name, pair):
    module = make(name, pair=pair)
    inputs = [TEXTS, TEXTS[3:] + TEXTS[:3]] if pair else [TEXTS]
    rows = [module.reference(*texts) for texts in zip(*inputs, strict=True)]
    assert_same(module.answer(*map(tf.constant, inputs)), rows)


def test_embeddings_are_the_tasks(make):
    module = make("embedding")
    rows = [module.reference(text) for text in TEXTS]
    assert_same(module.answer(tf.constant(TEXTS)), rows)
    np.testing.assert_allclose([np.linalg.norm(row["embedding"]) for row in rows], 1.0, atol=1e-6)


def test_a_question_without_a_text_stands_in_its_place(make):
    module, question, choices = make("multiple_choice"), b"the film is", [b"long", b"a way"]
    columns = ([b"", question, b"it"], [question, b"", question], [choices] * 3)
    outputs = module.answer(*map(tf.constant, columns))
    rows = [module.reference(*row) for row in zip(*columns, strict=True)]
    assert_same(outputs, rows)
    assert rows[0] == rows[1] != rows[2]


def test_an_empty_choice_may_stand_anywhere(make):
    module = make("multiple_choice")
    columns = ([b"the film"] * 2, [b""] * 2, [[b"long", b"", b"a way"], [b"", b"way", b"long"]])
    rows = [module.reference(*row) for row in zip(*columns, strict=True)]
    assert_same(module.answer(*map(tf.constant, columns)), rows)
    assert rows[0]["probabilities"][1] == 0.0 == rows[1]["probabilities"][0]


@pytest.mark.slow
def test_choices_are_the_tasks_and_an_empty_one_is_none(make):
    module = make("multiple_choice")
    rows = [(text, TEXTS[i - 1], [b"it is long", text + b" way", b""]) for i, text in enumerate(TEXTS)]
    rows[0] = (*rows[0][:2], [b"the film", b"a sentence", b"way " * 40])
    texts, questions, choices = (tf.constant(column) for column in zip(*rows, strict=True))
    outputs = module.answer(texts, questions, choices)
    assert_same(outputs, [module.reference(*row) for row in rows])
    assert (outputs["probabilities"].numpy()[1:, 2] == 0).all()
    assert outputs["probabilities"].numpy()[0, 2] > 0
    run = module.signatures()["serving_default"]
    none = run(text=texts[:2], question=questions[:2], choices=tf.fill([2, 3], ""))
    assert not none["probabilities"].numpy().any() and not none["score"].numpy().any()
    empty = run(text=texts[:0], question=questions[:0], choices=choices[:0])
    assert empty["probabilities"].shape == (0, 3) and empty["choice"].shape == (0,)


@pytest.mark.slow_after_first
@pytest.mark.parametrize("name", SPECS)
def test_a_batch_of_none_has_empty_answers(make, name):
    module = make(name, **(WINDOWS if name in ("classification", "regression") else {}))
    for signature, function in module.signatures().items():
        shapes = {spec.name: [0, *(spec.shape.as_list()[1:])] for spec in module.contract()[signature].inputs}
        shapes = {key: [2 if size is None else size for size in shape] for key, shape in shapes.items()}
        outputs = function(**{key: tf.zeros(shape, tf.string) for key, shape in shapes.items()})
        assert {value.shape[0] for value in outputs.values()} == {0}, signature


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.parametrize("name", ["multi_label", "regression", "embedding", "multiple_choice"])
def test_every_task_passes_the_self_test(make, name, tmp_path):
    windows = WINDOWS if name in ("multi_label", "regression") else {}
    assert export(make(name, **windows), tmp_path) == str(tmp_path / "1")


def test_pieces_are_those_of_the_tokenizer_in_plain_python(make):
    module = make("embedding")
    outputs = module.tokenize(tf.constant(TEXTS))
    for row, text in enumerate(TEXTS):
        want = module.tokenize_reference(text)
        count = outputs["num_tokens"].numpy()[row]
        assert outputs["token_ids"].numpy()[row].tolist()[:count] == want["token_ids"]
        assert (outputs["token_ids"].numpy()[row][count:] == -1).all()
        assert [token.decode() for token in outputs["tokens"].numpy()[row][:count]] == want["tokens"]
        assert bool(outputs["truncated"].numpy()[row]) == want["truncated"]


def test_example_signatures_take_what_tf_serving_sends(make):
    module = make("classification", pair=True)
    answer = module.contract()["classify"].answer

    def example(**texts):
        feature = {
            key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text])) for key, text in texts.items()
        }
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    outputs = answer(tf.constant([example(text=b"the film", text_pair=b"way"), example(text=b"it is long")]))
    want = [module.reference(b"the film", b"way"), module.reference(b"it is long", b"")]
    np.testing.assert_allclose(outputs["scores"], [row["probabilities"] for row in want], atol=1e-5)
    assert [label.decode() for label in outputs["classes"].numpy()[1]] == LABELS
    for wrong in (example(text_pair=b"alone"), b"no example"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            answer(tf.constant([wrong]))


def test_pooling_in_the_graph_is_that_of_numpy():
    from kbert import evaluation

    generator = np.random.default_rng(0)
    owner = np.repeat(np.arange(40), generator.integers(1, 6, 40)).astype(np.int32)
    values = generator.dirichlet(np.ones(4), len(owner)).astype(np.float32)
    values[::3] = np.roll(values[1::3][: len(values[::3])], 1, axis=1)[: len(values[::3])].mean()  # ties
    for pooling in evaluation.POOLINGS:
        for ours, theirs in (
            (pool_numbers, evaluation.pool_numbers),
            (pool_classes, evaluation.pool_classes),
        ):
            found = ours(tf.constant(values), tf.constant(owner), tf.constant(40), pooling)
            np.testing.assert_allclose(found, theirs(values, owner, pooling), atol=1e-6)


def test_a_task_without_a_graph_is_refused(make_task, make_model):
    task = make_task()
    task.name = "translation"
    with pytest.raises(InputError, match="translation.*expected one of classification"):
        text_module(task, make_model())


def test_no_choice_of_the_self_test_is_best_by_rounding_alone(make):
    signature = make("multiple_choice").contract()["serving_default"]
    for request in signature.requests:
        for row in zip(*request.values(), strict=True):
            probabilities = np.sort(signature.reference(*row)["probabilities"])
            assert probabilities[-1] - probabilities[-2] > 1e-5, row


@pytest.mark.slow_after_first
@pytest.mark.parametrize("name", SPECS)
def test_the_graph_leaves_padding_out_and_the_model_is_left_as_it_was(make, name, monkeypatch):
    seen = []
    call = Bert.call

    def noting(bert, inputs, *args, **kwargs):
        seen.append((bert, inputs, bert._leaves_padding_out(inputs)))
        return call(bert, inputs, *args, **kwargs)

    monkeypatch.setattr(Bert, "call", noting)
    make(name).signatures()
    assert seen
    for bert, inputs, left_out in seen:
        assert left_out and not bert._leaves_padding_out(inputs)


def test_what_answers_in_one_thread_leaves_others_alone(make_model):
    bert, inputs = make_model().bert, {features.PADDING_MASK: np.ones((1, 3))}
    with bert.as_exported(), ThreadPoolExecutor(1) as pool:
        assert bert._leaves_padding_out(inputs)
        assert not pool.submit(bert._leaves_padding_out, inputs).result()
