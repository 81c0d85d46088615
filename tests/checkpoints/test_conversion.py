import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import InputError, checkpoints
from kbert.checkpoints import huggingface
from kbert.data import TaggedText
from kbert.export import text_module

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source(make_model, tmp_path):
    vocab = tmp_path / "words.txt"
    vocab.write_text("[PAD]\n你\n", encoding="utf-8")
    model = make_model("BertPretrainer", activation="gelu_tanh")
    checkpoints.save_folder(tmp_path / "source", model, {"name": "pretraining", "lowercase": False}, vocab)
    return tmp_path / "source"


CLASSES = ("Bert", "BertPretrainer", "BertMaskedLM", "BertClassifier", "BertSpanFinder")


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    ("form", "name"),
    [
        *((form, name) for form in ("google", "huggingface", "kbert") for name in CLASSES),
        *((form, name) for form in ("huggingface", "kbert") for name in ("BertTagger", "BertMultipleChoice")),
    ],
)
def test_every_form_gives_the_same_model_back(make_model, tmp_path, assert_same_weights, form, name):
    model = make_model(name, activation="gelu", dropout=0.2)
    checkpoints.save_folder(tmp_path / "source", model)
    checkpoints.convert(tmp_path / "source", tmp_path / "target", form)
    loaded = checkpoints.load(tmp_path / "target")
    assert_same_weights(loaded, model)
    assert loaded.config == model.config


def test_vocabulary_and_lower_casing_travel(source, tmp_path):
    folders = [source]
    for form in ("google", "huggingface", "kbert"):
        folders.append(tmp_path / form)
        checkpoints.convert(folders[-2], folders[-1], form)
    for folder in folders:
        assert checkpoints.find_vocab(folder).read_bytes() == (source / "vocab.txt").read_bytes()
        assert checkpoints.read_lowercase(folder) is False


def test_the_place_of_the_padding_token_travels(make_model, tmp_path):
    (tmp_path / "words.txt").write_text("[UNK]\nthe\n[PAD]\n")
    checkpoints.save_folder(tmp_path / "a", make_model("Bert"), None, tmp_path / "words.txt")
    checkpoints.convert(tmp_path / "a", tmp_path / "b", "huggingface")
    assert json.loads((tmp_path / "b" / "config.json").read_text())["pad_token_id"] == 2


