"""The models as wholes: masks, inputs, ties, saving, learning, and one exact training step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.models import Bert, BertClassifier, BertPretrainer, ClassificationObjective, PretrainingObjective

RNG = np.random.default_rng(3)


def make_inputs(config, batch=3, length=7, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.ones((batch, length), "int32")
    mask[1, 4:] = 0
    return {
        "token_ids": rng.integers(0, config.vocab_size, (batch, length)).astype("int32"),
        "segment_ids": rng.integers(0, 2, (batch, length)).astype("int32"),
        "padding_mask": mask,
    }


def randomised(model, scale=0.2):
    """Weights large enough for every path through the model to show."""
    rng = np.random.default_rng(11)
    model.build()
    for weight in model.weights:
        weight.assign(np.asarray(weight) + rng.normal(0, scale, weight.shape))
    return model


def test_each_input_counts(tiny_config):
    model, inputs = randomised(Bert(tiny_config)), make_inputs(tiny_config)
    before = np.asarray(model(inputs)["sequence_output"])
    changed = {
        "token_ids": (inputs["token_ids"] + 1) % tiny_config.vocab_size,
        "segment_ids": 1 - inputs["segment_ids"],
        "padding_mask": np.ones_like(inputs["padding_mask"]),
    }
    for name, value in changed.items():
        after = np.asarray(model({**inputs, name: value})["sequence_output"])
        assert np.abs(after - before).max() > 1e-3, name


def test_padding_is_never_seen(tiny_config):
    model, inputs = randomised(Bert(tiny_config)), make_inputs(tiny_config)
    expected = np.asarray(model(inputs)["sequence_output"])
    real = inputs["padding_mask"].astype(bool)
    rewritten = {**inputs, "token_ids": np.where(real, inputs["token_ids"], 5)}
    np.testing.assert_allclose(
        np.asarray(model(rewritten)["sequence_output"])[real], expected[real], atol=1e-6
    )
    longer = {name: np.pad(value, [(0, 0), (0, 4)]) for name, value in inputs.items()}
    outputs = model(longer)
    np.testing.assert_allclose(np.asarray(outputs["sequence_output"])[:, :7][real], expected[real], atol=1e-5)


def test_defaults_are_no_padding_and_first_segment(tiny_config):
    model, tokens = randomised(Bert(tiny_config)), make_inputs(tiny_config)["token_ids"]
    full = {"token_ids": tokens, "segment_ids": np.zeros_like(tokens), "padding_mask": np.ones_like(tokens)}
    for inputs in ({"token_ids": tokens}, tokens):
        np.testing.assert_allclose(model(inputs)["pooled_output"], model(full)["pooled_output"], atol=1e-6)
    with pytest.raises(ValueError, match="token_ids"):
        model({"input_ids": tokens})


def test_layers_on_request(tiny_config):
    model, inputs = randomised(Bert(tiny_config)), make_inputs(tiny_config)
    outputs = model(inputs, return_layers=True)
    assert len(outputs["layer_outputs"]) == 3 and len(outputs["attention_probabilities"]) == 2
    np.testing.assert_array_equal(outputs["layer_outputs"][-1], outputs["sequence_output"])
    np.testing.assert_allclose(np.sum(outputs["attention_probabilities"][1], -1), 1, atol=1e-6)


def test_pooled_only_gives_the_same_output_and_gradients(tiny_config):
    config = tiny_config.replace(dropout=0.0, attention_dropout=0.0)
    model, inputs = randomised(Bert(config)), make_inputs(config)
    results = []
    for pooled_only in (False, True):
        with tf.GradientTape() as tape:
            pooled = model(inputs, training=True, pooled_only=pooled_only)["pooled_output"]
            loss = tf.reduce_sum(
                pooled * tf.reshape(tf.range(pooled.shape.num_elements(), dtype="float32"), pooled.shape)
            )
        gradients = tape.gradient(loss, [weight.value for weight in model.weights])
        results.append([pooled, *map(tf.convert_to_tensor, gradients)])
    for weight, whole, first in zip(["output", *model.weights], *results, strict=True):
        np.testing.assert_allclose(first, whole, rtol=1e-4, atol=1e-3, err_msg=str(weight))
    with pytest.raises(KeyError):
        model(inputs, pooled_only=True)["sequence_output"]


def test_mlm_logits_are_tied_and_gathered(tiny_config):
    model, inputs = randomised(BertPretrainer(tiny_config)), make_inputs(tiny_config)
    inputs["token_ids"] %= 100  # No input has token 100, so what moves is its output row.
    everywhere = np.asarray(model(inputs)["mlm_logits"])
    positions = np.array([[1, 4, 2], [0, 3, 3], [6, 5, 1]], "int32")  # B = P on purpose
    some = np.asarray(model({**inputs, "mask_positions": positions})["mlm_logits"])
    np.testing.assert_allclose(some, np.take_along_axis(everywhere, positions[..., None], 1), atol=1e-5)
    table = model.bert.embeddings.token_embeddings
    rows = np.asarray(table)
    rows[100] += 1.0
    table.assign(rows)
    moved = np.abs(np.asarray(model(inputs)["mlm_logits"]) - everywhere).max((0, 1))
    assert moved[100] > 0.1 and moved[:100].max() == 0


@pytest.mark.parametrize("make", [Bert, BertPretrainer, lambda config: BertClassifier(config, num_classes=3)])
def test_keras_file_gives_the_same_model(make, tiny_config, tmp_path):
    model, inputs = randomised(make(tiny_config)), make_inputs(tiny_config)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is type(model) and again.config == model.config
    for name, value in model(inputs).items():
        np.testing.assert_allclose(again(inputs)[name], value, atol=1e-6, err_msg=name)
    if isinstance(again, BertPretrainer):
        assert sum("token_embeddings" in weight.path for weight in again.weights) == 1


def test_weight_paths_are_a_file_format(tiny_config):
    model = BertPretrainer(tiny_config.replace(num_layers=1))
    model.build()
    prefix = "bert_pretrainer/"
    block = [
        f"bert/layer_0/{name}"
        for name in (
            "attention/output/bias attention/output/kernel attention/qkv/bias attention/qkv/kernel "
            "attention_layer_norm/beta attention_layer_norm/gamma intermediate/bias intermediate/kernel "
            "output/bias output/kernel output_layer_norm/beta output_layer_norm/gamma"
        ).split()
    ]
    embeddings = [
        f"bert/embeddings/{name}"
        for name in (
            "layer_norm/beta layer_norm/gamma position_embeddings segment_embeddings token_embeddings"
        ).split()
    ]
    heads = (
        "bert/pooler/dense/bias bert/pooler/dense/kernel mlm/bias mlm/layer_norm/beta mlm/layer_norm/gamma "
        "mlm/transform/bias mlm/transform/kernel nsp/bias nsp/kernel"
    ).split()
    expected = sorted(prefix + path for path in embeddings + block + heads)
    assert sorted(weight.path for weight in model.weights) == expected


def test_compile_and_fit_as_a_keras_user_expects(tiny_config):
    model = BertClassifier(tiny_config, num_classes=2)
    tokens = RNG.integers(5, 100, (8, 6)).astype("int32")
    labels = np.arange(8) % 2
    model.compile(
        optimizer=keras.optimizers.Adam(2e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit({"token_ids": tokens}, labels, epochs=40, batch_size=8, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert (model.predict({"token_ids": tokens}, verbose=0)["logits"].argmax(-1) == labels).all()


def test_classifier_needs_two_classes(tiny_config):
    with pytest.raises(ValueError, match="num_classes=1"):
        BertClassifier(tiny_config, num_classes=1)


def test_mixed_precision_keeps_weights_and_logits_in_float32(tiny_config):
    inputs = make_inputs(tiny_config)
    exact = randomised(BertPretrainer(tiny_config), 0.05)
    mixed = BertPretrainer(tiny_config, dtype="mixed_bfloat16")
    mixed.build()
    mixed.set_weights(exact.get_weights())
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    for name in ("mlm_logits", "nsp_logits"):
        value = mixed(inputs)[name]
        assert value.dtype == "float32"
        np.testing.assert_allclose(value, exact(inputs)[name], atol=0.1)
        assert np.abs(np.asarray(value) - np.asarray(exact(inputs)[name])).max() > 1e-5  # It was used.


def _layer_norm(x, gamma, beta):
    mean = tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), -1, keepdims=True)
    return (x - mean) / tf.sqrt(variance + 1e-12) * gamma + beta


def _restated_losses(w, config, inputs, targets):
    """The pretraining losses in plain TensorFlow, straight from the paper, float64."""
    tokens, mask = inputs["token_ids"], tf.cast(inputs["padding_mask"], tf.float64)
    x = tf.gather(w["bert/embeddings/token_embeddings"], tokens)
    x += w["bert/embeddings/position_embeddings"][: tokens.shape[1]]
    x += tf.gather(w["bert/embeddings/segment_embeddings"], inputs["segment_ids"])

    def norm(x, at):
        return _layer_norm(x, w[f"{at}/gamma"], w[f"{at}/beta"])

    def dense(x, at):
        return tf.einsum("...i,ij->...j", x, w[f"{at}/kernel"]) + w[f"{at}/bias"]

    def gelu(x):
        return 0.5 * x * (1 + tf.math.erf(x / np.sqrt(2.0)))

    x = norm(x, "bert/embeddings/layer_norm")
    for layer in range(config.num_layers):
        at = f"bert/layer_{layer}"
        query, key, value = (
            tf.reshape(part, (*part.shape[:2], config.num_heads, -1))
            for part in tf.split(dense(x, f"{at}/attention/qkv"), 3, -1)
        )
        scores = tf.einsum("bqnd,bknd->bnqk", query, key) / np.sqrt(query.shape[-1])
        attention = tf.nn.softmax(scores - 1e9 * (1 - mask)[:, None, None, :])
        context = tf.reshape(tf.einsum("bnqk,bknd->bqnd", attention, value), x.shape)
        x = norm(x + dense(context, f"{at}/attention/output"), f"{at}/attention_layer_norm")
        x = norm(x + dense(gelu(dense(x, f"{at}/intermediate")), f"{at}/output"), f"{at}/output_layer_norm")
    pooled = tf.tanh(dense(x[:, 0], "bert/pooler/dense"))
    hidden = tf.gather(x, inputs["mask_positions"], batch_dims=1)
    hidden = norm(gelu(dense(hidden, "mlm/transform")), "mlm/layer_norm")
    table = w["bert/embeddings/token_embeddings"]
    mlm = tf.einsum("bph,vh->bpv", hidden, table) + w["mlm/bias"]
    nll = tf.nn.sparse_softmax_cross_entropy_with_logits(targets["mask_ids"], mlm)
    weights = tf.cast(targets["mask_weights"], tf.float64)
    nsp = tf.nn.sparse_softmax_cross_entropy_with_logits(targets["next_sentence_label"], dense(pooled, "nsp"))
    return tf.reduce_sum(nll * weights) / tf.reduce_sum(weights) + tf.reduce_mean(nsp)


def test_one_training_step_equals_a_plain_restatement_weight_by_weight(tiny_config):
    from kbert.training import AdamW, fit

    config = tiny_config.replace(dropout=0.0, attention_dropout=0.0)
    model = randomised(BertPretrainer(config))
    inputs = make_inputs(config) | {"mask_positions": np.array([[1, 3], [2, 0], [4, 6]], "int32")}
    targets = {
        "mask_ids": RNG.integers(0, config.vocab_size, (3, 2)).astype("int32"),
        "mask_weights": np.array([[1, 1], [1, 0], [1, 1]], "float32"),
        "next_sentence_label": np.array([0, 1, 1], "int32"),
    }
    start = {w.path.removeprefix("bert_pretrainer/"): np.asarray(w, np.float64) for w in model.weights}
    tensors = {path: tf.constant(value) for path, value in start.items()}
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = _restated_losses(tensors, config, inputs, targets)
    gradients = {k: tf.convert_to_tensor(g).numpy() for k, g in tape.gradient(loss, tensors).items()}

    logs = fit(
        model,
        AdamW(0.01, weight_decay_rate=0.1, bias_correction=False, epsilon=1e-2),
        PretrainingObjective(),
        tf.data.Dataset.from_tensors((inputs, targets)),
        steps_per_epoch=1,
    )
    np.testing.assert_allclose(logs[0]["loss"], loss, rtol=1e-5)
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    for weight in model.weights:
        path = weight.path.removeprefix("bert_pretrainer/")
        g = gradients[path] / max(1.0, norm)
        decay = 0.0 if "bias" in path or "layer_norm" in path else 0.1
        expected = start[path] - 0.01 * (0.1 * g / (np.sqrt(0.001) * np.abs(g) + 1e-2) + decay * start[path])
        np.testing.assert_allclose(np.asarray(weight), expected, atol=2e-6, err_msg=path)


def test_two_replicas_pretrain_like_one_device(tiny_config):
    """Rows with unequal numbers of masked tokens, three steps, clipped gradients, the tied table."""
    from kbert.training import AdamW, fit, strategy_for

    config = tiny_config.replace(dropout=0.0, attention_dropout=0.0, num_layers=1)
    inputs = make_inputs(config, batch=4) | {"mask_positions": np.array([[1, 3, 5]] * 4, "int32")}
    targets = {
        "mask_ids": RNG.integers(0, config.vocab_size, (4, 3)).astype("int32"),
        "mask_weights": np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], "float32"),
        "next_sentence_label": np.array([0, 1, 1, 0], "int32"),
    }
    start = randomised(BertPretrainer(config)).get_weights()
    weights = {}
    for name in ("default", "mirrored"):
        with strategy_for(name).scope():
            model = BertPretrainer(config)
            model.build()
            model.set_weights(start)
            batches = tf.data.Dataset.from_tensors((inputs, targets)).repeat(3)
            fit(model, AdamW(0.01, epsilon=1e-3), PretrainingObjective(), batches, steps_per_epoch=3)
        weights[name] = {weight.path: np.asarray(weight) for weight in model.weights}
    for path, value in weights["default"].items():
        np.testing.assert_allclose(weights["mirrored"][path], value, atol=2e-5, err_msg=path)
    assert max(np.abs(a - b).max() for a, b in zip(start, weights["default"].values(), strict=True)) > 0.01


def test_objectives_name_what_they_return(tiny_config):
    outputs = {"logits": tf.constant([[2.0, 0.0], [0.0, 1.0]])}
    terms = ClassificationObjective()(outputs, {"label": tf.constant([0, 0])})
    assert set(terms) == {*ClassificationObjective.losses, *ClassificationObjective.metrics}
    assert [float(value) for value in terms["accuracy"]] == [1.0, 2.0]
