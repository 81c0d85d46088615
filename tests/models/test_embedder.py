"""`BertEmbedder`: pooling, pairs, the published vectors of all-MiniLM-L6-v2, and both ways to train it."""

import keras
import numpy as np
import pytest

from kbert.models import BertEmbedder, CosineRegressionObjective, InBatchNegativesObjective

RNG = np.random.default_rng(29)


def make_inputs(batch=4, length=7):
    """Rows of 7, 4, 2 and 0 real tokens."""
    mask = (np.arange(length) < np.array([7, 4, 2, 0])[:batch, None]).astype("int32")
    return {
        "token_ids": (RNG.integers(5, 100, (batch, length)) * mask).astype("int32"),
        "segment_ids": RNG.integers(0, 2, (batch, length)).astype("int32"),
        "padding_mask": mask,
    }


def randomised(model):
    rng = np.random.default_rng(11)
    model.build()
    for weight in model.weights:
        weight.assign(np.asarray(weight) + rng.normal(0, 0.2, weight.shape))
    return model


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    "pooling, reduce",
    [
        ("mean", lambda real: real.mean(0)),
        ("max", lambda real: real.max(0)),
        ("first", lambda real: real[0]),
    ],
)
def test_the_embedding_is_pooled_from_the_real_tokens(pooling, reduce, normalize, tiny_config):
    model, inputs = randomised(BertEmbedder(tiny_config, pooling, normalize)), make_inputs()
    embedding = np.asarray(model(inputs)["embedding"])
    hidden = np.asarray(model.bert(inputs)["sequence_output"])
    for row, count in enumerate([7, 4, 2]):
        vector = reduce(hidden[row, :count])
        expected = vector / np.linalg.norm(vector) if normalize else vector
        np.testing.assert_allclose(embedding[row], expected, atol=1e-5)
    assert np.isfinite(embedding[3]).all()


@pytest.mark.parametrize("pooling", ["mean", "max", "first"])
def test_padding_changes_no_embedding(pooling, tiny_config):
    model, inputs = randomised(BertEmbedder(tiny_config, pooling)), make_inputs(batch=3)
    expected = np.asarray(model(inputs)["embedding"])
    real = inputs["padding_mask"] == 1
    longer = {name: np.pad(value, [(0, 0), (0, 4)]) for name, value in inputs.items()}
    rewritten = {**inputs, "token_ids": np.where(real, inputs["token_ids"], 9)}
    for same in (longer, rewritten):
        np.testing.assert_allclose(model(same)["embedding"], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_without_a_mask_every_token_is_real(pooling, tiny_config):
    model, tokens = randomised(BertEmbedder(tiny_config, pooling)), make_inputs()["token_ids"]
    full = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    for inputs in ({"token_ids": tokens}, tokens):
        np.testing.assert_allclose(model(inputs)["embedding"], model(full)["embedding"], atol=1e-6)


def test_pairs_are_embedded_as_each_text_alone(tiny_config):
    model, inputs = randomised(BertEmbedder(tiny_config)), make_inputs(batch=4)
    alone = np.asarray(model(inputs)["embedding"])
    # Pair i is texts i and 3 - i, so that swapping the axes would show.
    pairs = {name: np.stack([value, value[::-1]], axis=1) for name, value in inputs.items()}
    expected = np.stack([alone, alone[::-1]], axis=1)
    np.testing.assert_allclose(model(pairs)["embedding"], expected, atol=1e-5)


def test_it_has_the_encoders_weights_and_no_pooler(tiny_config):
    model = BertEmbedder(tiny_config)
    model.build()
    assert not [weight.path for weight in model.weights if "/bert/" not in weight.path]
    assert not [weight.path for weight in model.weights if "pooler" in weight.path]


def test_an_unknown_pooling_is_refused(tiny_config):
    with pytest.raises(ValueError, match="pooling='cls'.*'mean', 'first', 'max'"):
        BertEmbedder(tiny_config, pooling="cls")


def test_mixed_precision_pools_in_float32(tiny_config):
    inputs = make_inputs()
    exact = randomised(BertEmbedder(tiny_config))
    mixed = BertEmbedder(tiny_config, dtype="mixed_bfloat16")
    mixed.build()
    mixed.set_weights(exact.get_weights())
    embedding = mixed(inputs)["embedding"]
    assert keras.backend.standardize_dtype(embedding.dtype) == "float32"
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=-1)[:3], 1, atol=1e-6)
    np.testing.assert_allclose(embedding, exact(inputs)["embedding"], atol=0.05)


