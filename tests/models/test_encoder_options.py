"""What a config and the constructors can choose: the arithmetic, longer texts, recompute, XLA, precision."""

import inspect
import math

import keras
import numpy as np
import pytest

from kbert import models
from kbert.layers import BertEmbeddings, TransformerBlock
from kbert.models import Bert, BertClassifier, HeadModel
from tests.model_contract import make_inputs, randomised

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="is about TensorFlow: its tapes, graphs or strategies"
)


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


# --- the arithmetic, restated -------------------------------------------------------------------------

ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def restated(weights, config, inputs):
    """The sequence output, in NumPy and float64, straight from the paper."""

    def norm(x, at):
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(
            x.var(-1, keepdims=True) + config.layer_norm_epsilon
        )
        return scaled * weights[f"{at}/gamma"] + weights[f"{at}/beta"]

    def dense(x, at):
        return x @ weights[f"{at}/kernel"] + weights[f"{at}/bias"]

    def heads(x):
        return x.reshape(*x.shape[:2], config.num_heads, -1).transpose(0, 2, 1, 3)

    hidden = weights["embeddings/token_embeddings"][inputs["token_ids"]]
    hidden = hidden + weights["embeddings/position_embeddings"][: hidden.shape[1]]
    hidden = norm(
        hidden + weights["embeddings/segment_embeddings"][inputs["segment_ids"]], "embeddings/layer_norm"
    )
    for layer in range(config.num_layers):
        at = f"layer_{layer}"
        query, key, value = map(heads, np.split(dense(hidden, f"{at}/attention/qkv"), 3, -1))
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[-1])
        scores = np.where(inputs["padding_mask"][:, None, None], np.exp(scores), 0)
        context = (scores / scores.sum(-1, keepdims=True)) @ value
        context = context.transpose(0, 2, 1, 3).reshape(hidden.shape)
        hidden = norm(hidden + dense(context, f"{at}/attention/output"), f"{at}/attention_layer_norm")
        inner = ACTIVATIONS[config.activation](dense(hidden, f"{at}/intermediate"))
        hidden = norm(hidden + dense(inner, f"{at}/output"), f"{at}/output_layer_norm")
    return hidden


@pytest.mark.slow_after_first
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("num_segments, epsilon", [(1, 1e-12), (5, 0.1)])
def test_encoder_equals_its_restatement(activation, num_segments, epsilon, tiny_config):
    config = tiny_config.replace(activation=activation, num_segments=num_segments, layer_norm_epsilon=epsilon)
    model, inputs = randomised(Bert(config)), make_inputs(config)
    weights = {w.path.removeprefix("bert/"): np.asarray(w, "float64") for w in model.weights}
    assert weights["embeddings/segment_embeddings"].shape == (num_segments, config.hidden_dim)
    outputs = numbers(model(inputs)["sequence_output"])
    np.testing.assert_allclose(outputs, restated(weights, config, inputs), atol=2e-5)
    others = {**ACTIVATIONS, activation: None}
    for other in (name for name, function in others.items() if function):
        wrong = restated(weights, config.replace(activation=other), inputs)
        assert np.abs(outputs - wrong).max() > 1e-4, f"does not tell {activation} from {other}"


# --- positions beyond the trained ones ----------------------------------------------------------------


def position_vectors(layer, length):
    """What the layer adds for positions: same tokens and segments everywhere, before the normalization."""
    layer.layer_norm = lambda x, training: x
    same = numbers(layer(np.full((1, length), 3, "int32")))[0]
    return same - np.asarray(layer.token_embeddings)[3] - np.asarray(layer.segment_embeddings)[0]


def extended_embeddings(extended_length, max_length=5):
    layer = BertEmbeddings(
        11, 8, max_length=max_length, dropout=0.0, initializer_range=0.5, extended_length=extended_length
    )
    layer.build((None, None))
    return layer


def test_composed_positions_are_the_published_formula():
    layer = extended_embeddings(25)
    trained = np.asarray(layer.position_embeddings, "float64")
    base = (trained - 0.4 * trained[:1]) / 0.6
    expected = (0.4 * base[:, None] + 0.6 * base).reshape(25, 8)
    vectors = position_vectors(layer, 25)
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    np.testing.assert_allclose(vectors[:5], trained, atol=1e-6)
    apart = np.abs(vectors[:, None] - vectors).max(-1) + np.eye(25)
    assert apart.min() > 0.01, "two positions are the same"
    np.testing.assert_allclose(position_vectors(layer, 12), expected[:12], atol=2e-6)


