"""A graph is traced for one block and used for all: the same numbers, the same seeds."""

import keras
import numpy as np
import pytest

from kbert.layers import TransformerBlock, faster_ops
from kbert.models import Bert, BertClassifier
from tests.model_contract import make_inputs, randomised

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces")


@pytest.fixture
def config(tiny_config):
    return tiny_config.replace(num_layers=3, dropout=0.1, attention_dropout=0.1)


@pytest.fixture
def traced(monkeypatch):
    """The names of the blocks that are traced from then on."""
    forward, names = TransformerBlock._forward, []
    monkeypatch.setattr(
        TransformerBlock, "_forward", lambda self, *a, **k: names.append(self.name) or forward(self, *a, **k)
    )
    return names


@pytest.fixture
def one_by_one(monkeypatch):
    """Has every block called, and so traced, on its own from then on."""
    return lambda: monkeypatch.setattr("kbert.models.bert.traced_once", lambda **options: None)


def trained(config, change=None, **options):
    """Losses of six steps of a model, and all its variables after them."""
    import tensorflow as tf

    from kbert import training
    from kbert.models.classifier import ClassificationObjective

    keras.utils.set_random_seed(5)
    model = BertClassifier(config, 3, **options)
    model.build()
    if change is not None:
        change(model)
    inputs = make_inputs(config, (4, 9))
    inputs["padding_mask"] = (np.arange(9) < np.array([9, 2, 5, 3])[:, None]).astype("int32")
    rows = tf.data.Dataset.from_tensors((inputs, {"label": np.array([0, 2, 1, 1], "int32")})).repeat()
    history = training.fit(
        model, training.AdamW(1e-3), ClassificationObjective(), rows, steps_per_epoch=3, epochs=2
    )
    return [logs["loss"] for logs in history], [variable.numpy() for variable in model.variables]


def with_other_norms(model):
    """As after training: numbers that bfloat16 has not."""
    for block in model.bert.blocks:
        for norm in (block.attention_layer_norm, block.output_layer_norm):
            norm.gamma.assign(norm.gamma.value * 1.003)
            norm.beta.assign(norm.beta.value + 0.0123456)


def freeze_two(model):
    for block in model.bert.blocks[:2]:
        block.trainable = False


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, change",
    [
        ({}, None),
        ({"unpad": True}, freeze_two),
        ({"unpad": True, "dtype": "mixed_bfloat16"}, lambda model: model.enable_lora(2)),
    ],
    ids=["padded", "two layers frozen", "adapters"],
)
def test_training_is_the_same_as_with_each_block_traced(options, change, config, one_by_one):
    losses, variables = trained(config, change, **options)
    one_by_one()
    expected_losses, expected_variables = trained(config, change, **options)
    atol = 2e-3 if "dtype" in options else 1e-5
    np.testing.assert_allclose(losses, expected_losses, atol=atol)
    for one, two in zip(variables, expected_variables, strict=True):
        if np.issubdtype(one.dtype, np.integer):  # Seeds: how often each layer has drawn.
            np.testing.assert_array_equal(one, two)
        else:
            np.testing.assert_allclose(one, two, atol=atol)


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "change", [freeze_two, lambda model: model.enable_lora(2)], ids=["two layers frozen", "adapters"]
)
def test_frozen_weights_stay_to_the_last_bit_in_mixed_precision(change, config):
    before = {}

    def prepare(model):
        with_other_norms(model)
        change(model)
        frozen = {id(v) for v in model.non_trainable_variables}
        before.update({i: v.numpy() for i, v in enumerate(model.variables) if id(v) in frozen})

    _, after = trained(config, prepare, dtype="mixed_bfloat16")
    weights = [i for i in before if np.issubdtype(before[i].dtype, np.floating)]
    assert len(weights) > 20
    for i in weights:
        np.testing.assert_array_equal(after[i], before[i])


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "change",
    [
        lambda block: setattr(block.dropout_layer, "rate", 0.9),
        lambda block: setattr(block.attention.dropout_layer, "rate", 0.9),
        lambda block: setattr(block.output_layer_norm, "epsilon", 0.1),
        lambda block: setattr(block.intermediate, "activation", "relu"),
        lambda block: setattr(block.intermediate, "dtype_policy", "mixed_bfloat16"),
    ],
    ids=["dropout", "attention's dropout", "epsilon", "activation", "dtype"],
)
def test_a_block_that_was_changed_is_traced_for_itself(change, config, traced):
    bert = randomised(Bert(config))
    change(bert.blocks[1])
    trace_training(bert)
    assert traced == ["layer_0", "layer_1"]


def trace_training(bert):
    import tensorflow as tf

    inputs = make_inputs(bert.config, (2, 5))
    tf.function(lambda inputs: bert(inputs, training=True)["sequence_output"])(inputs)


def test_a_block_whose_dtypes_come_by_its_path_is_traced_for_itself(config, traced):
    policies = keras.dtype_policies.DTypePolicyMap("float32")
    policies["bert/layer_1/.*"] = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    trace_training(randomised(Bert(config, dtype=policies)))
    assert traced == ["layer_0", "layer_1"]


def test_one_block_is_traced_for_all(config, traced):
    bert = randomised(Bert(config))
    trace_training(bert)
    assert traced == ["layer_0"]
    bert.blocks[1].trainable = False  # Another form of block, of which there is one.
    trace_training(bert)
    assert traced == ["layer_0", "layer_0", "layer_1"]


def test_a_call_sets_seeds_and_no_weights_of_whole_numbers(config):
    import tensorflow as tf

    bert = Bert(config.replace(num_layers=2), int8=True)
    bert.build()
    ids = tf.TensorSpec((2, 5), tf.int32)
    graph = tf.function(lambda ids: bert(ids, training=True)).get_concrete_function(ids).graph
    assigned = {op.get_attr("dtype") for op in graph.get_operations() if op.type == "AssignVariableOp"}
    assert assigned == {bert.blocks[0].dropout_layer.seed_generator.state.value.dtype}


@pytest.mark.slow_after_first
@pytest.mark.parametrize("remat", [False, True])
def test_each_block_has_its_own_weights_and_gradients(remat, config):
    import tensorflow as tf

    config = config.replace(dropout=0.0, attention_dropout=0.0)
    bert = randomised(Bert(config, remat=remat))
    inputs = make_inputs(config, (2, 5))

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(bert(inputs, training=True)["sequence_output"][..., ::3])
        return loss, tape.gradient(loss, [v.value for v in bert.blocks[1].trainable_variables])

    (loss, gradients), (expected_loss, expected) = tf.function(step)(), step()
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert any(np.abs(gradient).max() > 1e-3 for gradient in expected)
    for one, two in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5 * max(1, np.abs(two).max()))


def test_outside_of_a_graph_and_where_maps_are_asked_for_nothing_is_shared(config):
    import tensorflow as tf

    assert faster_ops.traced_once(training=True) is None

    bert = randomised(Bert(config))
    outputs = tf.function(lambda inputs: bert(inputs, training=True, return_layers=True))(
        make_inputs(config, (2, 5))
    )
    assert len(outputs["attention_probabilities"]) == config.num_layers