def test_labels_of_a_classifier_travel(make_model, tmp_path):
    task = {"name": "classification", "labels": ["a", "b", "ç"], "lowercase": True}
    checkpoints.save_folder(tmp_path / "source", make_model("BertClassifier"), task)
    checkpoints.convert(tmp_path / "source", tmp_path / "hf", "huggingface")
    config = json.loads((tmp_path / "hf" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "a", "1": "b", "2": "ç"}
    checkpoints.convert(tmp_path / "source", tmp_path / "kbert", "kbert")
    assert checkpoints.read_spec(tmp_path / "kbert")["task"] == task


@pytest.fixture
def from_hugging_face(make_model, tiny_vocab, tmp_path):
    """(class name, arguments of the head, labels) -> the folders in Hugging Face's form and in kbert's."""

    def make(name, head, labels):
        (tmp_path / "hf").mkdir()
        model = make_model(name, head, vocab_size=120, max_length=30)
        huggingface.write(tmp_path / "hf", model, labels)
        shutil.copyfile(tiny_vocab, tmp_path / "hf" / "vocab.txt")
        checkpoints.convert(tmp_path / "hf", tmp_path / "kbert", "kbert")
        return tmp_path / "hf", tmp_path / "kbert"

    return make


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_a_classifier_from_hugging_face_answers_texts(from_hugging_face, tmp_path, kind):
    labels = ["stars"] if kind == "regression" else ["no", "ja", "möglich"]
    theirs, ours = from_hugging_face("BertClassifier", {"num_classes": len(labels), "kind": kind}, labels)
    pipeline = kbert.pipeline(ours)
    text = "the film was good"
    answer, vocab = pipeline(text), pipeline.task.tokenizer.vocab
    token_ids = [[vocab.cls_id, *map(vocab.id, text.split()), vocab.sep_id]]
    logits = np.asarray(pipeline.model({"token_ids": np.array(token_ids)})["logits"])[0]
    if kind == "regression":
        assert answer == {"score": pytest.approx(logits[0], abs=1e-4)}
    elif kind == "multi":
        assert answer["labels"] == [label for label, logit in zip(labels, logits, strict=True) if logit >= 0]
    else:
        assert answer["label"] == labels[logits.argmax()] and [*answer["probabilities"]] == labels
    exported = text_module(pipeline.task, pipeline.model).answer(tf.constant([text]))
    if kind == "regression":
        assert exported["score"].numpy() == pytest.approx([answer["score"]], abs=1e-4)
    else:
        probabilities = pytest.approx(list(answer["probabilities"].values()), rel=1e-5)
        assert exported["probabilities"].numpy()[0] == probabilities
    checkpoints.convert(theirs, tmp_path / "pairs", "kbert", pair=True)
    assert kbert.pipeline(tmp_path / "pairs")("the film", "was good").keys() == answer.keys()


@pytest.mark.slow
@pytest.mark.parametrize("tags", [["NOUN", "VERB", "O"], ["O", "B-PER", "X"], ["O", "B-PER", "I-PER"]])
def test_a_tagger_from_hugging_face_answers_texts(from_hugging_face, tags):
    _, ours = from_hugging_face("BertTagger", {"num_tags": 3}, tags)
    pipeline = kbert.pipeline(ours)
    are_entities = tags[2] == "I-PER"
    assert pipeline.task.scheme == ("BIO" if are_entities else None)
    texts = ["the film was good", "a bad play"]
    answers = pipeline(texts)
    assert [("entities" in answer, len(answer["tags"])) for answer in answers] == [
        (are_entities, len(text.split())) for text in texts
    ]
    if not are_entities:
        rows = [
            TaggedText(row.text, row.words, tuple(answer["tags"]), "texts")
            for row, answer in zip(pipeline.task.rows_of(texts), answers, strict=True)
        ]
        assert pipeline.task.scores(rows, answers) == {pipeline.task.best_score: 1.0}
    exported = text_module(pipeline.task, pipeline.model).answer(tf.constant(texts))
    assert exported["tags"].numpy().astype(str).ravel().tolist()[:4] == answers[0]["tags"]


def test_labels_and_kinds_make_the_round_trip(make_model, tmp_path):
    model = make_model("BertClassifier", {"num_classes": 2, "kind": "multi"})
    task = {"name": "multi_label", "labels": ["a", "b"], "pair": False, "max_length": 10, "lowercase": True}
    checkpoints.save_folder(tmp_path / "a", model, task)
    checkpoints.convert(tmp_path / "a", tmp_path / "b", "huggingface")
    checkpoints.convert(tmp_path / "b", tmp_path / "c", "kbert")
    assert checkpoints.read_task(tmp_path / "c") == task
    assert checkpoints.load(tmp_path / "c").kind == "multi"


def test_labels_that_a_form_cannot_keep_are_said(make_model, tmp_path, caplog):
    checkpoints.save_folder(tmp_path / "a", make_model("BertClassifier"), {"labels": ["x", "y", "z"]})
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoints.convert(tmp_path / "a", tmp_path / "b", "google")
    assert "does not keep the labels x, y, z" in caplog.text


@pytest.mark.parametrize("form", ["google", "huggingface", "keras_hub", "kbert"])
def test_a_regression_answers_in_the_unit_of_its_task(make_model, tmp_path, inputs, form):
    model = make_model("BertClassifier", {"num_classes": 1, "kind": "regression"}, activation="gelu_tanh")
    task = {"name": "regression", "pair": False, "mean": 3.25, "deviation": 1.75}
    checkpoints.save_folder(tmp_path / "a", model, task)
    checkpoints.convert(tmp_path / "a", tmp_path / "b", form)
    loaded, read = checkpoints.load(tmp_path / "b"), checkpoints.read_task(tmp_path / "b") or {}
    answers = loaded(inputs)["logits"] * read.get("deviation", 1) + read.get("mean", 0)
    np.testing.assert_allclose(answers, model(inputs)["logits"] * 1.75 + 3.25, rtol=1e-5)
    assert loaded.kind == "regression"


@pytest.mark.parametrize(
    ("form", "threshold", "said"),
    [
        ("huggingface", 0.5, None),
        ("huggingface", 0.3125, "threshold=0.312"),
        ("keras_hub", 0.3125, "the labels x, y; threshold=0.312"),
        ("google", 0.3125, "the labels x, y; threshold=0.312; kind='multi', and is read as 'single'"),
        ("kbert", 0.3125, None),
    ],
)
def test_what_a_form_cannot_keep_is_said_once(make_model, tmp_path, caplog, form, threshold, said):
    model = make_model("BertClassifier", {"num_classes": 2, "kind": "multi"}, activation="gelu_tanh")
    task = {"name": "multi_label", "labels": ["x", "y"], "pair": False, "threshold": threshold}
    checkpoints.save_folder(tmp_path / "a", model, task)
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoints.convert(tmp_path / "a", tmp_path / "b", form)
    messages = [record.message for record in caplog.records if "does not keep" in record.message]
    assert messages == ([f"{tmp_path / 'b'}: this form does not keep {said}"] if said else [])
    assert checkpoints.load(tmp_path / "b").kind == ("single" if form == "google" else "multi")


WINDOWS = {"long_text": "windows", "stride": 3, "window_pooling": "max"}
CUT = {"long_text": "truncate", "stride": None, "window_pooling": "mean"}


@pytest.mark.parametrize(
    ("form", "name", "task", "said"),
    [
        ("huggingface", "BertClassifier", {"pair": True}, "pair=True"),
        ("huggingface", "BertClassifier", {"pair": False, **CUT}, None),
        ("huggingface", "BertClassifier", WINDOWS, "long_text=windows; stride=3; window_pooling=max"),
        ("kbert", "BertClassifier", {"pair": True, **WINDOWS}, None),
        ("huggingface", "BertTagger", {"name": "tagging", "long_text": "windows", "stride": None}, None),
        ("huggingface", "BertTagger", {"name": "tagging", "long_text": "truncate"}, "long_text=truncate"),
        ("huggingface", "BertSpanFinder", {"name": "question_answering", "stride": 128}, None),
        ("huggingface", "BertEmbedder", {"name": "embedding", "pair": True}, "pooling=max"),
        ("google", "BertEmbedder", None, "pooling=max"),
        ("keras_hub", "BertEmbedder", {"name": "embedding", "pair": True}, None),
    ],
)
def test_pairs_windows_and_pooling_that_a_form_cannot_keep_are_said(
    make_model, tmp_path, caplog, form, name, task, said
):
    checkpoints.save_folder(tmp_path / "a", make_model(name, activation="gelu_tanh"), task)
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoints.convert(tmp_path / "a", tmp_path / "b", form)
    messages = [record.message for record in caplog.records if "does not keep" in record.message]
    assert messages == ([f"{tmp_path / 'b'}: this form does not keep {said}"] if said else [])


def test_the_length_of_texts_travels(make_model, tiny_vocab, tmp_path):
    task = {"name": "classification", "labels": ["x", "y", "z"], "pair": True, "max_length": 7}
    task["lowercase"] = True
    checkpoints.save_folder(tmp_path / "a", make_model("BertClassifier", vocab_size=120), task, tiny_vocab)
    checkpoints.convert(tmp_path / "a", tmp_path / "hf", "huggingface")
    checkpoints.convert(tmp_path / "hf", tmp_path / "b", "kbert", pair=True)
    assert checkpoints.read_task(tmp_path / "b") == task
    # Of pretraining `max_length` is that of the records.
    task = {"name": "pretraining", "lowercase": True, "max_length": 7}
    checkpoints.save_folder(tmp_path / "c", make_model(vocab_size=120), task, tiny_vocab)
    checkpoints.convert(tmp_path / "c", tmp_path / "d", "huggingface")
    config = json.loads((tmp_path / "d/tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["model_max_length"] == 10


def test_pairs_are_refused_where_no_text_is_classified(source, tmp_path):
    with pytest.raises(InputError, match="source: --pair says nothing to it; it is for classifiers"):
        checkpoints.convert(source, tmp_path / "target", "kbert", pair=True)
    assert not (tmp_path / "target").exists()


def test_a_vocabulary_in_tokenizer_json_alone_is_written_out(make_model, tiny_vocab, tmp_path):
    checkpoints.save_folder(tmp_path / "a", make_model("Bert", vocab_size=120), None, tiny_vocab)
    checkpoints.convert(tmp_path / "a", tmp_path / "b", "huggingface")
    (tmp_path / "b" / "vocab.txt").unlink()
    checkpoints.convert(tmp_path / "b", tmp_path / "c", "google")
    assert checkpoints.find_vocab(tmp_path / "c").read_bytes() == tiny_vocab.read_bytes()


def test_a_model_without_a_vocabulary_is_warned_of(make_model, tmp_path, caplog):
    checkpoints.save_folder(tmp_path / "a", make_model("Bert"))
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoints.convert(tmp_path / "a", tmp_path / "b", "huggingface")
    assert f"{tmp_path / 'b'}: no vocabulary came with {tmp_path / 'a'}; copy its vocab.txt" in caplog.text


def test_an_occupied_target_is_refused_and_left_alone(source, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="target: already holds something"):
        checkpoints.convert(source, target, "google")
    assert [file.name for file in target.iterdir()] == ["mine.txt"]


def test_a_conversion_that_fails_leaves_nothing(make_model, tmp_path):
    checkpoints.save_folder(tmp_path / "source", make_model(activation="silu"))
    with pytest.raises(InputError, match="silu"):
        checkpoints.convert(tmp_path / "source", tmp_path / "target", "google")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def run_script(**flags):
    script = ROOT / "tf_scripts" / "convert_checkpoint.py"
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_script_converts(source, tmp_path, assert_same_weights):
    result = run_script(input=source, output=tmp_path / "out", to="huggingface")
    assert result.returncode == 0, result.stderr
    assert_same_weights(checkpoints.load(tmp_path / "out"), checkpoints.load(source))


@pytest.mark.slow
def test_the_script_answers_wrong_input_with_one_line_and_code_2(tmp_path):
    result = run_script(input=tmp_path / "absent", output=tmp_path / "out", to="kbert")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'absent'}: does not exist")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
