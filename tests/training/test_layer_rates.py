"""Depth of weights by their paths, on the paths of a real model too."""

import pytest

from kbert.training.layer_rates import layer_rate_factors


def test_every_weight_of_a_model_has_the_rate_of_its_depth(tiny_config):
    from kbert.models import BertClassifier

    model = BertClassifier(tiny_config, num_classes=3)
    model.build()
    paths = [weight.path for weight in model.trainable_variables]
    factors = dict(zip(paths, layer_rate_factors(paths, 0.5), strict=True))
    by_part = {
        "/embeddings/": 0.125,
        "/layer_0/": 0.25,
        "/layer_1/": 0.5,
        "/pooler/": 1.0,
        "/classifier/": 1.0,
    }
    for part, factor in by_part.items():
        own = [path for path in paths if part in path]
        assert own and all(factors.pop(path) == factor for path in own)
    assert not factors


def test_layers_count_from_the_top_of_all_and_in_any_order():
    paths = ["head", "a/layer_11/kernel", "a/layer_2/kernel", "a/layer_norm/gamma", "b/my_layer_3/kernel"]
    expected = [1.0, 0.9, 0.9**10, 1.0, 1.0]
    assert layer_rate_factors(paths, 0.9) == pytest.approx(expected)


def test_names_of_models_around_tell_no_depth():
    paths = ["embeddings/bert/layer_0/kernel", "layer_7/bert/embeddings/table", "layer_7/bert/layer_1/kernel"]
    assert layer_rate_factors(paths, 0.5) == [0.25, 0.125, 0.5]


@pytest.mark.parametrize("factor", [0.0, -0.5, 1.1])
def test_factors_out_of_range_are_refused(factor):
    with pytest.raises(ValueError, match=f"layer_decay={factor}"):
        layer_rate_factors(["layer_0/kernel"], factor)


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match="none of the 1 weights"):
        layer_rate_factors(["dense/kernel"], 0.9)