@pytest.mark.slow
@pytest.mark.golden
def test_all_minilm_gives_the_published_sentence_embeddings(shared, minilm_dir):
    checkpoints = pytest.importorskip("kbert.checkpoints")
    golden = np.load(shared / "golden" / "minilm" / "golden.npz")
    model = BertEmbedder(checkpoints.read_config(minilm_dir))
    checkpoints.load_encoder_into(model, minilm_dir)
    tokens, mask = golden["input_ids"].astype("int32"), golden["attention_mask"].astype("int32")
    outputs = model({"token_ids": tokens, "padding_mask": mask})
    np.testing.assert_allclose(outputs["embedding"], golden["sentence_embedding"], rtol=0, atol=1e-5)


def restated_cosines(first, second):
    """Of every first vector with every second one, in float64."""
    first, second = first.astype("float64"), second.astype("float64")
    lengths = np.linalg.norm(first, axis=-1)[:, None] * np.linalg.norm(second, axis=-1)
    return first @ second.T / lengths


def restated_ranking_loss(first, second, scale):
    """As sentence-transformers' MultipleNegativesRankingLoss: the mean cross-entropy of scaled cosines."""
    scores = scale * restated_cosines(first, second)
    log_probabilities = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    return -np.diag(log_probabilities).mean(), (scores.argmax(1) == np.arange(len(scores))).mean()


