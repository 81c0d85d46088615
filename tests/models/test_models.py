"""The models as wholes: masks, inputs, ties, saving, learning."""

import keras
import numpy as np
import pytest

from kbert.models import Bert, BertClassifier, BertPretrainer, ClassificationObjective
from tests.model_contract import make_inputs, randomised

RNG = np.random.default_rng(3)


def test_each_input_counts(tiny_config):
    model, inputs = randomised(Bert(tiny_config)), make_inputs(tiny_config)
    before = np.asarray(model(inputs)["sequence_output"])
    changed = {
        "token_ids": (inputs["token_ids"] + 1) % tiny_config.vocab_size,
        "segment_ids": 1 - inputs["segment_ids"],
        "padding_mask": np.ones_like(inputs["padding_mask"]),
    }
    for name, value in changed.items():
        after = np.asarray(model({**inputs, name: value})["sequence_output"])
        assert np.abs(after - before).max() > 1e-3, name


def test_padding_is_never_seen(tiny_config):
    model, inputs = randomised(Bert(tiny_config)), make_inputs(tiny_config)
    expected = np.asarray(model(inputs)["sequence_output"])
    real = inputs["padding_mask"].astype(bool)
    rewritten = {**inputs, "token_ids": np.where(real, inputs["token_ids"], 5)}
    np.testing.assert_allclose(
        np.asarray(model(rewritten)["sequence_output"])[real], expected[real], atol=1e-6
    )
    longer = {name: np.pad(value, [(0, 0), (0, 4)]) for name, value in inputs.items()}
    outputs = model(longer)
    np.testing.assert_allclose(np.asarray(outputs["sequence_output"])[:, :7][real], expected[real], atol=1e-5)


def test_defaults_are_no_padding_and_first_segment(tiny_config):
    model, tokens = randomised(Bert(tiny_config)), make_inputs(tiny_config)["token_ids"]
    full = {"token_ids": tokens, "segment_ids": np.zeros_like(tokens), "padding_mask": np.ones_like(tokens)}
    for inputs in ({"token_ids": tokens}, tokens):
        np.testing.assert_allclose(model(inputs)["pooled_output"], model(full)["pooled_output"], atol=1e-6)
    with pytest.raises(ValueError, match="token_ids"):
        model({"input_ids": tokens})
    with pytest.raises(ValueError, match=r"unknown keys \['attention_mask'\]; .*'padding_mask'"):
        model({"token_ids": tokens, "attention_mask": np.ones_like(tokens)})


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_ids_that_came_as_floats_are_not_rounded(dtype, tiny_config):
    """Keras makes floats of them under a strategy, to learn their shapes. In bfloat16 there is no 257."""
    model = randomised(Bert(tiny_config.replace(vocab_size=300), dtype=dtype))
    ids = np.array([[5.0, 257.0]], "float32")
    expected = model(ids.astype("int32"))["pooled_output"]
    for inputs in (ids, {"token_ids": ids, "padding_mask": None}):
        np.testing.assert_array_equal(model(inputs)["pooled_output"], expected)
    assert model(keras.Input((2,)))["pooled_output"].shape == (None, tiny_config.hidden_dim)
    with pytest.raises(ValueError, match="bfloat16; expected int32"):
        model(keras.ops.cast(ids, "bfloat16"))


@pytest.mark.parametrize("unpad", [False, True])
def test_shapes_that_do_not_go_together_are_refused(unpad, tiny_config):
    model, inputs = Bert(tiny_config, unpad=unpad), make_inputs(tiny_config)
    ids, mask = inputs["token_ids"], inputs["padding_mask"]
    square = ids[:, :3]  # A list of two such arrays would be broadcast to an answer.
    for wrong in (ids[0], ids[:, None], [square, square]):
        with pytest.raises(ValueError, match=r"expected \(batch, length\)"):
            model(wrong)
    for name, wrong in {"padding_mask": mask[:, :5], "segment_ids": mask[:1]}.items():
        with pytest.raises(ValueError, match=f"{name} has the shape"):
            model({**inputs, name: wrong})


def test_layers_on_request(tiny_config):
    model, inputs = randomised(Bert(tiny_config)), make_inputs(tiny_config)
    outputs = model(inputs, return_layers=True)
    assert len(outputs["layer_outputs"]) == 3 and len(outputs["attention_probabilities"]) == 2
    np.testing.assert_array_equal(outputs["layer_outputs"][-1], outputs["sequence_output"])
    np.testing.assert_allclose(np.sum(outputs["attention_probabilities"][1], -1), 1, atol=1e-6)


