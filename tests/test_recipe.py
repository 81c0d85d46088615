"""Recipes as plain values, and what they make of a model, its objective and its steps."""

import keras
import numpy as np
import pytest

from kbert import recipe_parts, training
from kbert.errors import InputError
from kbert.models import (
    BertClassifier,
    BertEmbedder,
    BertTagger,
    ClassificationObjective,
    MultipleChoiceObjective,
    RegressionObjective,
    reinitialize_top_layers,
)
from kbert.recipe import Recipe


def prepare(recipe, model, epochs=3, pretrained=True):
    recipe_parts.prepare_model(recipe, model, epochs=epochs, pretrained=pretrained)


@pytest.mark.parametrize(
    "values, match",
    [
        ({"layer_decay": 0.0}, "--layer_decay=0.0; expected a number above 0"),
        ({"average_decay": 1.0}, "--average_decay=1.0"),
        ({"label_smoothing": 1.0}, "--label_smoothing=1.0"),
        ({"fgm_epsilon": float("nan")}, "--fgm_epsilon=nan"),
        ({"unfreeze_every": 0}, "--unfreeze_every=0"),
        ({"head_scale": 0.0}, "--head_scale=0.0; expected a number above 0"),
        ({"class_weights": "most"}, "expected equal or balanced"),
        ({"lora_rank": 4, "freeze_layers": 1}, "--lora_rank freezes the encoder"),
        ({"lora_rank": 4, "layer_decay": 0.9}, "--lora_rank freezes the encoder"),
        ({"lora_rank": 4, "reinit_layers": 1}, "would stay random"),
        ({"fgm_epsilon": 1.0, "freeze_layers": 0}, "which --freeze_layers freezes"),
    ],
)
def test_values_that_make_no_sense_are_refused(values, match):
    with pytest.raises(InputError, match=match):
        Recipe(**values)


def test_an_empty_recipe_changes_nothing(tiny_config):
    model = BertClassifier(tiny_config, 3)
    model.build()
    before = model.get_weights()
    prepare(Recipe(), model)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    objective = ClassificationObjective()
    assert recipe_parts.apply_to_objective(Recipe(), objective) is objective
    assert set(recipe_parts.fit_options(Recipe(), 5).values()) == {None}
    assert training.AdamW(**recipe_parts.optimizer_options(Recipe())).average_decay is None


def test_a_recipe_sets_everything_it_names(tiny_config):
    recipe = Recipe(layer_decay=0.8, average_decay=0.9, unfreeze_every=2, freeze_layers=1, rdrop_alpha=2.0)
    optimizer = training.AdamW(**recipe_parts.optimizer_options(recipe))
    assert (optimizer.layer_decay, optimizer.average_decay) == (0.8, 0.9)
    options = recipe_parts.fit_options(recipe, 5)
    assert options == {"adversary": None, "unfreezing": training.GradualUnfreezing(10, 1)}
    assert recipe_parts.fit_options(Recipe(fgm_epsilon=0.5), 5)["adversary"].epsilon == 0.5
    assert recipe_parts.apply_to_objective(recipe, ClassificationObjective()).alpha == 2.0
    model = BertClassifier(tiny_config, 3)
    model.build()
    prepare(recipe, model)  # What is unfrozen later is not frozen for good.
    assert len(model.trainable_weights) == len(model.weights)
    prepare(Recipe(freeze_layers=1), model)
    assert not any("/embeddings/" in w.path or "/layer_0/" in w.path for w in model.trainable_weights)
    assert any("/layer_1/" in w.path for w in model.trainable_weights)
    with pytest.raises(InputError, match="--reinit_layers=3, but the encoder has 2"):
        prepare(Recipe(reinit_layers=3), model)


def test_an_average_that_is_too_slow_for_the_steps_is_told(caplog):
    """0.999 to the 94th is 0.91; 0.97 to the 75th is 0.102, and to the 76th 0.099."""
    with caplog.at_level("WARNING", logger="absl"):
        recipe_parts.warn_of_slow_average(Recipe(), 94)
        recipe_parts.warn_of_slow_average(Recipe(average_decay=0.97), 76)
        assert not caplog.records
        recipe_parts.warn_of_slow_average(Recipe(average_decay=0.999), 94)
        assert "after 94 steps 91 % of the average" in caplog.text and "at most 0.9758" in caplog.text
        recipe_parts.warn_of_slow_average(Recipe(average_decay=0.97), 75)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("crf", [False, True])
def test_the_head_is_scaled_and_nothing_else(crf, tiny_config):
    model = BertTagger(tiny_config, 3, crf=crf)
    model.build()
    before = {w.path: np.array(w) for w in model.weights}
    prepare(Recipe(head_scale=4.0), model)
    scaled = [w.path for w in model.weights if not np.array_equal(before[w.path], np.array(w))]
    assert scaled == [f"{model.name}/tagger/kernel"]
    kernel = np.array(model.tagger.kernel)
    np.testing.assert_allclose(kernel, 4 * before[scaled[0]], rtol=1e-6)
    assert kernel.std() > 0.05
    embedder = BertEmbedder(tiny_config)
    embedder.build()
    with pytest.raises(InputError, match="--head_scale=4.0, but bert_embedder has no weights above"):
        prepare(Recipe(head_scale=4.0), embedder)


