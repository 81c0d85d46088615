"""transformers itself: it loads what kbert writes, kbert loads what it writes, and both compute the same."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from kbert import checkpoints, training
from kbert.checkpoints import huggingface
from kbert.models import SpanObjective

transformers = pytest.importorskip("transformers", reason="pip install torch transformers")
torch = pytest.importorskip("torch", reason="pip install torch transformers")

CLASSES = {
    "Bert": "BertModel",
    "BertPretrainer": "BertForPreTraining",
    "BertMaskedLM": "BertForMaskedLM",
    "BertClassifier": "BertForSequenceClassification",
    "BertTagger": "BertForTokenClassification",
    "BertSpanFinder": "BertForQuestionAnswering",
    "BertMultipleChoice": "BertForMultipleChoice",
}

#: kbert's name of an output -> transformers'.
OUTPUTS = {
    "sequence_output": "last_hidden_state",
    "pooled_output": "pooler_output",
    "nsp_logits": "seq_relationship_logits",
    "logits": "logits",
    "start_logits": "start_logits",
    "end_logits": "end_logits",
}


def outputs_of(peer, inputs):
    tensors = {
        theirs: torch.tensor(inputs[ours], dtype=torch.long)
        for ours, theirs in (
            ("token_ids", "input_ids"),
            ("segment_ids", "token_type_ids"),
            ("padding_mask", "attention_mask"),
        )
    }
    with torch.no_grad():
        return {name: value.numpy() for name, value in peer.eval()(**tensors).items()}


def assert_same_outputs(model, peer, inputs):
    if type(model).__name__ == "BertMultipleChoice":
        inputs = {name: np.stack([rows, rows[::-1]], axis=1) for name, rows in inputs.items()}
    ours, theirs = model(inputs), outputs_of(peer, inputs)
    mlm_name = "prediction_logits" if "prediction_logits" in theirs else "logits"
    pairs = [
        (ours[name], theirs[there]) for name, there in OUTPUTS.items() if name in ours and there in theirs
    ]
    if "mlm_logits" in ours:
        pairs.append((ours["mlm_logits"], theirs[mlm_name]))
    assert len(pairs) >= 1 and (type(model).__name__ not in ("Bert", "BertPretrainer") or len(pairs) == 2)
    real = inputs["padding_mask"].astype(bool)
    for one, other in pairs:
        one = np.asarray(one)
        assert one.shape == other.shape and np.ptp(other) > 0.01
        if one.shape[: real.ndim] == real.shape and real.ndim == 2:
            one, other = one[real], other[real]
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.slow_after_first
@pytest.mark.parametrize("name", CLASSES)
def test_transformers_loads_what_kbert_writes(make_model, tmp_path, inputs, name):
    model = make_model(name, activation="gelu_tanh", layer_norm_epsilon=1e-5)
    scale_down(model)
    huggingface.write(tmp_path, model)
    peer, report = getattr(transformers, CLASSES[name]).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert_same_outputs(model, peer, inputs)


@pytest.mark.slow_after_first
@pytest.mark.parametrize("name", CLASSES)
def test_kbert_loads_what_transformers_writes(tmp_path, inputs, name, assert_same_weights):
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=10,
        initializer_range=0.3,
    )
    if name in ("BertClassifier", "BertTagger"):
        config.id2label = {0: "O", 1: "B", 2: "I", 3: "E"}
    torch.manual_seed(0)
    peer = getattr(transformers, CLASSES[name])(config)
    peer.save_pretrained(tmp_path / "whole")
    model = checkpoints.load(tmp_path / "whole")
    assert type(model).__name__ == name
    assert_same_outputs(model, peer, inputs)
    peer.save_pretrained(tmp_path / "shards", max_shard_size="2KB")
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    assert_same_weights(checkpoints.load(tmp_path / "shards"), model)


@pytest.mark.parametrize(
    ("kind", "count"), [("single", 2), ("multi", 4), ("regression", 1)], ids=["single", "multi", "regression"]
)
def test_kinds_and_labels_are_those_of_transformers(make_model, tmp_path, kind, count):
    labels = [f"größe {number}" for number in range(count)]
    model = make_model("BertClassifier", {"num_classes": count, "kind": kind})
    huggingface.write(tmp_path, model, labels)
    peer = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert peer.config.id2label == dict(enumerate(labels))
    assert peer.config.problem_type.startswith(kind)
    peer.save_pretrained(tmp_path / "again")
    loaded = checkpoints.load(tmp_path / "again")
    assert (loaded.kind, loaded.num_classes) == (kind, count)
    assert checkpoints.read_task(tmp_path / "again")["labels"] == labels


def test_automatic_tokenizer_of_transformers_splits_as_kbert_does(make_model, tiny_vocab, tmp_path):
    from kbert.text import WordPieceTokenizer

    checkpoints.save_folder(tmp_path / "model", make_model("Bert", vocab_size=120), None, tiny_vocab)
    checkpoints.convert(tmp_path / "model", tmp_path / "hf", "huggingface")
    text = "The film was Unplayed, café! 我们喜欢 zzz"
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")(text, "not bad")
    ours = WordPieceTokenizer(tiny_vocab).tokenize([text, "not bad"]).to_list()
    vocab = WordPieceTokenizer(tiny_vocab).vocab
    expected = [vocab.cls_id, *ours[0], vocab.sep_id, *ours[1], vocab.sep_id]
    assert theirs["input_ids"] == expected
    assert theirs["token_type_ids"] == [0] * (len(ours[0]) + 2) + [1] * (len(ours[1]) + 1)


def scale_down(model):
    """Standard normal weights make outputs of some tens, where 1e-5 is less than float32 can keep."""
    for weight in model.weights:
        weight.assign(np.asarray(weight) * 0.3)


@pytest.mark.slow
def test_training_takes_the_steps_of_torch(tmp_path, make_model, inputs):
    """Padding left out, decay and clipping as everyone's: the same losses, step by step."""
    model = make_model(
        "BertSpanFinder", {"unpad": True}, dropout=0.0, attention_dropout=0.0, layer_norm_epsilon=1e-5
    )
    scale_down(model)
    huggingface.write(tmp_path, model)
    peer = transformers.BertForQuestionAnswering.from_pretrained(tmp_path).train()
    targets = {"start_position": np.array([7, 2], "int32"), "end_position": np.array([8, 5], "int32")}
    assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-4)
    assert_close(_losses(model, inputs, targets), _losses_of_torch(peer, inputs, targets))


