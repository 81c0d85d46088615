"""`unpad=True`: padding is left out of the work, and out of nothing else."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.layers import Dropout
from kbert.models import Bert, BertClassifier, BertTagger
from tests.model_contract import make_inputs, numbers, randomised

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="shapes that depend on the inputs are TensorFlow's alone"
)


@pytest.fixture
def config(tiny_config):
    return tiny_config.replace(dropout=0.0, attention_dropout=0.0)


def uneven(config, shape=(5, 9)):
    """Rows of 9, 1, 5 and 2 tokens and one of padding alone."""
    inputs = make_inputs(config, shape)
    inputs["padding_mask"] = (np.arange(shape[1]) < np.array([9, 1, 5, 2, 0])[:, None]).astype("int32")
    return inputs


def pair(model_class, config, *args, **options):
    """A model and its twin without padding, with the same weights."""
    plain, other = (randomised(model_class(config, *args, unpad=u, **options)) for u in (False, True))
    other.set_weights(plain.get_weights())
    return plain, other


@pytest.mark.parametrize(
    "options",
    [{}, {"training": True}, {"positions": np.array([[0, 1], [0, 0], [4, 2], [1, 1], [0, 0]], "int32")}],
    ids=str,
)
def test_real_tokens_get_the_same_numbers_and_padding_gets_zeros(options, config):
    plain, other = pair(Bert, config)
    inputs = uneven(config)
    expected, outputs = numbers(plain(inputs, **options)), numbers(other(inputs, **options))
    real = inputs["padding_mask"] == 1
    if "positions" in options:
        real = np.take_along_axis(real, options["positions"], 1)
    found = outputs["sequence_output"]
    np.testing.assert_allclose(found[real], expected["sequence_output"][real], atol=1e-5)
    np.testing.assert_allclose(outputs["pooled_output"][:4], expected["pooled_output"][:4], atol=1e-5)
    if "positions" not in options:
        assert (found[~real] == 0).all()
        assert (expected["sequence_output"][~real] != 0).all()


def test_the_pooled_output_alone(config):
    plain, other = pair(Bert, config)
    inputs = uneven(config)
    expected, outputs = (numbers(model(inputs, pooled_only=True)) for model in (plain, other))
    np.testing.assert_allclose(outputs["pooled_output"][:4], expected["pooled_output"][:4], atol=1e-5)
    assert np.isfinite(outputs["pooled_output"]).all()


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "mask",
    [
        [[1, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 0]],
        [[0, 0, 0, 1, 1]],
        [[1, 0, 0, 0, 1]],
        [[0, 0, 0, 1], [0, 0, 0, 1]],
    ],
    ids=str,
)
@pytest.mark.parametrize("max_length", [None, 3])
def test_a_mask_may_have_holes_and_begin_late(mask, max_length, config):
    """Places may be higher than there are tokens; also where positions are made of two."""
    if max_length:
        config = config.replace(max_length=max_length, extended_length=max_length**2)
    plain, other = pair(Bert, config)
    shape = (len(mask), len(mask[0]))
    inputs = {n: v[: shape[0]] for n, v in make_inputs(config, (2, shape[1])).items()}
    inputs["padding_mask"] = np.array(mask, "int32")
    expected, outputs = (numbers(model(inputs))["sequence_output"] for model in (plain, other))
    real = inputs["padding_mask"] == 1
    np.testing.assert_allclose(outputs[real], expected[real], atol=1e-5)


def test_padding_alone(config):
    """As a part of a batch may be; in a graph, and without one."""
    _, other = pair(BertClassifier, config, 3)
    inputs = {**make_inputs(config, (2, 4)), "padding_mask": np.zeros((2, 4), "int32")}
    plain, traced = (call(inputs, training=True)["logits"] for call in (other, tf.function(other)))
    assert np.isfinite(plain).all()
    np.testing.assert_allclose(traced, plain, atol=1e-6)


def test_a_row_that_is_too_long_is_an_error_when_it_comes(config):
    _, other = pair(Bert, config.replace(max_length=8))
    rows = tf.TensorSpec([None, None], tf.int32)
    call = tf.function(
        lambda ids: other({"token_ids": ids, "padding_mask": tf.ones_like(ids)}), input_signature=[rows]
    )
    assert call(np.ones((2, 8), "int32"))["sequence_output"].shape == (2, 8, config.hidden_dim)
    with pytest.raises(tf.errors.InvalidArgumentError, match="longer than the positions"):
        call(np.ones((1, 9), "int32"))


def test_graphs_that_only_answer_are_forgotten(config):
    """TensorFlow keeps a gradient of one's own for good, and with it the graph and all weights."""

    def traced():
        call = tf.function(pair(Bert, config)[1]).get_concrete_function(uneven(config))
        return weakref.ref(call.graph)

    graph = traced()
    gc.collect()
    assert graph() is None


def test_without_a_mask_and_for_all_layers_nothing_changes(config):
    plain, other = pair(Bert, config)
    inputs = uneven(config)
    outputs = [model(inputs, return_layers=True) for model in (plain, other)]
    for one, two in zip(*map(keras.tree.flatten, outputs), strict=True):
        np.testing.assert_array_equal(one, two)
    del inputs["padding_mask"]
    np.testing.assert_array_equal(plain(inputs)["sequence_output"], other(inputs)["sequence_output"])


