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


def freeze_two(model):
    for block in model.bert.blocks[:2]:
        block.trainable = False


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


def test_one_block_is_traced_for_all(config, monkeypatch):
    import tensorflow as tf

    called = []
    call = TransformerBlock.call
    monkeypatch.setattr(
        TransformerBlock, "call", lambda self, *a, **k: called.append(self.name) or call(self, *a, **k)
    )
    bert = randomised(Bert(config))
    graph = tf.function(lambda inputs: bert(inputs, training=True)["sequence_output"])
    graph(make_inputs(config, (2, 5)))
    assert called == ["layer_0"]
    bert.blocks[1].trainable = False  # Another form of block, of which there is one.
    tf.function(lambda inputs: bert(inputs, training=True)["sequence_output"])(make_inputs(config, (2, 5)))
    assert called == ["layer_0", "layer_0", "layer_1"]


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