def test_trained_positions_do_not_notice_the_extension(tiny_config):
    inputs = make_inputs(tiny_config, (3, 40))
    plain = randomised(Bert(tiny_config))
    extended = Bert(tiny_config.replace(extended_length=1600))
    extended.build()
    assert [w.path for w in extended.weights] == [w.path for w in plain.weights]
    extended.set_weights(plain.get_weights())
    for name, value in plain(inputs).items():
        np.testing.assert_array_equal(numbers(extended(inputs)[name]), numbers(value), err_msg=name)
    with pytest.raises(ValueError, match="41 tokens.*max_length=40 .*extended_length=None.*up to 1600"):
        plain(make_inputs(tiny_config, (3, 41)))


def test_long_texts_run_train_and_are_saved(tiny_config, tmp_path):
    config = tiny_config.replace(max_length=6, extended_length=20, dropout=0.0, attention_dropout=0.0)
    model, inputs = randomised(BertClassifier(config, 2)), make_inputs(config, (3, 20))
    before = np.array(model.bert.embeddings.position_embeddings)
    model.compile(
        keras.optimizers.SGD(0.1), {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    )
    model.train_on_batch(inputs, {"logits": np.array([0, 1, 1])})
    moved = np.abs(np.asarray(model.bert.embeddings.position_embeddings) - before).max(-1)
    assert moved.min() > 1e-6, "a trained position has no gradient"
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.config == config
    np.testing.assert_allclose(numbers(again(inputs)["logits"]), numbers(model(inputs)["logits"]), atol=1e-6)
    with pytest.raises(ValueError, match="21 tokens.*extended_length=20"):
        model(make_inputs(config, (3, 21)))


@on_tensorflow
def test_composed_positions_where_the_length_is_known_late():
    import tensorflow as tf

    layer = extended_embeddings(25)
    compiled = tf.function(layer, input_signature=[tf.TensorSpec([None, None], tf.int32)])
    for length in (1, 5, 6, 10, 25):
        ids = np.arange(length, dtype="int32")[None] % 11
        np.testing.assert_allclose(compiled(ids), layer(ids), atol=1e-6, err_msg=str(length))


@pytest.mark.parametrize("extended_length", [5, 26])
def test_an_extension_out_of_range_is_refused(extended_length):
    with pytest.raises(ValueError, match=f"extended_length={extended_length}; .*max_length=5.*25"):
        extended_embeddings(extended_length)


# --- recompute ----------------------------------------------------------------------------------------


def trained(config, *, steps=2, jit_compile="auto", dtype=None, **options):
    """The losses of training steps with seeded dropout, and the weights after them, by path."""
    keras.utils.set_random_seed(7)
    model = randomised(BertClassifier(config, 2, dtype=dtype, **options), 0.1)
    model.compile(
        keras.optimizers.SGD(0.5),
        {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        jit_compile=jit_compile,
    )
    labels = {"logits": np.array([0, 1, 1])}
    losses = [float(model.train_on_batch(make_inputs(config), labels)) for _ in range(steps)]
    return losses, {weight.path: np.array(weight) for weight in model.weights}


def assert_same_training(one, other, atol=1e-6):
    np.testing.assert_allclose(one[0], other[0], atol=atol)
    for path, value in one[1].items():
        np.testing.assert_allclose(other[1][path], value, atol=atol, err_msg=path)


@pytest.fixture
def dropping_config(tiny_config):
    """Rates at which other draws give another training."""
    return tiny_config.replace(dropout=0.3, attention_dropout=0.4)


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "dtype, num_layers, unpad", [("float32", 2, False), ("mixed_bfloat16", 1, False), ("float32", 2, True)]
)
def test_training_with_recompute_is_training_without_weight_by_weight(
    dtype, num_layers, unpad, dropping_config
):
    config = dropping_config.replace(num_layers=num_layers)
    plain, again = (trained(config, dtype=dtype, unpad=unpad, remat=remat) for remat in (False, True))
    # bfloat16: compilers round at other places.
    assert_same_training(again, plain, atol=1e-6 if dtype == "float32" else 1e-3)


@pytest.mark.slow
def test_recompute_without_dropout(tiny_config):
    config = tiny_config.replace(dropout=0.0, attention_dropout=0.0, num_layers=1)
    assert_same_training(trained(config, steps=1, remat=True), trained(config, steps=1))


def test_recompute_changes_no_output(dropping_config):
    config = dropping_config.replace(num_layers=1)
    keras.utils.set_random_seed(7)
    plain = randomised(Bert(config))
    keras.utils.set_random_seed(7)
    again = randomised(Bert(config, remat=True))
    inputs = make_inputs(config)
    for options in ({}, {"training": True, "return_layers": True}, {"training": True, "pooled_only": True}):
        expected, outputs = plain(inputs, **options), again(inputs, **options)
        for one, other in zip(keras.tree.flatten(outputs), keras.tree.flatten(expected), strict=True):
            np.testing.assert_allclose(numbers(one), numbers(other), atol=1e-6, err_msg=str(options))
    dropped = np.abs(numbers(outputs["pooled_output"]) - numbers(plain(inputs)["pooled_output"]))
    assert dropped.max() > 0.01, "dropout did nothing"


@on_tensorflow
def test_blocks_run_again_in_the_backward_pass_alone(dropping_config, monkeypatch):
    import tensorflow as tf

    runs = []
    forward = TransformerBlock._forward

    def noting(block, *args, **kwargs):
        runs.append(block.name)
        return forward(block, *args, **kwargs)

    monkeypatch.setattr(TransformerBlock, "_forward", noting)
    model, inputs = randomised(Bert(dropping_config, remat=True)), make_inputs(dropping_config)
    model(inputs)
    assert runs == ["layer_0", "layer_1"]
    runs.clear()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs, training=True)["sequence_output"])
    assert runs == ["layer_0", "layer_1"]
    tape.gradient(loss, [weight.value for weight in model.weights])
    assert runs == ["layer_0", "layer_1", "layer_1", "layer_0"]


