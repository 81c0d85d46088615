"""Masked-language-model targets: the rule, the shares, the seeds."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.text.masking import TokenMasker, max_predictions

VOCAB, MASK, CLS, SEP = 1000, 4, 2, 3


def masker(slots=20, rate=0.15):
    return TokenMasker(vocab_size=VOCAB, mask_id=MASK, special_ids=(0, CLS, SEP), slots=slots, rate=rate)


def row(length, seed=0):
    tokens = np.random.default_rng(seed).integers(10, VOCAB, length).astype("int32")
    tokens[[0, length // 2, -1]] = CLS, SEP, SEP
    return tokens


def run(tokens, number=0, **options):
    return {
        k: v.numpy()
        for k, v in masker(**options)(tf.constant(tokens), tf.constant([7, number], tf.int64)).items()
    }


@pytest.mark.parametrize("length, expected", [(4, 1), (10, 2), (30, 4), (64, 10), (128, 19), (512, 20)])
def test_number_of_targets_is_googles(length, expected):
    """min(slots, max(1, round(0.15·length))), special tokens in the length; 10 and 30 round half to even."""
    outputs = run(row(length))
    assert outputs["mask_weights"].sum() == expected == min(20, max(1, round(0.15 * length)))
    assert (outputs["mask_weights"][:expected] == 1).all()


def test_targets_are_the_originals_at_distinct_ascending_positions():
    tokens = row(100)
    outputs = run(tokens)
    positions = outputs["mask_positions"][outputs["mask_weights"] > 0]
    assert (np.diff(positions) > 0).all()
    np.testing.assert_array_equal(outputs["mask_ids"][: len(positions)], tokens[positions])
    untouched = np.setdiff1d(np.arange(100), positions)
    np.testing.assert_array_equal(outputs["token_ids"][untouched], tokens[untouched])
    assert not outputs["mask_ids"][len(positions) :].any()


def test_never_special_tokens_and_shares_of_80_10_10():
    tokens = row(128)
    special = {0, 64, 127}
    counts, chosen = {"mask": 0, "kept": 0, "random": 0}, np.zeros(128)
    for number in range(400):
        outputs = run(tokens, number)
        for position, original in zip(outputs["mask_positions"][:19], outputs["mask_ids"][:19], strict=True):
            now = outputs["token_ids"][position]
            counts["mask" if now == MASK else "kept" if now == original else "random"] += 1
            chosen[position] += 1
    assert not chosen[list(special)].any()
    # Every position is as likely as any other: 400 · 19 / 125 = 61 expected, within five deviations.
    others = np.delete(chosen, list(special))
    assert others.min() > 61 - 5 * 8 and others.max() < 61 + 5 * 8
    shares = {name: count / (400 * 19) for name, count in counts.items()}
    assert shares["mask"] == pytest.approx(0.8, abs=0.025)
    assert shares["kept"] == pytest.approx(0.1, abs=0.02)
    assert shares["random"] == pytest.approx(0.1, abs=0.02)


def test_seed_alone_decides_in_every_form_of_execution():
    rows = [row(40, seed) for seed in range(6)]
    stack = np.stack(rows)
    eager = [run(tokens, number) for number, tokens in enumerate(rows)]
    for calls in (1, 8):
        mapped = (
            tf.data.Dataset.from_tensor_slices(stack)
            .enumerate()
            .map(
                lambda n, tokens: masker()(tokens, tf.stack([tf.constant(7, tf.int64), n])),
                num_parallel_calls=calls,
            )
        )
        for one, other in zip(eager, mapped, strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name], other[name].numpy())
    again = run(rows[0], 1)
    assert (again["mask_positions"] != eager[0]["mask_positions"]).any()


def test_a_row_of_special_tokens_has_no_targets():
    outputs = run(np.array([CLS, SEP, SEP], "int32"))
    assert outputs["mask_weights"].sum() == 0 and outputs["token_ids"].tolist() == [CLS, SEP, SEP]


def test_slots_for_a_length():
    assert [max_predictions(n) for n in (8, 128, 512)] == [1, 19, 77]
