"""The CRF against every possible sequence of tags, enumerated."""

import itertools

import keras
import numpy as np
import pytest

from kbert.layers import LinearChainCrf, allowed_transitions
from tests.layer_contract import assert_layer_contract

RNG = np.random.default_rng(17)
# All words, some at the end absent, absent ones between and before, one word alone, and none at all.
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
BATCH, WORDS, TAGS = *MASK.shape, 3
LOGITS = RNG.normal(size=(BATCH, WORDS, TAGS)).astype("float32")
TAG_IDS = RNG.integers(0, TAGS, (BATCH, WORDS)).astype("int32")
BIO = allowed_transitions(["O", "B", "I"], "BIO")


def random_crf(constraints=None, num_tags=TAGS, **kwargs):
    crf = LinearChainCrf(constraints, **kwargs)
    crf.build((None, None, num_tags))
    generator = np.random.default_rng(5)
    crf.set_weights([generator.normal(size=weight.shape) for weight in crf.weights])
    return crf


def numpy_weights(crf):
    return {weight.name: np.asarray(weight).astype("float64") for weight in crf.weights}


def path_scores(weights, logits, mask, constraints=None):
    """Every sequence of tags of the real words of one row -> its score, straight from the definition."""
    rows = logits[mask.astype(bool)].astype("float64")
    scores = {}
    for path in itertools.product(range(logits.shape[-1]), repeat=len(rows)):
        score = sum(row[tag] for row, tag in zip(rows, path, strict=True))
        if path:
            score += weights["start"][path[0]] + weights["end"][path[-1]]
        score += sum(weights["transitions"][pair] for pair in itertools.pairwise(path))
        if constraints is None or is_allowed(path, constraints):
            scores[path] = score
    return scores


def is_allowed(path, constraints):
    return not path or (
        constraints["start"][path[0]]
        and constraints["end"][path[-1]]
        and all(constraints["transitions"][one][other] for one, other in itertools.pairwise(path))
    )


def log_normalizer(scores):
    return np.logaddexp.reduce(list(scores.values()))


def real_part(row, mask):
    return tuple(int(value) for value in row[mask.astype(bool)])


@pytest.mark.slow
def test_contract():
    # Six rows, so that no other axis is as long as the batch.
    inputs = (LOGITS, TAG_IDS, MASK.astype("int32"))
    assert_layer_contract(LinearChainCrf, {"constraints": BIO}, inputs, mixed_dtype="float32")


def test_likelihood_equals_enumeration():
    crf = random_crf()
    got = np.asarray(crf(LOGITS, TAG_IDS, MASK))
    for row in range(BATCH):
        scores = path_scores(numpy_weights(crf), LOGITS[row], MASK[row])
        expected = scores[real_part(TAG_IDS[row], MASK[row])] - log_normalizer(scores)
        np.testing.assert_allclose(got[row], expected, atol=1e-5, err_msg=str(MASK[row]))
    assert got[-1] == 0  # The one sequence of no words is certain.
    np.testing.assert_allclose(crf(LOGITS, TAG_IDS), crf(LOGITS, TAG_IDS, np.ones_like(MASK)), atol=1e-6)


def test_one_word_alone_has_a_start_and_an_end_and_no_transition():
    crf = random_crf()
    weights = numpy_weights(crf)
    scores = LOGITS[0, 0] + weights["start"] + weights["end"]
    expected = scores[2] - np.logaddexp.reduce(scores)
    np.testing.assert_allclose(crf(LOGITS[:1, :1], np.array([[2]])), [expected], atol=1e-5)


def test_untrained_it_is_the_softmax():
    log_probabilities = LOGITS - np.logaddexp.reduce(LOGITS, -1, keepdims=True)
    expected = np.take_along_axis(log_probabilities, TAG_IDS[..., None], -1)[..., 0].sum(1)
    np.testing.assert_allclose(LinearChainCrf()(LOGITS, TAG_IDS), expected, atol=1e-5)


