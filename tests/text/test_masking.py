"""Masked-language-model targets: the rule, whole words and spans, the shares, the seeds."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.text.masking import TokenMasker, max_predictions

VOCAB, MASK, CLS, SEP = 1000, 4, 2, 3


def masker(slots=20, **options):
    return TokenMasker(vocab_size=VOCAB, mask_id=MASK, special_ids=(0, CLS, SEP), slots=slots, **options)


def row(length, seed=0):
    tokens = np.random.default_rng(seed).integers(10, VOCAB, length).astype("int32")
    tokens[[0, length // 2, -1]] = CLS, SEP, SEP
    return tokens


def words_of(length, seed=0):
    """Where words begin: of 1 to 4 pieces, wherever the special tokens are."""
    return (np.random.default_rng([seed, 1]).random(length) < 0.5).astype("int32")


def run(tokens, number=0, word_starts=None, **options):
    outputs = masker(**options)(tf.constant(tokens), tf.constant([7, number], tf.int64), word_starts)
    return {name: value.numpy() for name, value in outputs.items()}


def run_many(tokens, count, word_starts=None, **options):
    """The outputs for the seeds (7, 0), (7, 1), ..., stacked."""
    mask = masker(**options)
    numbers = tf.data.Dataset.range(count)
    dataset = numbers.map(lambda n: mask(tokens, tf.stack([tf.constant(7, tf.int64), n]), word_starts))
    return next(dataset.batch(count).as_numpy_iterator())


# --- single pieces ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length, expected", [(4, 1), (10, 2), (30, 4), (64, 10), (128, 19), (512, 20)])
def test_number_of_targets_is_googles(length, expected):
    """min(slots, max(1, round(0.15·length))), special tokens in the length; 10 and 30 round half to even."""
    outputs = run(row(length))
    assert outputs["mask_weights"].sum() == expected == min(20, max(1, round(0.15 * length)))
    assert (outputs["mask_weights"][:expected] == 1).all()


@pytest.mark.parametrize("length, rate, expected", [(190, 0.15, 28), (350, 0.15, 52), (95, 0.3, 28)])
def test_what_is_half_a_target_but_for_the_last_digit_is_rounded_as_by_google(length, rate, expected):
    outputs = run(row(length), slots=100, rate=rate)
    assert outputs["mask_weights"].sum() == expected == round(rate * length)


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
    outputs = run_many(tokens, 400)
    for ids, positions, originals in zip(
        outputs["token_ids"], outputs["mask_positions"][:, :19], outputs["mask_ids"][:, :19], strict=True
    ):
        for position, original in zip(positions, originals, strict=True):
            now = ids[position]
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


# --- whole words and spans ----------------------------------------------------------------------------


def in_turn(sizes, budget):
    """Who goes through the sizes takes what still fits."""
    taken = []
    for number, size in enumerate(sizes):
        if size <= budget:
            taken.append(number)
            budget -= size
    return taken


@pytest.mark.slow_after_first
@pytest.mark.parametrize("rate", [0.02, 0.15, 0.5, 1.0])
@pytest.mark.parametrize("max_span, with_words", [(1, False), (1, True), (3, False), (3, True), (10, True)])
def test_choice_is_its_restatement_draw_by_draw(max_span, with_words, rate):
    """In Python, from the same draws: which positions, and what becomes of them."""
    for number in range(5):
        length = 8 + 31 * number
        tokens, starts = row(length, number), words_of(length, number)
        outputs = run(tokens, number, starts if with_words else None, slots=60, rate=rate, max_span=max_span)
        seeds = tf.random.split(tf.constant([7, number], tf.int64), 3)
        draws = tf.random.stateless_uniform([length], seeds[0]).numpy()
        lengths = tf.random.stateless_uniform([length], tf.random.fold_in(seeds[0], 1)).numpy()
        special = np.isin(tokens, (0, CLS, SEP))

        words = []  # lists of positions
        for at in range(length):
            begins = not with_words or starts[at] or special[at] or at == 0 or special[at - 1]
            words = [*words, [at]] if begins else [*words[:-1], [*words[-1], at]]
        shares = np.cumsum([1 / n for n in range(1, max_span + 1)])
        sizes = [1 + int((shares[:-1] <= np.float32(shares[-1]) * draw).sum()) for draw in lengths]
        of_word = np.repeat(np.arange(length), sizes)  # the span that a word would be in
        spans = []
        for number_of_word, word in enumerate(words):
            alone = special[word[0]] or special[word[0] - 1] or number_of_word == 0
            if alone or of_word[number_of_word] != of_word[number_of_word - 1]:
                spans.append([])
            spans[-1] += word
        spans = sorted((s for s in spans if not special[s[0]]), key=lambda s: draws[s[0]])
        budget = min(60, (~special).sum(), max(1, round(rate * length)))
        taken = in_turn([len(span) for span in spans], budget)
        positions = sorted(position for span in taken for position in spans[span])

        count = len(positions)
        assert outputs["mask_weights"].tolist() == [1.0] * count + [0.0] * (60 - count)
        assert outputs["mask_positions"][:count].tolist() == positions
        assert outputs["mask_ids"][:count].tolist() == tokens[positions].tolist()
        action = tf.random.stateless_uniform([count], seeds[1]).numpy()
        instead = tf.random.stateless_uniform([count], seeds[2], 0, VOCAB, tf.int32).numpy()
        expected = tokens.copy()
        expected[positions] = np.select([action < 0.8, action < 0.9], [MASK, tokens[positions]], instead)
        assert outputs["token_ids"].tolist() == expected.tolist()


@pytest.mark.parametrize("max_span", [1, 3])
def test_a_word_is_hidden_whole_or_not_at_all_within_the_budget(max_span):
    tokens = row(128)
    starts = words_of(128) | np.isin(tokens, (CLS, SEP))
    starts[1:] |= starts[:-1] & np.isin(tokens[:-1], (CLS, SEP))
    word = np.cumsum(starts) - 1
    outputs = run_many(tokens, 300, starts, slots=20, max_span=max_span)
    used = outputs["mask_weights"] > 0
    assert used.sum(1).max() <= 19 and used.sum(1).mean() > 18
    sizes = np.bincount(word)
    for positions, real in zip(outputs["mask_positions"], used, strict=True):
        chosen, pieces = np.unique(word[positions[real]], return_counts=True)
        assert (pieces == sizes[chosen]).all()
        assert not np.isin(tokens[positions[real]], (CLS, SEP)).any()


def test_words_longer_than_what_is_left_are_passed_over():
    tokens = np.array([CLS, *range(10, 40), SEP], "int32")
    threes = np.array([1, *[1, 0, 0] * 10, 1], "int32")
    for budget, chosen in ((2, 0), (3, 3), (5, 3), (7, 6)):
        outputs = run(tokens, 0, threes, slots=budget, rate=1.0)
        assert outputs["mask_weights"].sum() == chosen
    # One word of one piece among them is what every budget ends with.
    one = np.array([1, 1, *[1, 0, 0] * 9, 1, 0, 1], "int32")
    outputs = run_many(tokens, 50, one, slots=4, rate=1.0)
    assert (outputs["mask_positions"][:, 0] == 1).all()


def test_what_a_cut_left_of_a_word_is_no_part_of_a_special_token():
    tokens = np.array([CLS, 20, 21, SEP, 30, 31, SEP], "int32")
    outputs = run(tokens, 0, np.array([1, 0, 1, 1, 0, 0, 1], "int32"), slots=7, rate=1.0)
    assert outputs["mask_positions"][:4].tolist() == [1, 2, 4, 5] and outputs["mask_weights"].sum() == 4


def test_spans_have_the_published_lengths():
    """At a low rate hardly two spans touch, so that a run of chosen tokens is a span."""
    tokens = row(3000)
    outputs = run_many(tokens, 150, slots=45, max_span=3)
    lengths = []
    for positions in outputs["mask_positions"]:
        ends = np.nonzero(np.diff(positions, append=10**6) > 1)[0]
        lengths += np.diff(ends, prepend=-1).tolist()
    shares = np.bincount(lengths, minlength=4)[1:4] / len(lengths)
    np.testing.assert_allclose(shares, np.array([6, 3, 2]) / 11, atol=0.035)


def test_every_token_is_as_likely_with_spans():
    tokens = row(64)
    outputs = run_many(tokens, 1500, slots=10, max_span=3)
    chosen = np.bincount(outputs["mask_positions"][outputs["mask_weights"] > 0], minlength=64)
    others = np.delete(chosen, [0, 32, 63]) / 1500
    assert abs(others.mean() - 10 / 61) < 0.002
    # At the borders spans are shorter, and short ones fit more often.
    assert np.abs(others - 10 / 61).max() < 0.05


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_other_shares_and_rates(shares):
    tokens = row(128)
    outputs = run_many(tokens, 200, slots=60, rate=0.4, shares=shares)
    assert (outputs["mask_weights"].sum(1) == 51).all()
    now = np.take_along_axis(outputs["token_ids"], outputs["mask_positions"], 1)[:, :51]
    kept = now == outputs["mask_ids"][:, :51]
    found = [(now == MASK).mean(), kept.mean(), (~kept & (now != MASK)).mean()]
    np.testing.assert_allclose(found, shares, atol=0.015)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"rate": 0.0}, "rate of 0.0.*above 0"),
        ({"rate": 15.0}, "rate of 15.0.*at most 1"),
        ({"shares": (0.8, 0.1, 0.2)}, "sum to 1"),
        ({"shares": (80, 10, 10)}, "sum to 1"),
        ({"shares": (1.2, -0.1, -0.1)}, "sum to 1"),
        ({"max_span": 0}, "max_span=0"),
    ],
)
def test_options_out_of_range_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        masker(**wrong)


# --- seeds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_span, word_starts", [(1, None), (1, words_of(40)), (3, words_of(40))])
def test_seed_alone_decides_in_every_form_of_execution(max_span, word_starts):
    rows = [row(40, seed) for seed in range(6)]
    stack = np.stack(rows)
    options = dict(max_span=max_span)
    eager = [run(tokens, number, word_starts, **options) for number, tokens in enumerate(rows)]
    for calls in (1, 8):
        mapped = (
            tf.data.Dataset.from_tensor_slices(stack)
            .enumerate()
            .map(
                lambda n, tokens: masker(**options)(
                    tokens, tf.stack([tf.constant(7, tf.int64), n]), word_starts
                ),
                num_parallel_calls=calls,
            )
        )
        for one, other in zip(eager, mapped, strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name], other[name].numpy())
    again = run(rows[0], 1, word_starts, **options)
    assert (again["mask_positions"] != eager[0]["mask_positions"]).any()


def test_a_row_of_special_tokens_has_no_targets():
    outputs = run(np.array([CLS, SEP, SEP], "int32"))
    assert outputs["mask_weights"].sum() == 0 and outputs["token_ids"].tolist() == [CLS, SEP, SEP]


def test_slots_for_a_length():
    assert [max_predictions(n) for n in (8, 128, 512)] == [1, 19, 77]
