"""Tags of words: the first pieces, words that are none, both losses, decoding in and out of a graph."""

from functools import partial

import keras
import numpy as np
import pytest

from kbert.layers import allowed_transitions
from kbert.models import BertTagger, TaggingObjective
from tests.model_contract import assert_model_contract, make_inputs, numbers, randomised

TAGS = ["O", "B-x", "I-x", "B-y", "I-y"]
BIO = allowed_transitions(TAGS, "BIO")
# Three rows and four places, so that no two axes are alike; the second row has only four real pieces.
WORD_POSITIONS = np.array([[1, 2, 4, 5], [1, 2, 0, 0], [2, 0, 4, 0]], "int32")
TAG_IDS = np.array([[1, 2, 0, 3], [0, 1, 0, 0], [3, 0, 4, 0]], "int32")
# TensorFlow compiles to a graph without XLA, and sooner; JAX knows only XLA.
JIT = keras.backend.backend() != "tensorflow"
on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow")
CONSTRAINED = {"crf": True, "constraints": BIO}
both = pytest.mark.parametrize("head", [{}, CONSTRAINED], ids=["softmax", "crf"])


def make_tagger(config, head, **kwargs):
    return BertTagger(config, len(TAGS), **head, **kwargs)


def word_inputs(config):
    return make_inputs(config) | {"word_positions": WORD_POSITIONS}


def without_dropout(config):
    return config.replace(num_layers=1, dropout=0.0, attention_dropout=0.0)


def test_contract_of_words(tiny_config, tmp_path):
    make = partial(BertTagger, tiny_config, 5)
    assert_model_contract(make, word_inputs(tiny_config), {"logits": TAG_IDS}, tmp_path)


def test_contract_of_pieces(tiny_config, tmp_path):
    make = partial(BertTagger, tiny_config, 5)
    tags = np.random.default_rng(0).integers(0, 5, (3, 7))
    assert_model_contract(make, make_inputs(tiny_config), {"logits": tags}, tmp_path)


def test_a_word_is_its_first_piece(tiny_config):
    model, inputs = randomised(BertTagger(tiny_config, 5)), word_inputs(tiny_config)
    outputs = numbers(model(inputs))
    sequence = numbers(model.bert(inputs))["sequence_output"].astype("float64")
    words = np.take_along_axis(sequence, WORD_POSITIONS[..., None], 1)
    expected = words @ np.asarray(model.tagger.kernel) + np.asarray(model.tagger.bias)
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)
    np.testing.assert_array_equal(outputs["word_mask"], WORD_POSITIONS > 0)
    assert outputs["word_mask"].dtype == "int32"


def test_without_words_every_real_piece_has_a_tag(tiny_config):
    model, inputs = randomised(BertTagger(tiny_config, 5)), make_inputs(tiny_config)
    outputs = numbers(model(inputs))
    assert outputs["logits"].shape == (3, 7, 5)
    np.testing.assert_array_equal(outputs["word_mask"], inputs["padding_mask"])
    words = numbers(model(inputs | {"word_positions": WORD_POSITIONS}))["logits"]
    np.testing.assert_allclose(
        words, np.take_along_axis(outputs["logits"], WORD_POSITIONS[..., None], 1), atol=1e-5
    )
    bare = numbers(model({"token_ids": inputs["token_ids"]}))
    assert bare["word_mask"].dtype == "int32" and (bare["word_mask"] == 1).all()


@both
def test_what_is_no_word_changes_nothing(head, tiny_config):
    """Neither the tags nor the loss of the words: padding of pieces and of words, and their targets."""
    model, inputs = randomised(make_tagger(tiny_config, head)), word_inputs(tiny_config)
    words = WORD_POSITIONS > 0
    outputs = model(inputs)
    tags = np.asarray(model.decode(outputs))
    assert tags.dtype == "int32" and (tags[~words] == 0).all() and len(set(tags[words])) > 1
    loss = [float(x) for x in model.negative_log_likelihood(outputs, TAG_IDS)]
    assert loss[1] == words.sum()

    wider = {name: np.pad(value, [(0, 0), (0, 3)]) for name, value in inputs.items()}
    real = wider["padding_mask"].astype(bool)
    wider["token_ids"] = np.where(real, wider["token_ids"], 5)
    wider["segment_ids"] = np.where(real, wider["segment_ids"], 1)
    targets = np.pad(np.where(words, TAG_IDS, -100), [(0, 0), (0, 3)], constant_values=-100)
    again = model(wider)
    np.testing.assert_array_equal(np.asarray(model.decode(again))[:, :4], tags)
    assert (np.asarray(model.decode(again))[:, 4:] == 0).all()
    np.testing.assert_allclose(
        [float(x) for x in model.negative_log_likelihood(again, targets)], loss, rtol=1e-5
    )


