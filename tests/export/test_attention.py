"""The signature `attention` gives the weights that the layers compute, restated here in NumPy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kbert.checkpoints import save_folder
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.export import MaskFiller, TextClassifier, add_attention
from kbert.export.attention import MAX_PIECES, AttentionViewer
from kbert.models import BertClassifier, BertPretrainer
from tests.export.conftest import LABELS, MAX_LENGTH
from tests.export.test_signatures import TEXTS

LAYERS, HEADS = 2, 2


@pytest.fixture
def model(tokenizer):
    config = BertConfig(
        vocab_size=len(tokenizer.vocab), hidden_dim=16, num_layers=LAYERS, num_heads=HEADS,
        intermediate_dim=32, max_length=200, activation="relu",
    )  # fmt: skip
    model = BertClassifier(config, num_classes=len(LABELS))
    model.build()
    generator = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(generator.normal(1.0 if "gamma" in weight.path else 0.0, 0.3, weight.shape))
    return model


@pytest.fixture
def make(model, make_task):
    """Function of the task's changes to the module with the signature."""

    def make(pair=False, **changes):
        module = TextClassifier(make_task(pair, **changes), model)
        add_attention(module)
        return module

    return make


def restated(model, token_ids, segment_ids):
    """Attention weights (L, N, S, S) of one sequence, from the weights of the model alone."""
    weights = {weight.path.partition("/bert/")[2]: np.array(weight, np.float64) for weight in model.weights}

    def of(path):
        found = [value for name, value in weights.items() if name.endswith(path)]
        assert len(found) == 1, (path, sorted(weights))
        return found[0]

    def normalized(values, name):
        values = values - values.mean(-1, keepdims=True)
        values = values / np.sqrt((values**2).mean(-1, keepdims=True) + 1e-12)
        return values * of(f"{name}/gamma") + of(f"{name}/beta")

    size = len(token_ids)
    hidden = of("embeddings/token_embeddings")[token_ids] + of("embeddings/segment_embeddings")[segment_ids]
    hidden = normalized(hidden + of("embeddings/position_embeddings")[:size], "embeddings/layer_norm")
    maps = []
    for layer in range(LAYERS):
        here = f"layer_{layer}"

        def dense(values, name, here=here):
            return values @ of(f"{here}/{name}/kernel") + of(f"{here}/{name}/bias")

        query, key, value = np.split(dense(hidden, "attention/qkv"), 3, axis=-1)
        query, key, value = (part.reshape(size, HEADS, -1).transpose(1, 0, 2) for part in (query, key, value))
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        maps.append(powers / powers.sum(-1, keepdims=True))
        context = (maps[-1] @ value).transpose(1, 0, 2).reshape(size, -1)
        hidden = normalized(hidden + dense(context, "attention/output"), f"{here}/attention_layer_norm")
        inner = np.maximum(dense(hidden, "intermediate"), 0)
        hidden = normalized(hidden + dense(inner, "output"), f"{here}/output_layer_norm")
    return np.array(maps)


def packed(tokenizer, *texts):
    parts = [tokenizer.tokenize([text]).to_list()[0] for text in texts]
    token_ids = [tokenizer.vocab.cls_id] + [
        number for part in parts for number in (*part, tokenizer.vocab.sep_id)
    ]
    first = len(parts[0]) + 2
    return token_ids, [0] * first + [1] * (len(token_ids) - first)


@pytest.mark.parametrize("pair", [False, True], ids=["single", "pair"])
def test_weights_are_those_of_the_layers(make, model, tokenizer, pair):
    texts = [b"the film never loses its way", b"", "房间很干净。".encode(), b"a short sentence once more"]
    rows = list(zip(texts, texts[::-1], strict=True)) if pair else [(text,) for text in texts]
    module = make(pair)
    outputs = module.signatures()["attention"](
        **{
            name: tf.constant(values)
            for name, values in zip(module.inputs, zip(*rows, strict=True), strict=True)
        }
    )
    attention, tokens = outputs["attention"].numpy(), outputs["tokens"].numpy()
    width = 16 if pair else 8
    assert attention.shape == (4, LAYERS, HEADS, width, width) and attention.dtype == np.float32
    assert not outputs["truncated"].numpy().any()
    for row, texts_of_row in enumerate(rows):
        token_ids, segment_ids = packed(tokenizer, *texts_of_row)
        size = len(token_ids)
        assert outputs["num_tokens"][row] == size
        spelled = [tokenizer.vocab.tokens[number] for number in token_ids]
        assert [token.decode() for token in tokens[row]] == spelled + [""] * (width - size)
        real = attention[row, :, :, :size, :size]
        np.testing.assert_allclose(real.sum(-1), 1, atol=1e-6)
        np.testing.assert_allclose(real, restated(model, token_ids, segment_ids), atol=1e-5)
        assert not attention[row, :, :, size:].any() and not attention[row, :, :, :, size:].any()
    assert np.ptp(attention[0, :, :, :3, :3]) > 0.05  # else weights that are all alike would pass