def gradients(model, inputs):
    import tensorflow as tf

    @tf.function
    def found(inputs):
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            logits = outputs["logits"]
            factors = tf.random.stateless_normal(tf.shape(logits), [1, 2])
            if "word_mask" in outputs:
                factors *= tf.cast(outputs["word_mask"], tf.float32)[..., None]
            loss = tf.reduce_sum(logits * factors)
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    batch = {name: tf.constant(value) for name, value in inputs.items()}
    return [tf.convert_to_tensor(gradient).numpy() for gradient in found(batch)]


@pytest.mark.slow_after_first
@pytest.mark.parametrize("model_class", [BertTagger, BertClassifier])
@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("dtype, atol", [("float32", 1e-4), ("mixed_bfloat16", 0.05)])
def test_gradients_are_the_same_weight_by_weight(dtype, atol, remat, model_class, config):
    plain, other = pair(model_class, config, 3, dtype=dtype, remat=remat)
    inputs = {name: value[:4] for name, value in uneven(config).items()}  # None of padding alone.
    names = [weight.path.split("/", 1)[1] for weight in plain.trainable_weights]
    for name, one, two in zip(names, gradients(plain, inputs), gradients(other, inputs), strict=True):
        scale = np.abs(one).max() + 1e-3  # Keys' biases have a gradient of 0 but for rounding.
        np.testing.assert_allclose(two / scale, one / scale, atol=atol, err_msg=name)


def test_lora_and_composed_positions(config):
    plain, other = pair(Bert, config.replace(max_length=4, extended_length=16))
    for model in (plain, other):
        model.enable_lora(2)
    randomised(plain)
    other.set_weights(plain.get_weights())
    inputs = uneven(config)
    real = inputs["padding_mask"] == 1
    expected, outputs = (numbers(model(inputs))["sequence_output"] for model in (plain, other))
    np.testing.assert_allclose(outputs[real], expected[real], atol=1e-5)


def test_what_rows_cost(config):
    inputs = uneven(config)
    plain, other = pair(BertTagger, config, 3)
    assert other.row_costs(inputs).numpy().tolist() == [9, 1, 5, 2, 0]
    choices = {name: value[:4].reshape(2, 2, 9) for name, value in inputs.items()}
    assert other.row_costs(choices).numpy().tolist() == [10, 7]
    assert plain.row_costs(inputs) is None
    assert other.row_costs({"token_ids": inputs["token_ids"]}) is None
    assert other.row_costs({**inputs, "part_ids": inputs["padding_mask"]}) is None


def test_a_sequence_that_is_too_long_is_refused(config):
    model = Bert(config.replace(max_length=8), unpad=True)
    with pytest.raises(ValueError, match="a sequence of 9 tokens came"):
        model(uneven(config))


def test_the_work_goes_with_the_tokens(config, monkeypatch):
    """Attention's goes with the squares of lengths: each group of rows is hardly longer than its longest."""
    seen = []
    mask = Dropout.mask

    def noting(layer, shape, dtype):
        seen.append(tuple(map(int, shape)))
        return mask(layer, shape, dtype)

    monkeypatch.setattr(Dropout, "mask", noting)
    inputs, tokens = uneven(config), 9 + 1 + 5 + 2
    config = config.replace(dropout=0.1, attention_dropout=0.1)
    randomised(Bert(config, unpad=True))(inputs, training=True)
    in_one_row = (1, tokens, config.hidden_dim)
    groups = [(1, 4), (1, 4), (1, 4), (2, 9)]
    attention = [(rows, config.num_heads, length, length) for rows, length in groups]
    assert seen == [in_one_row, *[*attention, in_one_row, in_one_row] * config.num_layers]


def test_few_numbers_of_tokens_come_up():
    """Each is a kernel to be made."""
    from kbert.layers.unpadding import _rounded

    counts = np.arange(0, 4097)
    found = np.array([int(_rounded(count)) for count in counts])
    assert (found[:65] == counts[:65]).all()
    assert (found >= counts).all() and (found <= counts * 33 / 32).all()
    for low in (128, 300, 2048):
        assert len(set(found[low : 2 * low])) <= 33


@pytest.mark.slow
def test_spare_tokens_move_no_weight(config):
    """100 tokens are computed as 100, 97 as 98: what is spare has no part in outputs and gradients."""
    plain, other = pair(BertTagger, config.replace(max_length=64), 3)
    inputs = make_inputs(config, (2, 64))
    inputs["padding_mask"] = (np.arange(64) < np.array([[61], [36]])).astype("int32")
    assert inputs["padding_mask"].sum() == 97
    for one, two in zip(gradients(plain, inputs), gradients(other, inputs), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-4 * (np.abs(one).max() + 1e-3))


def test_a_part_of_a_batch_without_rows(config):
    """As it comes where the last batch has fewer rows than a step has parts."""
    import tensorflow as tf

    model = randomised(Bert(config, unpad=True))
    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in uneven(config)}
    graph = tf.function(lambda inputs: model(inputs, training=True), input_signature=[spec])
    inputs = {name: tf.constant(value[:0]) for name, value in uneven(config).items()}
    assert graph(inputs)["sequence_output"].shape == (0, 9, config.hidden_dim)


@pytest.mark.slow
def test_compile_and_fit_and_saving(config, tmp_path):
    import tensorflow as tf

    model = BertClassifier(config, 2, unpad=True)
    model.compile("adam", {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    rows = uneven(config)
    batches = tf.data.Dataset.from_tensor_slices((rows, {"logits": np.array([0, 1, 1, 0, 1])})).batch(2)
    history = model.fit(batches, epochs=2, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.bert.unpad
    np.testing.assert_allclose(again(rows)["logits"], model(rows)["logits"], atol=1e-6)