@pytest.mark.parametrize("scale", [20.0, 3.0])
@pytest.mark.parametrize("batch", [1, 2, 6])  # Also as many pairs as a pair has texts.
def test_in_batch_negatives_restated(batch, scale):
    embedding = RNG.normal(size=(batch, 2, 5)).astype("float32")
    embedding[:, 1] += embedding[:, 0]
    objective = InBatchNegativesObjective(scale)
    terms = objective({"embedding": embedding}, {})
    assert set(terms) == {*objective.losses, *objective.metrics}
    loss, accuracy = restated_ranking_loss(embedding[:, 0], embedding[:, 1], scale)
    assert [float(terms[name][1]) for name in ("loss", "accuracy")] == [batch, batch]
    np.testing.assert_allclose(float(terms["loss"][0]) / batch, loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(float(terms["accuracy"][0]) / batch, accuracy)


def test_hard_negatives_restated():
    """The third texts of all rows are further wrong answers, after the second ones."""
    embedding = RNG.normal(size=(4, 3, 5)).astype("float32")
    answers = np.concatenate([embedding[:, 1], embedding[:, 2]])
    scores = 20 * restated_cosines(embedding[:, 0], answers)
    log_probabilities = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    terms = InBatchNegativesObjective()({"embedding": embedding}, {})
    np.testing.assert_allclose(terms["loss"], [-np.diag(log_probabilities).sum(), 4], rtol=1e-4)
    right = scores.argmax(1) == np.arange(4)
    np.testing.assert_allclose(terms["accuracy"], [right.sum(), 4])


@pytest.mark.parametrize("texts", [2, 3])
def test_what_is_right_by_chance_is_no_wrong_answer(texts):
    """Rows 0 and 2 have the same second text, rows 1 and 3 the same first one; row 4's third is row 1's."""
    numbers = np.array([[0, 1, 20], [2, 3, 21], [4, 1, 22], [2, 5, 23], [6, 7, 3]], "int32")[:, :texts]
    embedding = RNG.normal(size=(5, texts, 6)).astype("float32")
    answers = np.concatenate([embedding[:, k] for k in range(1, texts)])
    scores = 20 * restated_cosines(embedding[:, 0], answers)
    for row, others in {0: [2], 1: [3], 2: [0], 3: [1]}.items():
        scores[row, others] = -np.inf
    if texts == 3:
        scores[[1, 3], 5 + 4] = -np.inf
    log_probabilities = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    terms = InBatchNegativesObjective()({"embedding": embedding}, {"text_numbers": numbers})
    np.testing.assert_allclose(terms["loss"], [-np.diag(log_probabilities).sum(), 5], rtol=1e-4)
    unlike = np.arange(5 * texts, dtype="int32").reshape(5, texts)
    plain = InBatchNegativesObjective()({"embedding": embedding}, {})["loss"]
    same = InBatchNegativesObjective()({"embedding": embedding}, {"text_numbers": unlike})["loss"]
    np.testing.assert_allclose(same, plain, rtol=1e-6)


def test_in_batch_negatives_default_scale_is_20():
    embedding = RNG.normal(size=(4, 2, 5)).astype("float32")
    loss, _ = restated_ranking_loss(embedding[:, 0], embedding[:, 1], 20.0)
    total, weight = InBatchNegativesObjective()({"embedding": embedding}, {})["loss"]
    np.testing.assert_allclose(float(total) / float(weight), loss, rtol=1e-4)


def test_the_first_text_asks_and_the_second_ones_answer():
    """The softmax is over the second texts: the loss of the swapped pairs is another one."""
    embedding = RNG.normal(size=(4, 2, 5)).astype("float32")
    objective = InBatchNegativesObjective()
    there, back = (float(objective({"embedding": e}, {})["loss"][0]) for e in (embedding, embedding[:, ::-1]))
    assert abs(there - back) > 1e-2


def test_cosine_regression_restated():
    embedding = RNG.normal(size=(6, 2, 5)).astype("float32")
    scores = RNG.uniform(-1, 1, 6).astype("float32")
    objective = CosineRegressionObjective()
    terms = objective({"embedding": embedding}, {"score": scores})
    assert set(terms) == {*objective.losses, *objective.metrics}
    difference = np.diag(restated_cosines(embedding[:, 0], embedding[:, 1])) - scores
    np.testing.assert_allclose(terms["loss"], [(difference**2).sum(), 6], rtol=1e-4)
    np.testing.assert_allclose(terms["absolute_error"], [np.abs(difference).sum(), 6], rtol=1e-4)


@pytest.mark.parametrize("shape", [(4, 5), (4, 1, 5), (4, 3, 5), (4, 4, 5)])
def test_what_is_no_pair_is_refused(shape):
    outputs = {"embedding": np.ones(shape, "float32")}
    with pytest.raises(ValueError, match=r"expected \(B, 2, H\)"):
        CosineRegressionObjective()(outputs, {"score": np.ones(4, "float32")})
    if shape != (4, 3, 5):
        with pytest.raises(ValueError, match=r"expected \(B, 2 or 3, H\)"):
            InBatchNegativesObjective()(outputs, {})


@pytest.mark.slow_after_first
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kbert.training is TensorFlow's")
@pytest.mark.parametrize("objective", [InBatchNegativesObjective(), CosineRegressionObjective()])
def test_it_learns_eight_pairs(objective, tiny_config):
    import tensorflow as tf

    from kbert.training import AdamW, fit

    rng = np.random.default_rng(1)
    tokens = rng.integers(5, 100, (8, 2, 6)).astype("int32")
    mask = np.ones_like(tokens)
    mask[::2, 1, 4:] = 0
    scores = np.linspace(-0.4, 0.9, 8).astype("float32")
    model = BertEmbedder(tiny_config.replace(num_layers=1, dropout=0.0, attention_dropout=0.0))
    model.build()
    before = [np.array(weight) for weight in model.weights]
    batches = tf.data.Dataset.from_tensors(({"token_ids": tokens, "padding_mask": mask}, {"score": scores}))
    logs = fit(model, AdamW(1e-3), objective, batches.repeat(60), steps_per_epoch=20, epochs=3)
    assert logs[-1]["loss"] < 0.3 * logs[0]["loss"]
    still = [w.path for w, old in zip(model.weights, before, strict=True) if np.array_equal(w, old)]
    assert not still