def test_reference_is_what_the_graph_gives(make):
    module = make(pair=True, max_length=150)
    signature = module.contract()["attention"]
    for text in TEXTS:
        want = signature.reference(text, b"a short sentence")
        got = signature.answer(tf.constant([text]), tf.constant([b"a short sentence"]))
        np.testing.assert_allclose(got["attention"][0], np.array(want["attention"]), atol=1e-5)
        assert [token.decode() for token in got["tokens"][0].numpy()] == want["tokens"]
        assert got["num_tokens"][0] == want["num_tokens"] and bool(got["truncated"][0]) == want["truncated"]
    assert got["attention"].shape[-1] <= MAX_PIECES


def test_long_texts_lose_their_end(make):
    outputs = (
        make(max_length=150).contract()["attention"].answer(tf.constant([b"the long film " * 40, b"it"]))
    )
    assert outputs["num_tokens"].numpy().tolist() == [MAX_PIECES, 3]
    assert outputs["truncated"].numpy().tolist() == [True, False]
    assert outputs["attention"].shape == (2, LAYERS, HEADS, MAX_PIECES, MAX_PIECES)


@pytest.mark.slow
def test_a_batch_of_none_has_empty_answers(make):
    outputs = make(pair=True).signatures()["attention"](
        text=tf.constant([], tf.string), text_pair=tf.constant([], tf.string)
    )
    assert outputs["attention"].shape[:3] == (0, LAYERS, HEADS)
    assert {name: values.shape[0] for name, values in outputs.items()} == dict.fromkeys(outputs, 0)


def test_ordinary_answers_stay_and_the_signature_is_asked_for(make, make_task, model):
    plain = TextClassifier(make_task(), model)
    assert set(make().contract()) - set(plain.contract()) == {"attention"}
    texts = tf.constant(TEXTS)
    for name, values in make().answer(texts).items():
        assert np.array_equal(values, plain.answer(texts)[name]), name


def test_tasks_on_other_inputs_are_refused(tokenizer):
    config = BertConfig(
        vocab_size=len(tokenizer.vocab), hidden_dim=8, num_layers=1, num_heads=2, intermediate_dim=8,
        max_length=MAX_LENGTH,
    )  # fmt: skip
    model = BertPretrainer(config)
    model.build()
    module = MaskFiller({"max_length": MAX_LENGTH, "lowercase": True}, tokenizer, model)
    with pytest.raises(InputError, match="the task is fill_mask, so export it without --attention"):
        add_attention(module)


def test_viewer_reads_no_more_than_the_model(make):
    assert AttentionViewer(make(max_length=24)).max_pieces == 24


@pytest.mark.slow
@pytest.mark.serving
def test_script_adds_it_when_asked_and_it_passes_the_self_test(model, tokenizer, tmp_path):
    tokenizer.vocab.write(tmp_path / "vocab.txt")
    task = {"name": "classification", "labels": LABELS, "max_length": 24, "pair": True, "lowercase": True}
    save_folder(tmp_path / "model", model, task, tmp_path / "vocab.txt")
    root = Path(__file__).parents[2]
    command = ["tf_scripts/export_model.py", f"--model_dir={tmp_path}/model", f"--export_dir={tmp_path}/out"]
    process = subprocess.run(
        [sys.executable, *command, "--attention"],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    described = json.loads((tmp_path / "out" / "1" / "assets.extra" / "kbert.json").read_text())
    assert set(described["signatures"]["attention"]["inputs"]) == {"text", "text_pair"}
    assert "attention" in {sample["signature"] for sample in described["samples"]}