@on_tensorflow
@pytest.mark.parametrize("remat", [False, True])
def test_a_batch_without_rows(remat, dropping_config):
    """As a part of a batch, or a replica, may have at the end of the data."""
    import tensorflow as tf

    bert = randomised(Bert(dropping_config, remat=remat))
    inputs = {name: ids[:0] for name, ids in make_inputs(dropping_config, (4, 7)).items()}
    run = tf.function(lambda inputs: bert(inputs, training=True)["sequence_output"], autograph=False)
    assert run(inputs).shape == (0, 7, dropping_config.hidden_dim)


@pytest.mark.slow
@on_tensorflow
def test_recompute_on_two_replicas_in_our_own_loop(dropping_config):
    import tensorflow as tf

    from kbert.models import ClassificationObjective
    from kbert.training import AdamW, fit, strategy_for

    config = dropping_config.replace(num_layers=1)
    inputs, targets = make_inputs(config, (4, 7)), {"label": np.array([0, 1, 1, 0], "int32")}
    results = []
    for remat in (False, True):
        keras.utils.set_random_seed(7)
        with strategy_for("mirrored").scope():
            model = randomised(BertClassifier(config, 2, remat=remat), 0.1)
            batches = tf.data.Dataset.from_tensors((inputs, targets)).repeat(2)
            optimizer = AdamW(0.01, epsilon=1e-3)
            logs = fit(model, optimizer, ClassificationObjective(), batches, steps_per_epoch=2)
        results.append(([logs[0]["loss"]], {weight.path: np.array(weight) for weight in model.weights}))
    assert_same_training(*results, atol=2e-6)


def head_models():
    found = (value for value in vars(models).values() if inspect.isclass(value))
    return [value for value in found if issubclass(value, HeadModel) and value is not HeadModel]


@pytest.mark.parametrize("model_class", head_models())
def test_every_model_takes_and_keeps_the_option(model_class, tiny_config):
    arguments = {"num_classes": 3, "num_tags": 5}
    wanted = inspect.signature(model_class).parameters
    arguments = {name: value for name, value in arguments.items() if name in wanted}
    assert not model_class(tiny_config, **arguments).get_config()["remat"]
    model = model_class(tiny_config, **arguments, remat=True)
    again = model_class.from_config(model.get_config())
    assert [block.remat for block in again.bert.blocks] == [True, True]


# --- XLA ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@on_tensorflow
def test_xla_gives_the_same_outputs(tiny_config):
    import tensorflow as tf

    config = tiny_config.replace(extended_length=50)
    model = randomised(models.BertPretrainer(config))
    inputs = {**make_inputs(config, (3, 45)), "mask_positions": np.array([[1, 3]] * 3, "int32")}
    compiled = tf.function(model, jit_compile=True)
    for name, value in model(inputs).items():
        np.testing.assert_allclose(compiled(inputs)[name], value, atol=1e-5, err_msg=name)


@pytest.mark.slow
@on_tensorflow
def test_xla_trains_the_same_weights(dropping_config):
    """With dropout, as XLA on a CPU draws the same bits, and with recompute against without."""
    config = dropping_config.replace(num_layers=1)
    compiled = trained(config, jit_compile=True, remat=True)
    assert_same_training(compiled, trained(config, jit_compile=False), atol=1e-5)
