"""Models with adapters: what they compute, what trains, what is saved, what is left after merging."""

import keras
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from kbert import BertConfig, InputError
from kbert.models import Bert, BertClassifier, BertPretrainer, require_merged

RNG = np.random.default_rng(23)
TOKENS = RNG.integers(5, 100, (8, 6)).astype("int32")
INPUTS = {"token_ids": TOKENS, "padding_mask": np.array([[1] * 6] * 7 + [[1, 1, 1, 0, 0, 0]], "int32")}
LABELS = np.arange(8) % 2
ADAPTED = (
    "attention/qkv/lora_a",
    "attention/qkv/lora_b",
    "attention/output/lora_a",
    "attention/output/lora_b",
)


@pytest.fixture
def small_config(tiny_config):
    """One layer, for tests that compile."""
    return tiny_config.replace(num_layers=1)


def numpy_of(value):
    return keras.ops.convert_to_numpy(value)


def paths(weights):
    return [weight.path.split("/", 1)[1] for weight in weights]


def randomised(model):
    """All weights, adapters too, away from where they start."""
    model.build()
    for weight in model.weights:
        weight.assign(numpy_of(weight) + RNG.normal(0, 0.2, weight.shape))
    return model


def adapted(config, rank=3, alpha=6.0, **kwargs):
    model = BertClassifier(config, num_classes=2, **kwargs)
    model.enable_lora(rank, alpha)
    return randomised(model)