def test_marginals_equal_enumeration():
    crf = random_crf()
    got = np.asarray(crf.marginals(LOGITS, MASK))
    for row in range(BATCH):
        scores = path_scores(numpy_weights(crf), LOGITS[row], MASK[row])
        expected = np.zeros((WORDS, TAGS))
        for path, score in scores.items():
            expected[np.flatnonzero(MASK[row]), path] += np.exp(score - log_normalizer(scores))
        np.testing.assert_allclose(got[row], expected, atol=1e-5)


@pytest.mark.parametrize("constraints", [None, BIO], ids=["free", "BIO"])
def test_decoding_equals_enumeration(constraints):
    crf = random_crf(constraints)
    generator = np.random.default_rng(2)
    for _ in range(5):
        logits = (2 * generator.normal(size=LOGITS.shape)).astype("float32")
        tags = np.asarray(crf.decode(logits, MASK))
        assert tags.dtype == "int32" and (tags[MASK == 0] == 0).all()
        for row in range(BATCH - 1):
            scores = path_scores(numpy_weights(crf), logits[row], MASK[row], constraints)
            assert real_part(tags[row], MASK[row]) == max(scores, key=scores.__getitem__)
    assert (np.asarray(crf.decode(LOGITS)) == np.asarray(crf.decode(LOGITS, np.ones_like(MASK)))).all()


def test_ties_go_to_the_lowest_ids_from_the_last_word_on():
    generator = np.random.default_rng(4)
    crf = random_crf()
    ties = 0
    for _ in range(20):  # Whole numbers are added exactly, so equal scores are equal.
        crf.set_weights([generator.integers(0, 2, weight.shape) for weight in crf.weights])
        logits = generator.integers(0, 2, LOGITS.shape).astype("float32")
        tags = np.asarray(crf.decode(logits, MASK))
        for row in range(BATCH - 1):
            scores = path_scores(numpy_weights(crf), logits[row], MASK[row])
            best = [path for path, score in scores.items() if score == max(scores.values())]
            ties += len(best) > 1
            assert real_part(tags[row], MASK[row]) == min(best, key=lambda path: path[::-1])
    assert ties > 20


def test_what_is_not_allowed_has_no_probability_however_much_it_is_wanted():
    crf = random_crf(BIO)
    wanted = np.zeros((1, 4, 3), "float32")
    wanted[..., 2] = 1000.0  # All words cry for I, which cannot be the first.
    assert np.asarray(crf.decode(wanted)).tolist() == [[1, 2, 2, 2]]
    assert (np.asarray(crf.marginals(wanted))[0, 0] == [0, 1, 0]).all()
    likelihoods = np.asarray(crf(LOGITS, TAG_IDS))
    for row in range(BATCH):
        allowed = path_scores(numpy_weights(crf), LOGITS[row], MASK[0], BIO)
        path = tuple(TAG_IDS[row].tolist())
        if path in allowed:
            np.testing.assert_allclose(likelihoods[row], allowed[path] - log_normalizer(allowed), atol=1e-5)
        else:
            assert likelihoods[row] < -9e5
    assert {tuple(tags) in allowed for tags in TAG_IDS.tolist()} == {True, False}, "the test tests both"


@pytest.mark.parametrize("constraints", [None, BIO], ids=["free", "BIO"])
def test_absent_words_change_nothing_whatever_they_hold(constraints):
    crf = random_crf(constraints)
    places = np.flatnonzero(MASK[2])
    alone = [LOGITS[2:3, places], TAG_IDS[2:3, places]]
    for absent_before in ([0, 0, 2], [1, 2, 2]):  # Also several, also at the end.
        logits = np.insert(alone[0], absent_before, np.nan, axis=1)
        tags = np.insert(alone[1], absent_before, -100, axis=1)
        mask = np.insert(np.ones_like(alone[1]), absent_before, 0, axis=1)
        np.testing.assert_array_equal(crf(logits, tags, mask), crf(*alone))
        np.testing.assert_array_equal(
            np.asarray(crf.decode(logits, mask))[mask == 1], crf.decode(alone[0])[0]
        )
        marginals = np.asarray(crf.marginals(logits, mask))
        np.testing.assert_array_equal(marginals[mask == 1], crf.marginals(alone[0])[0])
        assert (marginals[mask == 0] == 0).all()