@pytest.mark.parametrize(
    "values, match",
    [
        ({"reinit_layers": 1, "freeze_layers": 2}, "--freeze_layers=2 would freeze some of the top 1 layers"),
        ({"layer_decay": 0.9, "freeze_layers": 2}, "--layer_decay has no layer to slow down"),
    ],
)
def test_what_starts_at_random_is_not_frozen_for_good(tiny_config, values, match):
    model = BertClassifier(tiny_config, 3)
    model.build()
    with pytest.raises(InputError, match=match):
        prepare(Recipe(**values), model)
    prepare(Recipe(**values, unfreeze_every=1), model)  # There it is for a while.


@pytest.mark.parametrize("every, reinit, frozen, epochs", [(1, 2, None, 3), (2, 1, None, 3), (3, 1, 2, 4)])
def test_layers_that_start_anew_are_unfrozen_before_the_end(tiny_config, every, reinit, frozen, epochs):
    """Of two layers the upper one is trained from the second round on, the lower one from the third on."""
    model = BertClassifier(tiny_config, 3)
    model.build()
    recipe = Recipe(reinit_layers=reinit, unfreeze_every=every, freeze_layers=frozen)
    prepare(recipe, model, epochs)
    match = f"--unfreeze_every={every} with --epochs={epochs - 1} would freeze some of the top {reinit} la"
    with pytest.raises(InputError, match=match):
        prepare(recipe, model, epochs - 1)


@pytest.mark.parametrize(
    "values, epochs, epoch",
    [
        ({}, 9, 0),
        ({"freeze_layers": 1}, 9, 0),
        ({"unfreeze_every": 1}, 9, 3),  # Two layers and the embeddings.
        ({"unfreeze_every": 2}, 9, 6),
        ({"unfreeze_every": 2, "freeze_layers": 0}, 9, 2),
        ({"unfreeze_every": 2}, 6, 4),  # The embeddings' turn would come after the end.
        ({"unfreeze_every": 2}, 2, 0),
    ],
)
def test_patience_waits_until_all_are_trained(values, epochs, epoch):
    recipe = Recipe(**values)
    assert recipe_parts.last_unfreezing(recipe, 2, epochs) == epoch
    if "unfreeze_every" in values:
        unfreezing = recipe_parts.fit_options(recipe, 1)["unfreezing"]
        firsts = unfreezing.first_steps(["embeddings", "layer_0", "layer_1", "head"])
        assert max(first for first in firsts if first < epochs) == epoch


def test_layers_that_no_epoch_trains_are_told(tiny_config, caplog):
    model = BertClassifier(tiny_config, 3)
    model.build()
    with caplog.at_level("WARNING", logger="absl"):
        prepare(Recipe(unfreeze_every=2), model, epochs=7)
        assert not caplog.records
        prepare(Recipe(unfreeze_every=2), model, epochs=4)
    assert "with --epochs=4: the embeddings and the lowest 1 of 2 layers are never trained" in caplog.text
    with pytest.raises(
        InputError, match="--layer_decay .* as --unfreeze_every=2 with --epochs=2 freezes all"
    ):
        prepare(Recipe(unfreeze_every=2, layer_decay=0.9), model, epochs=2)


@pytest.mark.parametrize(
    "values", [{"unfreeze_every": 1}, {"unfreeze_every": 1, "freeze_layers": 2}, {"freeze_layers": 2}]
)
def test_a_model_without_a_head_is_not_frozen_as_a_whole(tiny_config, values):
    """There would be nothing to train; a layer, a pooler or a head is enough."""
    embedder, classifier = BertEmbedder(tiny_config), BertClassifier(tiny_config, 3)
    embedder.build()
    classifier.build()
    with pytest.raises(InputError, match=f"--{[*values][0]}=.* would leave nothing to train"):
        prepare(Recipe(**values), embedder)
    prepare(Recipe(**{**values, "freeze_layers": 1}), embedder)
    prepare(Recipe(**values), classifier)


def test_the_pooler_learns_beside_adapters(tiny_config):
    """A checkpoint may have none, and a random one that stays as it is would be between text and head."""
    model = BertClassifier(tiny_config, 3)
    model.build()
    prepare(Recipe(lora_rank=2), model)
    kinds = {
        part
        for w in model.trainable_weights
        for part in ("lora_", "/pooler/", "/classifier/")
        if part in w.path
    }
    assert kinds == {"lora_", "/pooler/", "/classifier/"}
    assert all(any(kind in w.path for kind in kinds) for w in model.trainable_weights)