def test_softmax_loss_and_accuracy_count_words(tiny_config):
    model = randomised(BertTagger(tiny_config, 5))
    outputs = model(word_inputs(tiny_config))
    logits, words = numbers(outputs)["logits"].astype("float64"), WORD_POSITIONS > 0
    losses = np.logaddexp.reduce(logits, -1) - np.take_along_axis(logits, TAG_IDS[..., None], -1)[..., 0]
    terms = {name: [float(x) for x in pair] for name, pair in objective_terms(model, outputs).items()}
    assert terms["loss"] == pytest.approx([losses[words].sum(), 8], rel=1e-5)
    assert terms["accuracy"] == [(logits.argmax(-1) == TAG_IDS)[words].sum(), 8]
    assert 0 < terms["accuracy"][0] < 8, "the test tells hits from misses"


def objective_terms(model, outputs):
    terms = TaggingObjective(model)(outputs, {"tag_ids": TAG_IDS})
    assert set(terms) == {*TaggingObjective.losses, *TaggingObjective.metrics}
    return terms


def test_crf_loss_and_accuracy_are_those_of_whole_rows(tiny_config):
    model = randomised(make_tagger(tiny_config, CONSTRAINED))
    outputs = model(word_inputs(tiny_config))
    logits = numbers(outputs)["logits"]
    terms = {name: [float(x) for x in pair] for name, pair in objective_terms(model, outputs).items()}
    expected = hits = 0
    for row, words in enumerate(WORD_POSITIONS > 0):  # Each sentence by itself, without the places between.
        alone = logits[row : row + 1, words], TAG_IDS[row : row + 1, words]
        expected -= float(model.crf(*alone)[0])
        hits += (np.asarray(model.crf.decode(alone[0])) == alone[1]).sum()
    assert terms["loss"] == pytest.approx([expected, 8], rel=1e-5)
    assert terms["accuracy"] == [hits, 8]


def test_decoded_tags_keep_to_the_scheme(tiny_config):
    inputs = word_inputs(tiny_config) | {"word_positions": np.tile(np.arange(1, 7, dtype="int32"), (3, 1))}
    inputs["padding_mask"] = np.ones_like(inputs["padding_mask"])
    tags = {}
    for name, head in (("free", {"crf": True}), ("bio", CONSTRAINED)):
        model = randomised(make_tagger(tiny_config, head))
        model.tagger.bias.assign([0.0, 0.0, 9.0, 0.0, 9.0])  # All words cry for I.
        tags[name] = np.asarray(model.decode(model(inputs)))
    allowed = np.array(BIO["transitions"])
    assert (
        allowed[tags["bio"][:, :-1], tags["bio"][:, 1:]].all()
        and np.array(BIO["start"])[tags["bio"][:, 0]].all()
    )
    assert not np.array(BIO["start"])[tags["free"][:, 0]].all()


@pytest.mark.slow
def test_keras_file_gives_the_same_tagger(tiny_config, tmp_path):
    model, inputs = randomised(make_tagger(tiny_config, CONSTRAINED)), word_inputs(tiny_config)
    model.compile("sgd")
    model.save(tmp_path / "tagger.keras")
    again = keras.models.load_model(tmp_path / "tagger.keras")
    assert again.get_config() == model.get_config()
    assert [w.path for w in again.weights] == [w.path for w in model.weights]
    outputs, expected = again(inputs), model(inputs)
    np.testing.assert_allclose(outputs["logits"], expected["logits"], atol=1e-6)
    np.testing.assert_array_equal(again.decode(outputs), model.decode(expected))
    losses = [m.negative_log_likelihood(m(inputs), TAG_IDS)[0] for m in (again, model)]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert np.isfinite(again.train_on_batch(inputs, {"tag_ids": TAG_IDS}))  # It came back compiled.