def compiled(model, eagerly=True):
    """Eagerly by default: to compile a training step takes longer than a few of them."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), {"logits": loss}, run_eagerly=eagerly)
    return model


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("make", [Bert, BertPretrainer, lambda *args, **kw: BertClassifier(*args, 2, **kw)])
def test_outputs_before_training_are_unchanged(make, dtype, tiny_config):
    model = randomised(make(tiny_config, dtype=dtype))
    before = model(INPUTS)
    model.enable_lora(4)
    for name, value in model(INPUTS).items():
        np.testing.assert_allclose(numpy_of(value).astype("float32"), before[name], atol=1e-6, err_msg=name)


def test_adapters_of_an_encoder_that_was_frozen_train(tiny_config):
    model = BertClassifier(tiny_config, num_classes=2)
    model.build()
    model.bert.trainable = False
    model.enable_lora(2)
    names = [weight.path.rsplit("/")[-1] for weight in model.trainable_weights]
    assert names == ["lora_a", "lora_b"] * (2 * tiny_config.num_layers) + ["kernel", "bias"]


def test_every_adapter_counts(tiny_config):
    model = adapted(tiny_config)
    before = numpy_of(model(INPUTS)["logits"])
    adapters = [weight for weight in model.weights if "lora" in weight.name]
    assert len(adapters) == tiny_config.num_layers * len(ADAPTED)
    for weight in adapters:
        value = numpy_of(weight)
        # Each part of the fused projection by itself: queries, keys, values.
        count, axis = (3 if "qkv" in weight.path else 1), (0 if weight.name == "lora_b" else 1)
        for part in np.split(np.arange(value.size).reshape(value.shape), count, axis):
            changed = value.copy()
            changed.flat[part.ravel()] += RNG.normal(0, 0.5, part.size)
            weight.assign(changed)
            moved = np.abs(numpy_of(model(INPUTS)["logits"]) - before).max()
            assert moved > 1e-4, weight.path
        weight.assign(value)


def test_pooled_only_sees_the_adapters(tiny_config):
    model = adapted(tiny_config)
    whole = model.bert(INPUTS)["pooled_output"]
    np.testing.assert_allclose(model.bert(INPUTS, pooled_only=True)["pooled_output"], whole, atol=1e-5)


def test_the_encoder_freezes_and_heads_do_not(tiny_config):
    model = BertPretrainer(tiny_config)
    model.enable_lora(2)
    expected = [f"bert/layer_{n}/{name}" for n in range(2) for name in ADAPTED]
    heads = [path for path in paths(model.weights) if not path.startswith("bert/")]
    assert "mlm/bias" in heads and "nsp/kernel" in heads
    assert sorted(paths(model.trainable_weights)) == sorted(expected + heads)


def test_half_a_percent_of_base_trains():
    bert = Bert(BertConfig.preset("base"))
    # Symbolic: shapes without numbers, so that `base` costs nothing.
    with keras.StatelessScope(initialize_variables=False):
        bert.enable_lora(8)
    trained = sum(int(np.prod(weight.shape)) for weight in bert.trainable_weights)
    assert trained == 12 * 8 * (3 * (768 + 768) + 768 + 768)
    assert bert.count_params() - trained == 109_482_240
    assert 0.005 < trained / bert.count_params() < 0.006
    # Keras would create what was only announced here in the next test that runs a layer.
    keras.utils.clear_session(free_memory=False)


@pytest.mark.slow_after_first
@pytest.mark.parametrize("remat", [False, True])
def test_training_moves_adapters_and_head_alone(remat, small_config):
    model = BertClassifier(small_config, num_classes=2, remat=remat)
    model.enable_lora(2)
    before = {weight.path: numpy_of(weight).copy() for weight in model.weights}
    losses = (
        compiled(model, eagerly=False).fit(INPUTS, LABELS, epochs=8, batch_size=8, verbose=0).history["loss"]
    )
    assert losses[-1] < losses[0]
    for weight in model.weights:
        moved = np.abs(numpy_of(weight) - before[weight.path]).max()
        trains = "lora" in weight.path or "classifier/classifier" in weight.path
        assert (moved > 1e-4) if trains else (moved == 0), weight.path


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kbert.training is for TensorFlow")
def test_the_training_loop_moves_adapters_and_head_alone(small_config):
    import tensorflow as tf

    from kbert.models import ClassificationObjective
    from kbert.training import AdamW, fit

    model = BertClassifier(small_config, num_classes=2)
    model.enable_lora(2)
    before = {weight.path: numpy_of(weight).copy() for weight in model.weights}
    batches = tf.data.Dataset.from_tensors((INPUTS, {"label": LABELS})).repeat(3)
    fit(model, AdamW(0.01), ClassificationObjective(), batches, steps_per_epoch=3)
    moved = [w.path for w in model.weights if np.abs(numpy_of(w) - before[w.path]).max() > 0]
    assert moved == [weight.path for weight in model.trainable_weights]


def test_an_optimizer_made_before_is_refused(small_config):
    model = compiled(BertClassifier(small_config, num_classes=2))
    model.fit(INPUTS, LABELS, verbose=0)
    model.enable_lora(2)
    compiled(model).fit(INPUTS, LABELS, verbose=0)
    model.merge_lora()
    with pytest.raises(ValueError):  # Last of all: on JAX a model does not outlive an error within `fit`.
        model.fit(INPUTS, LABELS, verbose=0)


def test_predict_never_uses_what_was_compiled_before(small_config):
    model = compiled(randomised(BertClassifier(small_config, num_classes=2)), eagerly=False)
    plain = model.predict(INPUTS, verbose=0)["logits"]
    model.enable_lora(3)
    randomised(model)
    with_adapters = model.predict(INPUTS, verbose=0)["logits"]
    np.testing.assert_allclose(with_adapters, model(INPUTS)["logits"], atol=1e-5)
    assert np.abs(with_adapters - plain).max() > 1e-2
    model.merge_lora()
    np.testing.assert_allclose(model.predict(INPUTS, verbose=0)["logits"], with_adapters, atol=1e-5)


def test_merging_leaves_an_ordinary_model(tiny_config, tmp_path):
    ordinary = BertClassifier(tiny_config, num_classes=2)
    ordinary.build()
    model = adapted(tiny_config)
    before = numpy_of(model(INPUTS)["logits"])
    with pytest.raises(InputError, match=r"rank 3; call model.merge_lora\(\)"):
        require_merged(model)
    model.merge_lora()
    require_merged(model)
    np.testing.assert_allclose(model(INPUTS)["logits"], before, atol=1e-5)
    assert paths(model.weights) == paths(ordinary.weights)
    assert paths(model.trainable_weights) == paths(ordinary.trainable_weights)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.lora_rank is None
    np.testing.assert_allclose(again(INPUTS)["logits"], before, atol=1e-5)


def test_keras_file_keeps_adapters_and_optimizer(small_config, tmp_path):
    model = adapted(small_config)
    compiled(model).fit(INPUTS, LABELS, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert (again.lora_rank, again.lora_alpha) == (3, 6.0)
    assert paths(again.weights) == paths(model.weights)
    assert paths(again.trainable_weights) == paths(model.trainable_weights)
    np.testing.assert_array_equal(again(INPUTS)["logits"], model(INPUTS)["logits"])
    for one, other in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(numpy_of(one), numpy_of(other))
    again.fit(INPUTS, LABELS, verbose=0)
    again.save(tmp_path / "again.keras")  # Loaded and saved once more, the rank is still there.
    assert keras.models.load_model(tmp_path / "again.keras").lora_rank == 3


def test_the_file_holds_the_adapters_alone_and_gives_them_back(tiny_config, tmp_path):
    model = adapted(tiny_config)
    path = tmp_path / "adapters.safetensors"
    model.save_lora(path)
    arrays = safetensors.numpy.load_file(path)
    assert sorted(arrays) == sorted(f"bert/layer_{n}/{name}" for n in range(2) for name in ADAPTED)
    assert sorted(tmp_path.iterdir()) == [path]
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt", "lora_rank": "3", "lora_alpha": "6.0"}

    fresh = BertClassifier(tiny_config, num_classes=2)
    fresh.build()
    others = [weight for weight in model.weights if "lora" not in weight.name]
    fresh.set_weights([numpy_of(weight) for weight in others])
    fresh.load_lora(path)
    assert (fresh.lora_rank, fresh.lora_alpha) == (3, 6.0)
    np.testing.assert_array_equal(fresh(INPUTS)["logits"], model(INPUTS)["logits"])
    # The adapters belong to the encoder, whatever is above it.
    bare = Bert(tiny_config)
    bare.enable_lora(3, 6.0)
    bare.load_lora(path)
    np.testing.assert_array_equal(
        bare.blocks[1].attention.qkv.lora_b, model.bert.blocks[1].attention.qkv.lora_b
    )


def test_adapters_that_do_not_fit_are_refused_and_nothing_changes(tiny_config, tmp_path):
    path = tmp_path / "adapters.safetensors"
    adapted(tiny_config).save_lora(path)
    other = BertClassifier(tiny_config.replace(num_layers=3, hidden_dim=48), num_classes=2)
    with pytest.raises(InputError) as caught:
        other.load_lora(path)
    missing = r"missing: bert/layer_2/attention/output/lora_a, "
    shape = r"of another shape: bert/layer_0/attention/qkv/lora_a [32, 9] instead of [48, 9], "
    assert missing in str(caught.value) and shape in str(caught.value)
    assert other.lora_rank is None and len(other.trainable_weights) == len(other.weights)

    shallow = Bert(tiny_config.replace(num_layers=1))
    with pytest.raises(InputError, match="left over: bert/layer_1/attention/output/lora_a, "):
        shallow.load_lora(path)
    for rank, alpha in ((2, 6.0), (3, 3.0)):
        model = Bert(tiny_config)
        model.enable_lora(rank, alpha)
        before = model.get_weights()
        with pytest.raises(
            InputError, match=f"rank 3 and alpha 6; the model has rank {rank} and alpha {alpha:g}"
        ):
            model.load_lora(path)
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_files_of_something_else_are_refused(tiny_config, tmp_path):
    model = Bert(tiny_config)
    with pytest.raises(InputError, match="absent.safetensors: cannot be read"):
        model.load_lora(tmp_path / "absent.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no adapters")
    with pytest.raises(InputError, match="is damaged or no file of save_lora"):
        model.load_lora(damaged)
    weights = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file({"bert/pooler/dense/bias": np.zeros(3, "float32")}, weights)
    with pytest.raises(InputError, match="is damaged or no file of save_lora"):
        model.load_lora(weights)


def test_wrong_order_is_said(tiny_config, tmp_path):
    model = Bert(tiny_config)
    with pytest.raises(ValueError, match="no adapters to merge"):
        model.merge_lora()
    with pytest.raises(ValueError, match="no adapters to save"):
        model.save_lora(tmp_path / "adapters.safetensors")
    with pytest.raises(ValueError, match="rank of 0"):
        model.enable_lora(0)
    assert model.lora_rank is None and len(model.trainable_weights) == len(model.weights)
    with pytest.raises(ValueError, match="computes in 8 bits, which do not train"):
        Bert(tiny_config, int8=True).enable_lora(2)
    model.enable_lora(2)
    with pytest.raises(ValueError, match=r"rank 2 already; call merge_lora\(\)"):
        model.enable_lora(4)
