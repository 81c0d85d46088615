"""Adversarial steps, two passes, freezing: each against the same written out in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.layers import Dropout, cross_entropy_sum, divergence_sum
from kbert.models import ClassificationObjective
from kbert.training import (
    AdamW,
    BestWeights,
    Checkpoints,
    FastGradient,
    GradualUnfreezing,
    RDrop,
    averaged_weights,
    fit,
    freeze_layers,
    strategy_for,
)
from kbert.training.steps import TrainSteps

ROWS, IDS, CLASSES = 8, 11, 3
RNG = np.random.default_rng(5)
TOKENS = RNG.integers(0, IDS - 2, (ROWS, 4)).astype("int32")  # Two rows of the table are not used.
LABELS = RNG.integers(0, CLASSES, ROWS).astype("int32")


class Cost:
    losses, metrics = ("loss",), ()

    def __call__(self, outputs, targets):
        return {"loss": cross_entropy_sum(targets, outputs)}

    def divergence(self, first, second, targets):
        return divergence_sum(first, second)


def layered_model(dropout=0.0):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(IDS, 5, name="embeddings"),
            keras.layers.Flatten(),
            keras.layers.Dense(6, activation="tanh", name="layer_0"),
            keras.layers.Dense(6, activation="tanh", name="layer_1"),
            Dropout(dropout),
            keras.layers.Dense(CLASSES, name="head"),
        ]
    )
    for weight in model.weights:  # Large, so that a move of the table shows.
        weight.assign(np.random.default_rng(1).normal(0, 0.7, weight.shape))
    return model


def arrays(variables):
    return [np.array(variable) for variable in variables]


def data(batch_size=ROWS):
    return tf.data.Dataset.from_tensor_slices((TOKENS, LABELS)).batch(batch_size).repeat()


def gradients(model, rows=slice(None)):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS[rows], model(TOKENS[rows]))
        )
    found = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return [tf.convert_to_tensor(g).numpy() for g in found]


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate": 4},
        {"strategy": "mirrored"},
        {"strategy": "mirrored", "accumulate": 2},
        {"parts": 2},
    ],
    ids=str,
)
def test_the_fast_gradient_step_is_that_of_the_paper(options):
    options = dict(options)
    model, rate, epsilon = layered_model(), 0.1, 0.9
    first = gradients(model)
    table, before = model.weights[0], arrays(model.weights)
    table.assign(before[0] + epsilon * first[0] / np.linalg.norm(first[0]))
    second = gradients(model)
    assert np.abs(second[1] - first[1]).max() > 0.01
    expected = [w - rate * (a + b) for w, a, b in zip(before, first, second, strict=True)]

    with strategy_for(options.pop("strategy", "default")).scope():
        model = layered_model()
        optimizer = AdamWithoutMemory(rate)
        logs = fit(
            model, optimizer, Cost(), data(ROWS // options.get("accumulate", 1)), steps_per_epoch=1,
            adversary=FastGradient(epsilon, "embeddings"), **options,
        )  # fmt: skip
    for ours, wanted in zip(arrays(model.weights), expected, strict=True):
        np.testing.assert_allclose(ours, wanted, atol=2e-6)
    clean = np.mean(keras.losses.sparse_categorical_crossentropy(LABELS, layered_model()(TOKENS), True))
    assert logs[0]["loss"] == pytest.approx(float(clean), rel=1e-5)  # Not that at the moved table.


class AdamWithoutMemory(AdamW):
    """Plain gradient descent with the way in which `AdamW` sums over replicas."""

    def __init__(self, rate):
        super().__init__(rate, max_gradient_norm=None)

    def _update(self, variable, momentum, velocity, gradient, clip_factor, rate, correction, epsilon, decays):
        variable.assign(variable - rate * gradient)


def test_a_table_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="0 of the weights that are trained have 'words'"):
        TrainSteps(layered_model(), AdamW(0.1), Cost(), {}, adversary=FastGradient(pattern="words"))
    with pytest.raises(ValueError, match="epsilon=0"):
        FastGradient(0)


def test_two_passes_cost_their_mean_and_their_difference():
    model = layered_model(dropout=0.5)
    seeds = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    kept = arrays(seeds)
    first, second = (np.array(model(TOKENS, training=True)) for _ in range(2))
    for seed, value in zip(seeds, kept, strict=True):
        seed.assign(value)
    p, q = (np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in (first, second))
    nll = -np.log([p[range(ROWS), LABELS], q[range(ROWS), LABELS]]).mean()
    divergence = ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)).mean() / 2
    assert divergence > 0.05
    logs = fit(model, keras.optimizers.SGD(0.0), RDrop(Cost(), 3.0), data(), steps_per_epoch=1)[0]
    assert logs["rdrop"] == pytest.approx(3 * divergence, rel=1e-4)
    assert logs["loss"] == pytest.approx(nll + 3 * divergence, rel=1e-4)


@pytest.mark.slow_after_first
@pytest.mark.parametrize("options", [{"accumulate": 2}, {"parts": 2}])
def test_two_passes_over_micro_batches_are_those_of_the_whole(options):
    results = []
    for more in ({}, options):
        model = layered_model()
        size = ROWS // more.get("accumulate", 1)
        fit(model, AdamWithoutMemory(0.1), RDrop(Cost()), data(size), steps_per_epoch=2, **more)
        results.append(arrays(model.weights))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_an_objective_wants_of_the_steps_holds_for_its_two_passes_too():
    class Choosy(Cost):
        whole_batch, call_options = True, {"scores_only": True}

    both = RDrop(Choosy())
    assert both.whole_batch and both.call_options == {"scores_only": True}
    assert not RDrop(Cost()).whole_batch and RDrop(Cost()).call_options == {}


def test_an_objective_that_cannot_compare_is_refused():
    with pytest.raises(ValueError, match="object cannot compare two passes"):
        RDrop(object())
    with pytest.raises(ValueError, match="alpha=-1"):
        RDrop(Cost(), -1)


def weighted_step(labels, strategy="default", accumulate=1, **options):
    """How one step moves a linear classifier with the class weights 0.5 and 50, and its loss."""
    rows = np.random.default_rng(2).normal(size=(len(labels), 4)).astype("float32")
    batches = tf.data.Dataset.from_tensor_slices((rows, {"label": np.array(labels, "int32")}))
    with strategy_for(strategy).scope():
        inputs = keras.Input((4,))
        model = keras.Model(inputs, {"logits": keras.layers.Dense(2, kernel_initializer="zeros")(inputs)})
        objective = ClassificationObjective(class_weights=[0.5, 50.0])
        logs = fit(
            model, AdamWithoutMemory(1.0), objective, batches.batch(len(labels) // accumulate),
            steps_per_epoch=1, accumulate=accumulate, **options,
        )  # fmt: skip
    return arrays(model.weights), logs[0]["loss"]


def test_a_row_counts_as_its_class_does_whatever_is_in_its_batch():
    """Divided by the sum of its weights, a batch of one class would weigh like any other."""
    (_, by_frequent), frequent = weighted_step([0])
    (_, by_rare), rare = weighted_step([1])
    np.testing.assert_allclose(by_frequent, [0.25, -0.25], rtol=1e-5)
    np.testing.assert_allclose(by_rare, [-25, 25], rtol=1e-5)
    assert (frequent, rare) == pytest.approx((0.5 * np.log(2), 50 * np.log(2)))


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "options",
    [{"parts": 2}, {"accumulate": 4}, {"strategy": "mirrored"}, {"strategy": "mirrored", "accumulate": 2}],
    ids=str,
)
def test_weighted_rows_may_be_shared_out(options):
    """The rare rows stand together, so that most shares have none of them."""
    labels = [0, 0, 0, 0, 0, 0, 1, 1]
    expected, loss = weighted_step(labels)
    weights, same_loss = weighted_step(labels, **options)
    assert same_loss == pytest.approx(loss, rel=1e-6) and loss == pytest.approx(103 / 8 * np.log(2))
    for ours, whole in zip(weights, expected, strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-5, atol=1e-5)


def test_frozen_layers_keep_their_weights_and_have_no_moments():
    model = layered_model()
    freeze_layers(model, 1)
    before = arrays(model.weights)
    optimizer = AdamW(0.1)
    fit(model, optimizer, Cost(), data(), steps_per_epoch=2)
    moved = [not np.array_equal(a, b) for a, b in zip(before, arrays(model.weights), strict=True)]
    assert moved == [False, False, False, True, True, True, True]
    assert len(optimizer.variables) == 2 + 2 * 4
    with pytest.raises(ValueError, match="3 layers to freeze"):
        freeze_layers(model, 3)


def unfrozen_run(folder=None, epochs=4, **options):
    model, optimizer = layered_model(), AdamW(0.05, weight_decay_rate=0.1)
    checkpoints = Checkpoints(folder, every_steps=3) if folder else None
    fit(
        model, optimizer, Cost(), data(), steps_per_epoch=2, epochs=epochs, checkpoints=checkpoints,
        unfreezing=GradualUnfreezing(2), **options,
    )  # fmt: skip
    return [*arrays(model.weights), *arrays(optimizer.variables)]


@pytest.mark.slow
def test_layers_are_unfrozen_one_by_one_each_with_an_adam_of_its_own():
    """Written out: one step of Adam for each weight that is trained, counted from its own first step."""
    model = layered_model()
    begins = [6, 4, 4, 2, 2, 0, 0]  # The embeddings last, the head first.
    moments = [[0.0, 0.0] for _ in begins]
    for step in range(8):
        found = gradients(model)
        trained = [i for i, begin in enumerate(begins) if begin <= step]
        norm = np.sqrt(sum(np.square(found[i]).sum() for i in trained))
        for i in trained:
            g, t, w = found[i] * min(1.0, 1.0 / norm), step - begins[i] + 1, np.array(model.weights[i])
            m, v = moments[i] = [0.9 * moments[i][0] + 0.1 * g, 0.999 * moments[i][1] + 0.001 * g * g]
            decay = 0.0 if "bias" in model.weights[i].path else 0.1
            update = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + decay * w
            model.weights[i].assign(w - 0.05 * update)
    for ours, expected in zip(unfrozen_run()[:7], arrays(model.weights), strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-5)


@pytest.mark.slow
def test_a_stopped_run_goes_on_in_the_middle_of_unfreezing(tmp_path):
    whole = unfrozen_run()
    unfrozen_run(tmp_path, epochs=2)
    for ours, expected in zip(unfrozen_run(tmp_path), whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_fewer_layers_can_be_frozen_at_first():
    paths = ["m/embeddings/table", "m/layer_0/kernel", "m/layer_1/kernel", "m/head/kernel"]
    assert GradualUnfreezing(10).first_steps(paths) == [30, 20, 10, 0]
    assert GradualUnfreezing(10, layers=1).first_steps(paths) == [20, 10, 0, 0]
    assert GradualUnfreezing(10, layers=0).first_steps(paths) == [10, 0, 0, 0]
    with pytest.raises(ValueError, match="5 layers to freeze"):
        GradualUnfreezing(10, layers=5).first_steps(paths)
    with pytest.raises(ValueError, match="no weights above them to train meanwhile; give layers=1 or less"):
        GradualUnfreezing(10).first_steps(paths[:-1])
    with pytest.raises(ValueError, match="every_steps=0"):
        GradualUnfreezing(0)


@pytest.mark.slow
def test_the_best_averages_are_kept(tmp_path):
    model, optimizer = layered_model(), AdamW(0.05, average_decay=0.5)
    best = BestWeights(tmp_path / "best.npz", "loss", averages_of=optimizer)
    fit(model, optimizer, Cost(), data(), steps_per_epoch=3, callbacks=[best])
    last = arrays(model.weights)
    with averaged_weights(model, optimizer):
        expected = arrays(model.weights)
    best.restore(model)
    for ours, average, plain in zip(arrays(model.weights), expected, last, strict=True):
        np.testing.assert_array_equal(ours, average)
        assert not np.array_equal(average, plain)
