"""Every layer: the contract, and its arithmetic against NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from kbert.layers import (
    FIRST,
    BertEmbeddings,
    Dropout,
    LayerNorm,
    MaskedLanguageModelHead,
    Pooler,
    SelfAttention,
    TokenDense,
    TransformerBlock,
    activation,
    attention_bias,
    first_pool,
    gather_positions,
    max_pool,
    mean_pool,
    part_attention_bias,
)
from tests.layer_contract import assert_layer_contract

RNG = np.random.default_rng(7)
HIDDEN = RNG.normal(size=(3, 5, 8)).astype("float32")
TOKENS = RNG.integers(0, 11, (3, 5)).astype("int32")
SEGMENTS = RNG.integers(0, 2, (3, 5)).astype("int32")
POSITIONS = np.array([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4], [0, 0, 1, 0, 0]], "int32")
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0]])
BIAS = np.where(MASK, 0.0, -1e9).astype("float32")[:, None, None, :]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_weights(layer):
    return {weight.path.split("/", 1)[-1]: np.asarray(weight) for weight in layer.weights}


@pytest.mark.parametrize("name", [None, "gelu", "silu"])
def test_token_dense_contract(name):
    kwargs = {"units": 6, "initializer_range": 0.5, "activation": name}
    assert_layer_contract(TokenDense, kwargs, HIDDEN)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["gelu", "relu"])
def test_token_dense_has_one_activation_in_training_and_out_of_it(name, dtype):
    layer = TokenDense(6, 0.5, name, dtype=dtype)
    plain = TokenDense(6, 0.5, dtype=dtype)
    for one in (layer, plain):
        one.build(HIDDEN.shape)
    plain.set_weights(layer.get_weights())
    want = np.asarray(keras.ops.cast(activation(name)(plain(HIDDEN)), "float32"))
    for training in (False, True):
        have = np.asarray(keras.ops.cast(layer(HIDDEN, training=training), "float32"))
        np.testing.assert_allclose(have, want, atol=1e-6 if dtype == "float32" else 0.02)
    with pytest.raises(ValueError, match="activation='swish' is unknown"):
        TokenDense(6, activation="swish")


def test_layer_norm_in_training_and_out_of_it():
    layer = LayerNorm(epsilon=1e-6)
    layer.build(HIDDEN.shape)
    gamma, beta = RNG.normal(size=(2, 8)).astype("float32")
    layer.set_weights([gamma, beta])
    inputs = HIDDEN * 3 + 50  # A mean far from 0, where squares of it would cancel.
    exact = inputs.astype(float)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-6)
    for training in (False, True):
        np.testing.assert_allclose(
            np.asarray(layer(inputs, training=training)), exact * gamma + beta, atol=2e-5
        )


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_layer_norm_computes_in_float32_whatever_it_gives(dtype):
    """Rows of one value, whose variance is 0, and of values whose squares half precision has not."""
    layer = LayerNorm(epsilon=1e-12, dtype=dtype)
    inputs = np.stack([np.zeros(8), np.tile([400.0, -400.0], 4), np.arange(48, 56)]).astype("float32")
    answered, trained = (
        np.asarray(ops.cast(layer(ops.cast(inputs, layer.compute_dtype), training=training), "float32"))
        for training in (False, True)
    )
    np.testing.assert_array_equal(answered[0], np.zeros(8))
    np.testing.assert_allclose(answered[1], np.tile([1.0, -1.0], 4), atol=1e-3)
    np.testing.assert_allclose(answered[2], (np.arange(8) - 3.5) / np.sqrt(5.25), atol=0.01)
    np.testing.assert_allclose(answered, trained, atol=0.01)


def test_dropout_refuses_what_it_would_not_do():
    for options in ({"rate": 1.0}, {"rate": 0.1, "noise_shape": (None, 1)}):
        with pytest.raises(ValueError, match="expected a rate below 1, and no noise_shape"):
            Dropout(**options)
    assert Dropout.from_config(Dropout(0.1).get_config()).rate == 0.1


@pytest.mark.parametrize("pool", [first_pool, mean_pool, max_pool])
def test_no_rows_have_no_vectors(pool):
    assert ops.shape(pool(np.zeros((0, 5, 8), "float32"), np.ones((0, 5)))) == (0, 8)


def test_a_model_that_asks_for_first_tokens_is_saved_and_loaded(tmp_path):
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, TransformerBlock(2, 16)(inputs, positions=FIRST))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(HIDDEN), model(HIDDEN))
    assert again(HIDDEN).shape == (3, 1, 8)


@pytest.mark.parametrize("options", [{"center": False}, {"scale": False}, {"axis": 1}])
def test_layer_norm_with_keras_options(options):
    layer, plain = LayerNorm(**options), keras.layers.LayerNormalization(**options)
    for training in (False, True):
        np.testing.assert_allclose(np.asarray(layer(HIDDEN, training=training)), plain(HIDDEN), atol=1e-5)


def test_dropout_contract():
    assert_layer_contract(Dropout, {"rate": 0.4, "seed": 3}, HIDDEN)


def test_dropout_keeps_the_rate_and_the_mean():
    inputs = np.ones((301, 7, 101), "float32")  # An odd count: the last word of draws is cut.
    outputs = np.asarray(Dropout(0.1, seed=5)(inputs, training=True))
    kept = outputs != 0
    assert abs(kept.mean() - 0.9) < 0.005 and abs(outputs.mean() - 1) < 0.005
    # The draws of one word are independent of each other, and so are the columns.
    flat = kept.reshape(-1)[: kept.size // 4 * 4].reshape(-1, 4).astype(float)
    assert np.abs(np.corrcoef(flat.T) - np.eye(4)).max() < 0.02
    assert np.ptp(kept.mean((0, 1))) < 0.06


@pytest.mark.slow_after_first
@pytest.mark.parametrize("rate, values", [(0.1, 2**8), (0.4, 2**8), (0.02, 2**16), (0.001, 2**16)])
def test_dropout_draws_between_the_two_rates_that_it_can_keep_exactly(rate, values):
    layer, inputs = Dropout(rate, seed=3), np.ones((4001,), "float32")
    scales = [np.asarray(layer(inputs, training=True)).max() for _ in range(300)]
    below = np.floor(rate * values)
    neighbours = values / (values - below - np.arange(2))
    taken = np.abs(np.array(scales)[:, None] - neighbours).argmin(1)
    np.testing.assert_allclose(scales, neighbours[taken], rtol=1e-6)
    share = rate * values - below  # Of calls with the higher one; five standard errors of 300 draws.
    assert abs(taken.mean() - share) < 5 * np.sqrt(share * (1 - share) / 300)


def test_dropout_of_nothing_and_of_almost_everything():
    assert (np.asarray(Dropout(0.0)(HIDDEN, training=True)) == HIDDEN).all()
    assert (np.asarray(Dropout(0.5)(HIDDEN)) == HIDDEN).all()
    nearly = np.asarray(Dropout(0.99, seed=1)(np.ones((400, 400), "float32"), training=True))
    assert abs((nearly != 0).mean() - 0.01) < 0.002 and abs(nearly.mean() - 1) < 0.1


def test_embeddings_contract():
    kwargs = dict(
        vocab_size=11, hidden_dim=8, max_length=3, num_segments=2, dropout=0.3, layer_norm_epsilon=1e-6
    )
    assert_layer_contract(
        BertEmbeddings,
        {**kwargs, "initializer_range": 0.5, "extended_length": 9},
        (TOKENS, SEGMENTS),
        mixed_dtype="float32",
    )


def test_embeddings_contract_with_positions():
    kwargs = dict(vocab_size=11, hidden_dim=8, max_length=5, dropout=0.3, initializer_range=0.5)
    others = dict(num_segments=3, layer_norm_epsilon=1e-6, extended_length=7)
    tensors = (TOKENS, SEGMENTS, POSITIONS)
    assert_layer_contract(BertEmbeddings, {**kwargs, **others}, tensors, mixed_dtype="float32")


def test_attention_contract():
    kwargs = {"num_heads": 2, "attention_dropout": 0.4, "initializer_range": 0.5}
    assert_layer_contract(SelfAttention, kwargs, (HIDDEN, BIAS))


def test_block_contract():
    kwargs = dict(
        num_heads=2, intermediate_dim=12, dropout=0.3, attention_dropout=0.4, activation="gelu_tanh"
    )
    assert_layer_contract(
        TransformerBlock,
        {**kwargs, "layer_norm_epsilon": 1e-6, "initializer_range": 0.5, "remat": True},
        (HIDDEN, BIAS),
        mixed_dtype="float32",
    )


def test_pooler_contract():
    assert_layer_contract(Pooler, {"initializer_range": 0.5}, HIDDEN)
    assert_layer_contract(Pooler, {"initializer_range": 0.5}, (HIDDEN, POSITIONS[:, 1:3]))


def test_mlm_head_contract():
    table = RNG.normal(size=(11, 8)).astype("float32")
    kwargs = {"activation": "relu", "layer_norm_epsilon": 1e-6, "initializer_range": 0.5}
    assert_layer_contract(MaskedLanguageModelHead, kwargs, (HIDDEN, table), mixed_dtype="float32")


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "bfloat16"])
def test_the_bias_of_the_mlm_head_is_not_rounded(dtype):
    layer, bias = MaskedLanguageModelHead(dtype=dtype), np.linspace(-13, -2, 50, dtype="float32")
    layer.build((None, None, 8), (50, 8))
    layer.bias.assign(bias)
    logits = layer(np.zeros((1, 2, 8), "float32"), np.zeros((50, 8), "float32"))
    np.testing.assert_allclose(logits, np.broadcast_to(bias, (1, 2, 50)), rtol=1e-6)


def test_attention_equals_numpy_head_by_head():
    layer = SelfAttention(2, attention_dropout=0.0, initializer_range=0.7)
    outputs, probabilities = layer(HIDDEN, BIAS, return_probabilities=True)
    weights = numpy_weights(layer)
    qkv = HIDDEN @ weights["qkv/kernel"] + weights["qkv/bias"]
    query, key, value = np.split(qkv, 3, -1)
    contexts = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = query[..., part] @ key[..., part].transpose(0, 2, 1) / 2.0
        expected = softmax(np.where(MASK[:, None, :], scores, -np.inf))
        np.testing.assert_allclose(probabilities[:, head], expected, atol=1e-6)
        contexts.append(expected @ value[..., part])
    expected = np.concatenate(contexts, -1) @ weights["output/kernel"] + weights["output/bias"]
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*softmax over axis -1:UserWarning")  # Of the row of length 1.
@pytest.mark.parametrize("batch, length, heads", [(2, 1, 2), (5, 5, 5), (3, 4, 4)])
def test_attention_bias_is_never_mistaken_for_another_axis(batch, length, heads):
    """Sizes in which axes coincide give what each row gives alone."""
    hidden = RNG.normal(size=(batch, length, 20)).astype("float32")
    mask = np.ones((batch, length), "int32")
    mask[1:, length // 2 + 1 :] = 0
    layer = SelfAttention(heads, attention_dropout=0.0, initializer_range=0.7)
    together = layer(hidden, attention_bias(mask))
    alone = [layer(hidden[i : i + 1], attention_bias(mask[i : i + 1])) for i in range(batch)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


@pytest.mark.parametrize("bias", [None, BIAS, part_attention_bias(MASK)], ids=["none", "mask", "parts"])
@pytest.mark.parametrize("positions", [FIRST, np.array([[4, 1, 1], [0, 2, 3], [3, 0, 2]], "int32")])
def test_a_block_gives_the_same_where_it_is_asked_for_some_tokens(bias, positions):
    block = TransformerBlock(2, 12, dropout=0.0, attention_dropout=0.0, initializer_range=0.7)
    whole, maps = map(np.asarray, block(HIDDEN, bias, return_probabilities=True))
    some, some_maps = block(HIDDEN, bias, return_probabilities=True, positions=positions)
    at = np.zeros((3, 1), int) if positions is FIRST else positions
    np.testing.assert_allclose(some, np.take_along_axis(whole, at[..., None], 1), atol=1e-5)
    np.testing.assert_allclose(some_maps, np.take_along_axis(maps, at[:, None, :, None], 2), atol=1e-6)
    np.testing.assert_allclose(block(HIDDEN, bias, positions=positions), some, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="TensorFlow has no such kernel")
@pytest.mark.parametrize(
    "asked, calls", [({}, 1), ({"return_probabilities": True}, 0), ({"training": True}, 0)]
)
def test_a_block_takes_the_kernel_that_writes_no_scores(monkeypatch, asked, calls):
    from kbert.layers import attention

    fused, seen = attention._fused_attention, []
    monkeypatch.setattr(attention, "_fused_attention", lambda *tensors: seen.append(1) or fused(*tensors))
    TransformerBlock(2, 12)(HIDDEN, BIAS, **asked)
    assert len(seen) == calls


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_row_of_padding_stays_finite_and_uniform(dtype):
    layer = SelfAttention(2, attention_dropout=0.0, initializer_range=0.7, dtype=dtype)
    hidden = ops.cast(HIDDEN, layer.compute_dtype)  # A bias is cast to it as well, out of float16's range.
    _, probabilities = layer(hidden, attention_bias(np.zeros((3, 5))), return_probabilities=True)
    np.testing.assert_allclose(probabilities, np.full((3, 2, 5, 5), 0.2), atol=1e-6)
    for training in (False, True):
        outputs = layer(hidden, attention_bias(np.zeros((3, 5))), training=training)
        assert np.isfinite(ops.cast(outputs, "float32")).all()


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
def test_masks_of_any_dtype_mean_the_same(dtype):
    np.testing.assert_array_equal(attention_bias(MASK.astype(dtype)), BIAS)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_masks_are_float32_whatever_the_default_of_keras(dtype, floatx):
    floatx(dtype)
    for bias in (attention_bias(MASK), part_attention_bias(MASK)):
        assert keras.backend.standardize_dtype(bias.dtype) == "float32"
        assert float(ops.min(bias)) == np.float32(-1e9)


def test_parts_see_themselves():
    parts = np.array([[1, 1, 2, 2, 0], [1, 2, 1, 3, 3], [0, 0, 0, 0, 0]], "int64")
    expected = [[[0.0 if a == b else -1e9 for a in row] for b in row] for row in parts]
    np.testing.assert_array_equal(part_attention_bias(parts)[:, 0], expected)


def test_embeddings_at_given_positions():
    layer = BertEmbeddings(11, 8, max_length=5, dropout=0.0, initializer_range=0.5)
    shuffled = layer(TOKENS, SEGMENTS, POSITIONS[:, ::-1])
    for place in range(5):
        # Alone at its position, behind others that do not count.
        for row in range(3):
            position = POSITIONS[row, 4 - place]
            tokens = np.full((1, position + 1), TOKENS[row, place])
            alone = layer(tokens, np.full_like(tokens, SEGMENTS[row, place]))[0, -1]
            np.testing.assert_allclose(shuffled[row, place], alone, atol=1e-6)
    # A row may be longer than the positions reach.
    twice = layer(np.tile(TOKENS, 2), np.tile(SEGMENTS, 2), np.tile(np.arange(5)[None], (3, 2)))
    np.testing.assert_allclose(twice, np.tile(layer(TOKENS, SEGMENTS), (1, 2, 1)), atol=1e-6)


def test_pooler_of_several_texts():
    layer = Pooler(initializer_range=0.5)
    outputs = layer(HIDDEN, np.array([[0, 3], [2, 0], [4, 1]], "int32"))
    for row, places in enumerate([[0, 3], [2, 0], [4, 1]]):
        for number, place in enumerate(places):
            alone = layer(HIDDEN[row : row + 1, place:])[0]
            np.testing.assert_allclose(outputs[row, number], alone, atol=1e-6)


def test_embeddings_sum_three_tables():
    layer = BertEmbeddings(11, 8, max_length=6, dropout=0.0, initializer_range=0.5)
    outputs = layer(TOKENS, SEGMENTS)
    weights = numpy_weights(layer)
    total = (
        weights["token_embeddings"][TOKENS]
        + weights["position_embeddings"][:5]
        + weights["segment_embeddings"][SEGMENTS]
    )
    expected = (total - total.mean(-1, keepdims=True)) / np.sqrt(total.var(-1, keepdims=True) + 1e-12)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(layer(TOKENS), layer(TOKENS, np.zeros_like(SEGMENTS)), atol=1e-6)


def test_too_long_a_sequence_names_both_numbers():
    with pytest.raises(ValueError, match="7 tokens.*max_length=6"):
        BertEmbeddings(11, 8, max_length=6)(np.ones((1, 7), "int32"))


@pytest.mark.parametrize("batch, count", [(3, 2), (3, 3), (1, 4)])
def test_gather_positions_in_every_relation_of_sizes(batch, count):
    positions = RNG.integers(0, 5, (batch, count)).astype("int32")
    expected = np.stack([HIDDEN[row][positions[row]] for row in range(batch)])
    np.testing.assert_array_equal(gather_positions(HIDDEN[:batch], positions), expected)


def test_gelu_is_exact_and_its_approximation_is_not():
    x = np.linspace(-4, 4, 41).astype("float32")
    erf = np.vectorize(__import__("math").erf)
    exact = x * 0.5 * (1 + erf(x / np.sqrt(2)))
    np.testing.assert_allclose(activation("gelu")(keras.ops.array(x)), exact, atol=1e-6)
    difference = np.abs(np.asarray(activation("gelu_tanh")(keras.ops.array(x))) - exact).max()
    assert 1e-4 < difference < 1e-3
    with pytest.raises(ValueError, match="swish"):
        activation("swish")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="differentiates with a GradientTape")
@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-6), ("bfloat16", 2e-2)])
def test_gelu_for_training_has_the_values_and_the_gradient_of_gelu(dtype, tolerance):
    import tensorflow as tf

    x = tf.cast(np.linspace(-6, 6, 241).astype("float32"), dtype)
    upstream = tf.cast(RNG.normal(size=241).astype("float32"), dtype)
    results = []
    for training in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = activation("gelu", training)(x)
        assert y.dtype == dtype
        results.append([tf.cast(t, "float32") for t in (y, tape.gradient(y, x, output_gradients=upstream))])
    for plain, written_out in zip(*results, strict=True):
        np.testing.assert_allclose(written_out, plain, atol=tolerance)