def test_head_weights_are_the_file_formats(tiny_config):
    for crf in (False, True):
        model = BertTagger(tiny_config, 5, crf=crf)
        model.build()
        shapes = {w.path.removeprefix("bert_tagger/"): tuple(w.shape) for w in model.weights}
        heads = {path: shape for path, shape in shapes.items() if not path.startswith("bert/")}
        chain = {"crf/transitions": (5, 5), "crf/start": (5,), "crf/end": (5,)} if crf else {}
        assert heads == {"tagger/kernel": (32, 5), "tagger/bias": (5,), **chain}
        assert not [path for path in shapes if "pooler" in path]


@pytest.mark.slow
def test_a_step_changes_every_weight_of_a_crf_too(tiny_config):
    model = randomised(make_tagger(without_dropout(tiny_config), CONSTRAINED))
    model.compile(keras.optimizers.SGD(1.0))
    before = {weight.path: np.array(weight) for weight in model.trainable_weights}
    inputs = word_inputs(tiny_config)
    total, count = model.negative_log_likelihood(model(inputs), TAG_IDS)
    loss = model.train_on_batch(inputs, {"tag_ids": TAG_IDS})
    assert float(loss) == pytest.approx(float(total) / float(count), rel=1e-4)
    for weight in model.trainable_weights:
        assert np.abs(np.asarray(weight) - before[weight.path]).max() > 1e-5, weight.path


def sentences():
    """Eight sentences of up to six words of one or two pieces, and legal tags that no piece tells alone."""
    rng = np.random.default_rng(5)
    inputs = {"token_ids": rng.integers(5, 100, (8, 9)).astype("int32")}
    inputs["word_positions"] = np.zeros((8, 6), "int32")
    tags = np.zeros((8, 6), "int32")
    for row in range(8):
        count = 3 + row % 4
        inputs["word_positions"][row, :count] = np.sort(rng.choice(np.arange(1, 8), count, replace=False))
        tag = 0
        for word in range(count):
            tag = tags[row, word] = rng.choice(np.flatnonzero(BIO["transitions"][tag]))
    return inputs, tags


@pytest.mark.slow_after_first
@both
def test_learns_eight_sentences_by_heart(head, tiny_config):
    inputs, tags = sentences()
    model = make_tagger(without_dropout(tiny_config), head)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=JIT)
    losses = model.fit(inputs, {"tag_ids": tags}, epochs=30, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < 0.05 * losses[0]
    np.testing.assert_array_equal(model.decode(model(inputs)), tags)


@pytest.mark.slow
def test_softmax_has_the_same_loss_and_learns_by_one_of_keras(tiny_config):
    """The words that are none are left out by their class for the loss, by weights for the metric."""
    inputs, tags = sentences()
    words = inputs["word_positions"] > 0
    targets, weights = {"logits": np.where(words, tags, -1)}, {"logits": words.astype("float32")}
    model = randomised(BertTagger(without_dropout(tiny_config), 5))
    model.compile(
        keras.optimizers.Adam(0.01),
        loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)},
        weighted_metrics={"logits": "sparse_categorical_accuracy"},
        jit_compile=JIT,
    )
    outputs = model(inputs)
    total, count = model.negative_log_likelihood(outputs, tags)
    hits = np.asarray(model.decode(outputs))[words] == tags[words]
    before = model.train_on_batch(inputs, targets, weights["logits"], return_dict=True)
    assert float(before["loss"]) == pytest.approx(float(total / count), rel=1e-4)
    assert float(before["sparse_categorical_accuracy"]) == pytest.approx(hits.mean())
    assert 0 < hits.mean() < 1
    after = model.negative_log_likelihood(model(inputs), tags)[0]
    assert float(after) < float(total)


