"""Gradients and training steps of the models, exact to the last weight; TensorFlow's tapes and strategies."""

import keras
import numpy as np
import pytest

from kbert.models import Bert, BertPretrainer, PretrainingObjective
from tests.model_contract import make_inputs, randomised

if keras.backend.backend() != "tensorflow":
    pytest.skip("kbert.training is TensorFlow's", allow_module_level=True)
import tensorflow as tf

RNG = np.random.default_rng(3)


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


@pytest.mark.parametrize("pooler", [False, True])
def test_positions_give_the_same_outputs_and_gradients(tiny_config, pooler):
    config = tiny_config.replace(dropout=0.0, attention_dropout=0.0)
    model, inputs = randomised(Bert(config, pooler=pooler)), make_inputs(config)
    positions = np.array([[1, 3], [6, 0], [4, 4]], "int32")
    weights = {name: RNG.normal(size=(3, 2, config.hidden_dim)).astype("float32") for name in "sp"}
    results = []
    for asked in (None, positions):
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True, positions=asked)
            some = outputs["sequence_output"]
            some = tf.gather(some, positions, batch_dims=1) if asked is None else some
            loss = tf.reduce_sum(some * weights["s"])
            if pooler:
                loss += tf.reduce_sum(outputs["pooled_output"] * weights["p"][:, 0])
        gradients = tape.gradient(loss, [weight.value for weight in model.weights])
        results.append([some, *map(tf.convert_to_tensor, gradients)])
    for weight, whole, some in zip(["output", *model.weights], *results, strict=True):
        np.testing.assert_allclose(some, whole, rtol=1e-4, atol=1e-4, err_msg=str(weight))
    with pytest.raises(ValueError, match="layers are returned for all positions"):
        model(inputs, positions=positions, return_layers=True)


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


@pytest.mark.slow
def test_two_replicas_pretrain_like_one_device(tiny_config):
    """Rows with unequal numbers of masked tokens, three steps, clipped gradients, the tied table."""
    from kbert.training import AdamW, fit, strategy_for

    config = tiny_config.replace(dropout=0.0, attention_dropout=0.0, num_layers=1)
    inputs = make_inputs(config, (4, 7)) | {"mask_positions": np.array([[1, 3, 5]] * 4, "int32")}
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
