import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.export import TextClassifier
from kbert.export.text_module import MAX_TEXT_BYTES
from kbert.tasks import Classification
from kbert.text import Vocab, WordPieceTokenizer
from tests.export.conftest import LABELS, MAX_LENGTH

TEXTS = [
    b"the film never loses its way",
    "房间很干净。".encode(),
    b"",
    b" \t\n",
    "it is 😀 👍🏽 long".encode(),
    b"caf\xc3 \xff\xfe the \xe4\xb8",
    b"is\x00long it",
    b"the long film " * 200,
    b"[MASK] [CLS]",
]


def assert_answers(outputs, expected):
    assert [label.decode() for label in outputs["label"].numpy()] == [row["label"] for row in expected]
    for name in ("label_id", "num_tokens", "truncated"):
        assert outputs[name].numpy().tolist() == [row[name] for row in expected], name
    for name in ("score", "probabilities"):
        np.testing.assert_allclose(outputs[name], np.array([row[name] for row in expected]), atol=1e-5)


def test_single_texts_get_the_models_answers(make_module, make_model, expected_answer):
    expected = [expected_answer(make_model(), text) for text in TEXTS]
    assert len({row["label"] for row in expected}) > 1  # else a constant would pass
    assert {row["truncated"] for row in expected} == {False, True}
    assert_answers(make_module().answer(tf.constant(TEXTS)), expected)


def test_pairs_get_the_models_answers(make_module, make_model, expected_answer):
    pairs = TEXTS[3:] + TEXTS[:3]
    expected = [expected_answer(make_model(), *both) for both in zip(TEXTS, pairs, strict=True)]
    swapped = [expected_answer(make_model(), *both) for both in zip(pairs, TEXTS, strict=True)]
    assert max(abs(a["score"] - b["score"]) for a, b in zip(expected, swapped, strict=True)) > 1e-2
    assert_answers(make_module(pair=True).answer(tf.constant(TEXTS), tf.constant(pairs)), expected)


def test_reference_is_the_models_answer(make_module, make_model, expected_answer):
    module = make_module(pair=True)
    for text in TEXTS:
        row = module.reference(text, b"a short sentence")
        want = expected_answer(make_model(), text, b"a short sentence")
        np.testing.assert_allclose(row.pop("probabilities"), want.pop("probabilities"), atol=1e-5)
        assert row.pop("score") == pytest.approx(want.pop("score"), abs=1e-5)
        assert row == want


@pytest.mark.slow
def test_empty_batch_has_empty_answers(make_module):
    outputs = make_module(pair=True).signatures()["serving_default"](
        text=tf.constant([], tf.string), text_pair=tf.constant([], tf.string)
    )
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes.pop("probabilities") == (0, len(LABELS))
    assert set(shapes.values()) == {(0,)}


def test_signature_has_the_names_and_types_of_the_contract(make_module):
    outputs = make_module().signatures()["serving_default"].structured_outputs
    assert {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in outputs.items()} == {
        "label": ("string", [None]),
        "label_id": ("int32", [None]),
        "score": ("float32", [None]),
        "probabilities": ("float32", [None, 3]),
        "num_tokens": ("int32", [None]),
        "truncated": ("bool", [None]),
    }


def test_widths_are_few_and_fit(make_module):
    module = make_module()
    seen = []
    predict = module._predict
    module._predict = lambda inputs: seen.append({k: v.numpy() for k, v in inputs.items()}) or predict(inputs)
    for words in (0, 13, 14, 15, 30, 31, 38, 39):
        module.answer(tf.constant([b"", b"film " * words]))
    assert sorted({inputs["token_ids"].shape[1] for inputs in seen}) == [8, 16, 24, 32, MAX_LENGTH]
    assert all(len({value.shape for value in inputs.values()}) == 1 for inputs in seen)
    assert seen[2]["padding_mask"].tolist() == [[1] * 2 + [0] * 14, [1] * 16]
    assert seen[3]["token_ids"].shape == (2, 24)


@pytest.mark.parametrize(
    ("text", "num_tokens", "truncated"),
    [
        (b"film" + b" " * (MAX_TEXT_BYTES - 8) + b"long", 4, False),
        (b"film" + b" " * MAX_TEXT_BYTES + b"long", 3, True),
        # The cut splits the last character, of which nothing may be left: no token, not even [UNK].
        (b" " * (MAX_TEXT_BYTES - 1) + "房".encode(), 2, True),
    ],
)
def test_long_texts_are_cut_by_bytes(make_module, text, num_tokens, truncated):
    outputs = make_module().answer(tf.constant([text]))
    assert (outputs["num_tokens"].numpy()[0], outputs["truncated"].numpy()[0]) == (num_tokens, truncated)


def test_unequal_inputs_and_wrong_ranks_are_refused_in_the_graph(make_module):
    # As in a server, no shape is known while the graph is made: only the kernels can object.
    unknown = tf.TensorSpec(None, tf.string)
    run = tf.function(make_module(pair=True).answer, input_signature=[unknown, unknown])
    one, two = tf.constant([b"a"]), tf.constant([b"a", b"b"])
    for text, pair in ((one, two), (two, one), (one[0], one), (one, one[None]), (one[:0], one)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            run(text, pair)


def test_model_trained_in_bfloat16_is_exported_in_float32(make_module, make_model, expected_answer):
    module = make_module(dtype="mixed_bfloat16")
    # make_model draws the same weights for every policy.
    assert_answers(module.answer(tf.constant(TEXTS)), [expected_answer(make_model(), text) for text in TEXTS])
    assert {weight.dtype for weight in module.weights} == {tf.float32}


def test_module_owns_each_weight_once_and_no_keras_object(make_module, make_model):
    module = make_module()
    assert len(module.variables) == len(make_model().weights)
    assert sum(v.shape.num_elements() for v in module.variables) == make_model().count_params()
    assert all(type(v).__module__.startswith("tensorflow.") for v in module.variables)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["bad", "good"]}, "num_classes=3"),
        ({"labels": ["bad", "good", "good"]}, "num_classes=3"),
        ({"max_length": 49}, "expected 5 to 48"),
        ({"max_length": 4}, "expected 5 to 48"),
    ],
)
def test_what_does_not_fit_the_model_is_named(make_model, make_task, change, message):
    with pytest.raises(InputError, match=message):
        TextClassifier(make_task(**change), make_model())


def test_vocabulary_larger_than_the_table_is_refused(make_model, make_task, tokenizer):
    larger = WordPieceTokenizer(Vocab([*tokenizer.vocab.tokens, "one", "two", "three", "four"]))
    with pytest.raises(InputError, match="embedding table"):
        TextClassifier(Classification(make_task().spec, larger), make_model())