@pytest.mark.slow
@on_tensorflow
def test_keras_tells_the_loss_of_two_replicas_as_of_one(tiny_config):
    import tensorflow as tf

    from kbert.training import strategy_for

    inputs, tags = sentences()
    batches = tf.data.Dataset.from_tensors((inputs, {"tag_ids": tags}))
    with strategy_for("mirrored").scope():
        model = randomised(make_tagger(without_dropout(tiny_config), CONSTRAINED), 0.1)
        model.compile(keras.optimizers.SGD(0.0))
        shares = [model.negative_log_likelihood(model(half), t) for half, t in halves(inputs, tags)]
    found = model.evaluate(batches.unbatch().batch(len(tags)), verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(
        np.mean([float(total / count) for total, count in shares]), rel=1e-4
    )


def halves(inputs, tags):
    half = len(tags) // 2
    for part in (slice(None, half), slice(half, None)):
        yield {name: values[part] for name, values in inputs.items()}, tags[part]


@pytest.mark.slow
@on_tensorflow
def test_training_loop_learns_on_two_replicas(tiny_config):
    """Each word of rows of unequal lengths counts the same, on whichever replica it is."""
    import tensorflow as tf

    from kbert.training import AdamW, fit, strategy_for

    inputs, tags = sentences()
    with strategy_for("mirrored").scope():
        model = randomised(make_tagger(without_dropout(tiny_config), CONSTRAINED), 0.1)
        before = {weight.path: np.array(weight) for weight in model.weights}
        total, count = model.negative_log_likelihood(model(inputs), tags)
        batches = tf.data.Dataset.from_tensors((inputs, {"tag_ids": tags})).repeat(20)
        logs = fit(
            model,
            AdamW(0.01, epsilon=1e-3),
            TaggingObjective(model),
            batches,
            steps_per_epoch=1,
            epochs=20,
        )
    assert logs[0]["loss"] == pytest.approx(float(total / count), rel=1e-5)
    assert logs[-1]["loss"] < 0.5 * logs[0]["loss"] and logs[-1]["accuracy"] > logs[0]["accuracy"]
    for weight in model.weights:
        assert np.abs(np.asarray(weight) - before[weight.path]).max() > 1e-4, weight.path


@pytest.mark.slow
@on_tensorflow
def test_tags_come_out_of_an_exported_graph(tiny_config, tmp_path):
    """From axes of unknown lengths, as a server has them."""
    import tensorflow as tf

    model, inputs = randomised(make_tagger(tiny_config, CONSTRAINED)), word_inputs(tiny_config)
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = {name: tf.TensorSpec([None, None], "int32") for name in inputs}
    archive.add_endpoint("tags", lambda inputs: model.decode(model(inputs)), [signature])
    archive.write_out(tmp_path / "archive", verbose=False)
    served = tf.saved_model.load(tmp_path / "archive")
    expected = np.asarray(model.decode(model(inputs)))
    np.testing.assert_array_equal(served.tags(inputs), expected)
    one = {name: value[1:2, :4] for name, value in inputs.items()}
    np.testing.assert_array_equal(served.tags(one), model.decode(model(one)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_tags": 1}, "num_tags=1"),
        ({"num_tags": 5, "constraints": BIO}, "crf=True"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message, tiny_config):
    with pytest.raises(ValueError, match=message):
        BertTagger(tiny_config, **arguments)


def test_constraints_for_other_tags_are_refused(tiny_config):
    with pytest.raises(ValueError, match="4 tags"):
        BertTagger(tiny_config, 4, crf=True, constraints=BIO).build()


def test_a_crf_refuses_a_loss_that_would_leave_it_untrained(tiny_config):
    model, inputs = BertTagger(tiny_config, 5, crf=True), word_inputs(tiny_config)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss={"logits": entropy}, run_eagerly=True)
    with pytest.raises(ValueError, match="compile without a loss"):
        model.train_on_batch(inputs, {"logits": TAG_IDS})
    model = BertTagger(tiny_config, 5)
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match="sample_weight"):
        model.train_on_batch(inputs, {"tag_ids": TAG_IDS}, sample_weight=np.ones(3))