@pytest.mark.slow
def test_a_training_of_all_at_once(tiny_config):
    recipe = Recipe(layer_decay=0.9, average_decay=0.9, fgm_epsilon=0.5, rdrop_alpha=1.0, label_smoothing=0.1)
    import tensorflow as tf

    rng = np.random.default_rng(0)
    rows = {"token_ids": rng.integers(0, 101, (8, 9)).astype("int32")}
    labels = {"label": (rows["token_ids"][:, 0] > 50).astype("int32")}
    model = BertClassifier(tiny_config.replace(num_layers=1), 2)
    model.build()
    objective = recipe_parts.apply_to_objective(recipe, ClassificationObjective())
    history = training.fit(
        model,
        training.AdamW(1e-3, **recipe_parts.optimizer_options(recipe)),
        objective,
        tf.data.Dataset.from_tensors((rows, labels)).repeat(),
        steps_per_epoch=10,
        epochs=2,
        **recipe_parts.fit_options(recipe, 10),
    )
    assert history[1]["loss"] < history[0]["loss"]


def test_top_layers_start_anew_and_the_others_stay(tiny_config):
    model = BertClassifier(tiny_config, 3)
    model.build()
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 7.0))
    reinitialize_top_layers(model, 1)
    for weight in model.weights:
        value = np.array(weight)
        if "/layer_1/" not in weight.path and "/pooler/" not in weight.path:
            assert (value == 7).all(), weight.path
        elif weight.path.endswith("kernel"):
            assert 0.015 < value.std() < 0.02 and abs(value.mean()) < 0.005, weight.path  # Cut at 2 sigma.
        else:
            assert (value == (1.0 if weight.path.endswith("gamma") else 0.0)).all(), weight.path
    kernels = [np.array(w) for w in model.bert.blocks[1].weights if w.path.endswith("intermediate/kernel")]
    reinitialize_top_layers(model, 1)
    again = [np.array(w) for w in model.bert.blocks[1].weights if w.path.endswith("intermediate/kernel")]
    assert not np.array_equal(kernels, again)
    with pytest.raises(ValueError, match="layers=3; expected 0 to 2"):
        reinitialize_top_layers(model, 3)


LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0], [1.0, 1.5, -2.0]], "float32")
LABELS = np.array([0, 1, 1], "int32")


def loss_of(objective):
    terms = objective({"logits": keras.ops.convert_to_tensor(LOGITS)}, {"label": LABELS})
    return {name: tuple(map(float, pair)) for name, pair in terms.items()}


def test_smoothing_and_weights_equal_numpy():
    log_p = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    targets = 0.7 * np.eye(3)[LABELS] + 0.1
    weights = np.array([0.5, 2.0, 9.0])[LABELS]
    terms = loss_of(ClassificationObjective(0.3, [0.5, 2.0, 9.0]))
    assert terms["loss"] == pytest.approx((-(weights * (targets * log_p).sum(-1)).sum(), 3.0))
    assert terms["accuracy"] == (2.0, 3.0)
    plain = loss_of(ClassificationObjective())["loss"]
    assert plain == pytest.approx((-log_p[range(3), LABELS].sum(), 3.0))
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        loss_of(ClassificationObjective(class_weights=[1.0, 1.0]))
    with pytest.raises(ValueError, match="label_smoothing=1"):
        ClassificationObjective(1.0)


def test_balanced_weights_are_those_of_the_rows():
    recipe = Recipe(class_weights="balanced")
    objective = recipe_parts.apply_to_objective(recipe, ClassificationObjective(), np.array([0, 1, 1, 2]))
    assert objective.class_weights == pytest.approx([4 / 3, 2 / 3, 4 / 3])
    with pytest.raises(InputError, match="needs the labels"):
        recipe_parts.apply_to_objective(recipe, ClassificationObjective())
    for other in (MultipleChoiceObjective(), RegressionObjective()):
        with pytest.raises(InputError, match="one label a row"):
            recipe_parts.apply_to_objective(Recipe(label_smoothing=0.1), other)


def test_a_loss_that_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="--rdrop_alpha=1.0: object cannot compare"):
        recipe_parts.apply_to_objective(Recipe(rdrop_alpha=1.0), object())


@pytest.mark.parametrize(
    "values",
    [
        {"lora_rank": 2},
        {"freeze_layers": 1},
        {"unfreeze_every": 1},
        {"unfreeze_every": 3, "freeze_layers": 0},
    ],
)
def test_an_encoder_of_random_weights_must_be_able_to_learn(tiny_config, values):
    """The embeddings too: of two layers they are unfrozen after the third epoch, or those alone after it."""
    model = BertClassifier(tiny_config, 3)
    model.build()
    with pytest.raises(InputError, match=f"--{[*values][0]}=.*would freeze random weights for good; start"):
        prepare(Recipe(**values), model, epochs=3, pretrained=False)
    if "unfreeze_every" in values:
        prepare(Recipe(**values), model, epochs=4, pretrained=False)
    prepare(Recipe(**values), model)
