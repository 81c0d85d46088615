"""The low-rank update of a projection, alone and in the attention: arithmetic, start, merging."""

import gc

import keras
import numpy as np
import pytest

from kbert.layers import AdaptableDense, SelfAttention, TokenDense
from tests.layer_contract import assert_layer_contract

RNG = np.random.default_rng(17)
HIDDEN = RNG.normal(size=(3, 5, 8)).astype("float32")
BIAS = np.where([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0]], 0.0, -1e9).astype("float32")[
    :, None, None
]


def numpy_of(value):
    return keras.ops.convert_to_numpy(value)


def randomised(layer, inputs=HIDDEN):
    layer(inputs)
    for weight in layer.weights:
        weight.assign(RNG.normal(0, 0.5, weight.shape))
    return layer


@pytest.mark.parametrize("lora", [{}, {"lora_rank": 2, "lora_alpha": 5.0}], ids=["plain", "lora"])
def test_dense_contract(lora):
    assert_layer_contract(AdaptableDense, {"units": 6, "initializer_range": 0.5, "parts": 3, **lora}, HIDDEN)


@pytest.mark.slow
def test_attention_contract():
    kwargs = {"num_heads": 2, "attention_dropout": 0.4, "initializer_range": 0.5}
    assert_layer_contract(SelfAttention, {**kwargs, "lora_rank": 3, "lora_alpha": 6.0}, (HIDDEN, BIAS))


@pytest.mark.parametrize("alpha, factor", [(None, 1.0), (3.0, 1.5)])
def test_each_part_has_an_update_of_its_own(alpha, factor):
    layer = randomised(AdaptableDense(6, parts=3, lora_rank=2, lora_alpha=alpha))
    kernel, bias, a, b = map(numpy_of, (layer.kernel, layer.bias, layer.lora_a, layer.lora_b))
    parts = [
        HIDDEN @ (kernel[:, 2 * i : 2 * i + 2] + factor * a[:, 2 * i : 2 * i + 2] @ b[i]) for i in range(3)
    ]
    np.testing.assert_allclose(layer(HIDDEN), np.concatenate(parts, -1) + bias, atol=1e-5)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("at", [2, 3])  # Where a part ends, and within one.
def test_split_call_gives_the_columns_of_the_whole(rank, at):
    layer = randomised(AdaptableDense(6, parts=3, lora_rank=rank, lora_alpha=3.0))
    first, others = layer.call_split(HIDDEN[:, :1], HIDDEN, at)
    whole = numpy_of(layer(HIDDEN))
    np.testing.assert_allclose(first, whole[:, :1, :at], atol=1e-5)
    np.testing.assert_allclose(others, whole[..., at:], atol=1e-5)


def test_first_token_alone_sees_the_update():
    layer = randomised(SelfAttention(2, attention_dropout=0.0, lora_rank=3, lora_alpha=6.0))
    whole = numpy_of(layer(HIDDEN, BIAS))
    np.testing.assert_allclose(layer(HIDDEN, BIAS, queries=HIDDEN[:, :1]), whole[:, :1], atol=1e-5)
    layer.qkv.lora_b.assign(np.zeros(layer.qkv.lora_b.shape))
    without = numpy_of(layer(HIDDEN, BIAS, queries=HIDDEN[:, :1]))
    assert np.abs(without - whole[:, :1]).max() > 1e-2


def test_enabling_changes_no_output_and_training_it_does():
    plain = randomised(TokenDense(6))
    layer = AdaptableDense(6, parts=3)
    layer.build(HIDDEN.shape)
    layer.set_weights(plain.get_weights())
    layer.enable_lora(2, alpha=5.0)
    np.testing.assert_array_equal(layer(HIDDEN), plain(HIDDEN))
    assert [weight.path for weight in layer.weights[2:]] == [f"{layer.name}/lora_a", f"{layer.name}/lora_b"]
    assert layer.get_config()["lora_rank"] == 2 and layer.get_config()["lora_alpha"] == 5.0
    a = numpy_of(layer.lora_a)
    assert len(np.unique(a)) == a.size and 0.01 < a.std() < 0.03  # B = 0 and A = 0 would never learn.
    layer.lora_b.assign(RNG.normal(size=layer.lora_b.shape))
    assert np.abs(numpy_of(layer(HIDDEN)) - numpy_of(plain(HIDDEN))).max() > 1e-3


def test_enabling_before_build_adds_the_update_in_build():
    layer = AdaptableDense(6)
    layer.enable_lora(2)
    layer.build(HIDDEN.shape)
    assert [weight.name for weight in layer.weights] == ["kernel", "bias", "lora_a", "lora_b"]


def test_merging_keeps_the_outputs_and_leaves_a_plain_layer():
    layer = randomised(AdaptableDense(6, parts=3, lora_rank=2, lora_alpha=5.0))
    before = numpy_of(layer(HIDDEN))
    layer.merge_lora()
    np.testing.assert_allclose(layer(HIDDEN), before, atol=1e-5)
    assert [weight.name for weight in layer.weights] == ["kernel", "bias"]
    assert layer.get_config()["lora_rank"] is None and layer.get_config()["lora_alpha"] is None
    layer.enable_lora(4)  # The next task.
    np.testing.assert_allclose(layer(HIDDEN), before, atol=1e-5)


def test_merging_keeps_the_outputs_of_what_was_compiled_around_the_layer():
    layer = randomised(AdaptableDense(6, parts=3, lora_rank=2, lora_alpha=5.0))
    model = keras.Sequential([layer])
    before = model.predict(HIDDEN, verbose=0)
    layer.merge_lora()
    np.testing.assert_allclose(model.predict(HIDDEN, verbose=0), before, atol=1e-5)


def test_merging_leaves_frozen_what_a_program_froze():
    for freeze in (lambda: None, gc.freeze):
        layer = randomised(AdaptableDense(6, parts=3, lora_rank=2))
        freeze()
        try:
            frozen = bool(gc.get_freeze_count())
            layer.merge_lora()
            assert bool(gc.get_freeze_count()) == frozen
        finally:
            gc.unfreeze()


@pytest.mark.parametrize(
    "rank, alpha, message",
    [
        (0, None, "rank of 0"),
        (2.0, None, "rank of 2.0"),
        (True, None, "rank of True"),
        (2, 0, "alpha of 0"),
        (2, -1.0, "alpha of -1.0"),
    ],
)
def test_impossible_updates_are_refused(rank, alpha, message):
    with pytest.raises(ValueError, match=message):
        AdaptableDense(6, lora_rank=rank, lora_alpha=alpha)
    layer = AdaptableDense(6)
    with pytest.raises(ValueError, match=message):
        layer.enable_lora(rank, alpha)
    assert layer.lora_rank is None


def test_one_update_at_a_time_and_parts_of_equal_width():
    with pytest.raises(ValueError, match="rank 2 is there already"):
        AdaptableDense(6, lora_rank=2).enable_lora(3)
    with pytest.raises(ValueError, match="units=7 is not divisible into parts=3"):
        AdaptableDense(7, parts=3)