def test_a_batch_of_no_rows_has_no_tags():
    crf = random_crf()
    assert crf.decode(LOGITS[:0]).shape == crf.decode(LOGITS[:0], MASK[:0]).shape == (0, WORDS)


class Emissions(keras.layers.Layer):
    """Logits as a weight, so that an optimizer shows their gradient."""

    def build(self, rows_shape):
        self.logits = self.add_weight(name="logits", shape=LOGITS.shape, initializer="zeros")

    def call(self, rows):
        return keras.ops.take(self.logits, rows, axis=0)


@pytest.mark.slow_after_first
@pytest.mark.parametrize("constraints, xla", [(None, False), (BIO, False), (BIO, True)])
def test_gradients_equal_finite_differences(constraints, xla):
    """One step of gradient descent with rate 1 against differences of the enumerated likelihood."""
    if keras.backend.backend() != "tensorflow" and not xla:
        pytest.skip("compiles with XLA only")
    tag_ids = np.array([[1, 2, 0, 1], [1, 2, 2, 2], [2, 1, 0, 2], [2, 0, 1, 0], [1, 0, 0, 0], [0] * 4])
    importance = RNG.normal(size=BATCH)
    crf, emissions = random_crf(constraints), Emissions()
    rows, tags, mask = (keras.Input(shape, dtype="int32") for shape in ((), (WORDS,), (WORDS,)))
    model = keras.Model([rows, tags, mask], crf(emissions(rows), tags, mask))
    emissions.set_weights([LOGITS])
    start = {weight.name: np.asarray(weight).astype("float64") for weight in model.weights}

    def objective(values):
        total = 0.0
        for row in range(BATCH):
            scores = path_scores(values, values["logits"][row], MASK[row], constraints)
            path = real_part(tag_ids[row], MASK[row])
            total += importance[row] * (scores[path] - log_normalizer(scores))
        return total

    def difference(name, place):
        ends = []
        for sign in (1, -1):
            values = {**start, name: start[name].copy()}
            values[name][place] += sign * 1e-4
            ends.append(objective(values))
        return (ends[0] - ends[1]) / 2e-4

    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, out: keras.ops.sum(y * out), jit_compile=xla)
    model.train_on_batch([np.arange(BATCH), tag_ids, MASK], importance.astype("float32"))
    for weight in model.weights:
        got = start[weight.name] - np.asarray(weight)
        expected = [difference(weight.name, place) for place in np.ndindex(*weight.shape)]
        np.testing.assert_allclose(got.ravel(), expected, atol=2e-5, err_msg=weight.name)


@pytest.mark.slow
def test_one_graph_for_sentences_of_any_length():
    crf = random_crf(BIO)
    logits, tags = keras.Input((None, TAGS)), keras.Input((None,), dtype="int32")
    model = keras.Model([logits, tags], crf(logits, tags))
    model.compile(jit_compile=keras.backend.backend() != "tensorflow")
    for words in (1, 4):
        part = [LOGITS[:, :words], TAG_IDS[:, :words]]
        np.testing.assert_allclose(model.predict(part, verbose=0), crf(*part), rtol=1e-5)


def test_many_words_and_large_scores_stay_exact():
    """A transfer-matrix product in float64, for a length that cannot be enumerated."""
    crf = random_crf()
    weights = numpy_weights(crf)
    logits = (20 * RNG.normal(size=(1, 300, TAGS))).astype("float32")
    tags = RNG.integers(0, TAGS, (1, 300))
    state = weights["start"] + logits[0, 0]
    for row in logits[0, 1:].astype("float64"):
        state = np.logaddexp.reduce(state[:, None] + weights["transitions"], 0) + row
    score = np.take_along_axis(logits[0].astype("float64"), tags[0][:, None], -1).sum()
    score += weights["transitions"][tags[0][:-1], tags[0][1:]].sum()
    score += weights["start"][tags[0, 0]] + weights["end"][tags[0, -1]]
    expected = score - np.logaddexp.reduce(state + weights["end"])
    np.testing.assert_allclose(crf(logits, tags), [expected], rtol=1e-6)