def test_mlm_logits_are_tied_and_gathered(tiny_config):
    model, inputs = randomised(BertPretrainer(tiny_config)), make_inputs(tiny_config)
    inputs["token_ids"] %= 100  # No input has token 100, so what moves is its output row.
    everywhere = np.asarray(model(inputs)["mlm_logits"])
    positions = np.array([[1, 4, 2], [0, 3, 3], [6, 5, 1]], "int32")  # B = P on purpose
    some = np.asarray(model({**inputs, "mask_positions": positions})["mlm_logits"])
    np.testing.assert_allclose(some, np.take_along_axis(everywhere, positions[..., None], 1), atol=1e-5)
    table = model.bert.embeddings.token_embeddings
    rows = np.array(table)
    rows[100] += 1.0
    table.assign(rows)
    moved = np.abs(np.asarray(model(inputs)["mlm_logits"]) - everywhere).max((0, 1))
    assert moved[100] > 0.1 and moved[:100].max() == 0


@pytest.mark.parametrize("make", [Bert, BertPretrainer, lambda config: BertClassifier(config, num_classes=3)])
def test_keras_file_gives_the_same_model(make, tiny_config, tmp_path):
    model, inputs = randomised(make(tiny_config)), make_inputs(tiny_config)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is type(model) and again.config == model.config
    for name, value in model(inputs).items():
        np.testing.assert_allclose(again(inputs)[name], value, atol=1e-6, err_msg=name)
    if isinstance(again, BertPretrainer):
        assert sum("token_embeddings" in weight.path for weight in again.weights) == 1


def test_a_map_of_dtypes_by_path_is_kept(tiny_config, tmp_path):
    policies = keras.dtype_policies.DTypePolicyMap("mixed_bfloat16")
    policies["bert_classifier/bert/layer_0/.*"] = keras.dtype_policies.DTypePolicy("float32")
    model = BertClassifier(tiny_config, 2, dtype=policies)
    model.build()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    encoder = Bert.from_config(model.bert.get_config())
    assert len(encoder.dtype_policy) == 1
    assert [block.intermediate.compute_dtype for block in loaded.bert.blocks] == ["float32", "bfloat16"]


def test_weight_paths_are_a_file_format(tiny_config):
    model = BertPretrainer(tiny_config.replace(num_layers=1))
    model.build()
    prefix = "bert_pretrainer/"
    block = [
        f"bert/layer_0/{name}"
        for name in (
            "attention/output/bias attention/output/kernel attention/qkv/bias attention/qkv/kernel "
            "attention_layer_norm/beta attention_layer_norm/gamma intermediate/bias intermediate/kernel "
            "output/bias output/kernel output_layer_norm/beta output_layer_norm/gamma"
        ).split()
    ]
    embeddings = [
        f"bert/embeddings/{name}"
        for name in (
            "layer_norm/beta layer_norm/gamma position_embeddings segment_embeddings token_embeddings"
        ).split()
    ]
    heads = (
        "bert/pooler/dense/bias bert/pooler/dense/kernel mlm/bias mlm/layer_norm/beta mlm/layer_norm/gamma "
        "mlm/transform/bias mlm/transform/kernel nsp/bias nsp/kernel"
    ).split()
    expected = sorted(prefix + path for path in embeddings + block + heads)
    assert sorted(weight.path for weight in model.weights) == expected


def test_compile_and_fit_as_a_keras_user_expects(tiny_config):
    model = BertClassifier(tiny_config, num_classes=2)
    tokens = RNG.integers(5, 100, (8, 6)).astype("int32")
    labels = np.arange(8) % 2
    model.compile(
        optimizer=keras.optimizers.Adam(2e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit({"token_ids": tokens}, labels, epochs=40, batch_size=8, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert (model.predict({"token_ids": tokens}, verbose=0)["logits"].argmax(-1) == labels).all()


def test_classifier_needs_two_classes(tiny_config):
    with pytest.raises(ValueError, match="num_classes=1"):
        BertClassifier(tiny_config, num_classes=1)


def test_mixed_precision_keeps_weights_and_logits_in_float32(tiny_config):
    inputs = make_inputs(tiny_config)
    exact = randomised(BertPretrainer(tiny_config), 0.05)
    mixed = BertPretrainer(tiny_config, dtype="mixed_bfloat16")
    mixed.build()
    mixed.set_weights(exact.get_weights())
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    for name in ("mlm_logits", "nsp_logits"):
        value = mixed(inputs)[name]
        assert value.dtype == "float32"
        np.testing.assert_allclose(value, exact(inputs)[name], atol=0.1)
        assert np.abs(np.asarray(value) - np.asarray(exact(inputs)[name])).max() > 1e-5  # It was used.


def test_objectives_name_what_they_return(tiny_config):
    outputs = {"logits": np.array([[2.0, 0.0], [0.0, 1.0]], "float32")}
    terms = ClassificationObjective()(outputs, {"label": np.array([0, 0])})
    assert set(terms) == {*ClassificationObjective.losses, *ClassificationObjective.metrics}
    assert [float(value) for value in terms["accuracy"]] == [1.0, 2.0]