_STEPS, _RATE, _DECAY = 8, 1e-2, 0.01


def _losses(model, inputs, targets):
    rows = tf.data.Dataset.from_tensors((inputs, targets)).repeat()
    optimizer = training.AdamW(training.LinearWarmup(_RATE, _STEPS, 2), weight_decay_rate=_DECAY)
    history = training.fit(model, optimizer, SpanObjective(), rows, steps_per_epoch=1, epochs=_STEPS)
    return [logs["loss"] for logs in history]


def _losses_of_torch(peer, inputs, targets):
    plain = [w for name, w in peer.named_parameters() if "LayerNorm" in name or name.endswith("bias")]
    others = [w for w in peer.parameters() if not any(w is other for other in plain)]
    optimizer = torch.optim.AdamW(
        [{"params": plain, "weight_decay": 0.0}, {"params": others}], _RATE, eps=1e-6, weight_decay=_DECAY
    )
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 2, _STEPS)
    ids, segments, mask = (
        torch.tensor(inputs[name]).long() for name in ("token_ids", "segment_ids", "padding_mask")
    )
    losses = []
    for _ in range(_STEPS):
        found = peer(input_ids=ids, token_type_ids=segments, attention_mask=mask)
        sides = [
            torch.nn.functional.cross_entropy(
                found[f"{side}_logits"].masked_fill(mask == 0, -1e9),
                torch.tensor(targets[f"{side}_position"]).long(),
            )
            for side in ("start", "end")
        ]
        loss = sum(sides) / 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