def test_mixed_precision_does_not_round_the_scores():
    full, mixed = random_crf(), random_crf(dtype="mixed_bfloat16")
    logits = LOGITS + np.float32(100.3)  # bfloat16 knows 100 and 100.5.
    np.testing.assert_array_equal(mixed(logits, TAG_IDS, MASK), full(logits, TAG_IDS, MASK))
    np.testing.assert_array_equal(mixed.marginals(logits, MASK), full.marginals(logits, MASK))


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_no_precision_changes_the_scores(dtype, floatx):
    full = random_crf()
    expected = [np.asarray(values) for values in answers_of(full)]
    if (keras.backend.backend(), dtype) != ("jax", "bfloat16"):  # There Keras's maximum makes ints floats.
        floatx(dtype)
    for other in (random_crf(), random_crf(dtype=dtype)):
        for values, want in zip(answers_of(other), expected, strict=True):
            assert keras.backend.standardize_dtype(values.dtype) == str(want.dtype)
            np.testing.assert_array_equal(values, want)


def answers_of(crf):
    return crf(LOGITS, TAG_IDS, MASK), crf.decode(LOGITS, MASK), crf.marginals(LOGITS, MASK)


def allowed_pairs(tags, scheme):
    allowed = allowed_transitions(tags, scheme)
    pairs = {
        f"{one} {other}"
        for one, row in zip(tags, allowed["transitions"], strict=True)
        for other, yes in zip(tags, row, strict=True)
        if yes
    }
    ends = [{tag for tag, yes in zip(tags, allowed[name], strict=True) if yes} for name in ("start", "end")]
    return pairs, *ends


def test_bio_transitions():
    tags = ["O", "B-x", "I-x", "B-y", "I-y"]
    pairs, start, end = allowed_pairs(tags, "BIO")
    anywhere = {f"{tag} {other}" for tag in tags for other in ("O", "B-x", "B-y")}
    assert pairs == anywhere | {"B-x I-x", "I-x I-x", "B-y I-y", "I-y I-y"}
    assert start == {"O", "B-x", "B-y"} and end == set(tags)


def test_bioes_transitions():
    tags = ["E-x", "I-x", "S-x", "O", "B-x", "B-y", "E-y"]
    pairs, start, end = allowed_pairs(tags, "BIOES")
    outside = {f"{one} {two}" for one in ("O", "S-x", "E-x", "E-y") for two in ("O", "S-x", "B-x", "B-y")}
    assert pairs == outside | {"B-x I-x", "B-x E-x", "I-x I-x", "I-x E-x", "B-y E-y"}
    assert start == {"O", "S-x", "B-x", "B-y"} and end == {"O", "S-x", "E-x", "E-y"}


def test_tags_without_types_as_in_word_segmentation():
    pairs, start, end = allowed_pairs(list("BIES"), "BIOES")
    assert pairs == set("B I,B E,I I,I E,E B,E S,S B,S S".split(",")) and (start, end) == (
        set("BS"),
        set("ES"),
    )


@pytest.mark.parametrize(
    "tags, scheme, message",
    [
        (["O", "B-x"], "IOB", "scheme='IOB'.*BIO, BIOES"),
        (["O", "E-x"], "BIO", "'E-x'.*BIO"),
        (["O-x", "B-x"], "BIO", "'O-x'"),
        (["O", "PER"], "BIOES", "'PER'"),
        (["O", ""], "BIO", "tag ''"),
    ],
)
def test_names_that_do_not_fit_the_scheme_are_named(tags, scheme, message):
    with pytest.raises(ValueError, match=message):
        allowed_transitions(tags, scheme)


def test_constraints_of_another_number_of_tags_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\).*4 tags"):
        LinearChainCrf(BIO).build((None, None, 4))
    with pytest.raises(ValueError, match="transitions"):
        LinearChainCrf({"transitions": BIO["transitions"]}).build((None, None, 3))
