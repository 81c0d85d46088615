import base64
import errno
import json
import os
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from kbert.errors import InputError
from kbert.export import SelfTestError, export, saved_model
from tests.export.conftest import LABELS, MAX_LENGTH
from tests.export.test_self_test import KerasModelInside
from tests.export.test_signatures import TEXTS

pytestmark = pytest.mark.serving

#: Loads exports as TF Serving does, where kbert and Keras cannot be imported; answers as JSON.
STRANGER = """
import base64, json, sys
sys.modules["kbert"] = None
import tensorflow as tf, tensorflow_text
sys.modules["keras"] = None
answers = []
for folder, inputs in json.load(sys.stdin):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
        signature = meta_graph.signature_def["serving_default"]
        feeds = {signature.inputs[k].name: [base64.b64decode(t) for t in v] for k, v in inputs.items()}
        outputs = session.run({k: info.name for k, info in signature.outputs.items()}, feeds)
        outputs["label"] = [label.decode() for label in outputs["label"]]
        answers.append({k: list(v) if k == "label" else v.tolist() for k, v in outputs.items()})
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def exported(make_module, tmp_path_factory):
    """Two exports into one folder: of single texts, then of pairs."""
    folder = tmp_path_factory.mktemp("exports")
    return {"single": export(make_module(), folder), "pair": export(make_module(pair=True), folder)}


@pytest.mark.slow
def test_versions_count_up_and_nothing_else_appears(exported):
    assert [os.path.basename(path) for path in exported.values()] == ["1", "2"]
    assert sorted(os.listdir(os.path.dirname(exported["single"]))) == ["1", "2"]


def test_next_version_is_above_the_highest_number(tmp_path):
    for name in ("7", "10", "9.old", ".tmp-99", "written"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").touch()
    assert saved_model._publish(str(tmp_path / "written"), str(tmp_path)) == str(tmp_path / "13")


def test_what_a_killed_export_left_is_cleared_by_the_next_one(make_module, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, "_write", stop)
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # Above what Linux gives.
    for name in (f".tmp-{saved_model.process_mark()}-x1", ".tmp-3"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    with pytest.raises(KeyboardInterrupt):
        export(make_module(), tmp_path)
    assert os.listdir(tmp_path) == [".tmp-3"]


def test_without_tensorflow_text_the_module_loads_and_says_what_is_missing(tmp_path, monkeypatch):
    """As on Windows, where `export` is refused by the tokenizer: see `kbert.text.python_ops`."""
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "kbert.json").touch()
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(InputError, match="pip install tensorflow-text"):
        runpy.run_path(saved_model.__file__)["verify"](tmp_path)


@pytest.mark.slow
def test_stranger_gives_the_models_answers_from_a_moved_folder(
    exported, make_model, expected_answer, tmp_path
):
    requests, expected = [], []
    for name, path in exported.items():
        moved = shutil.copytree(path, tmp_path / name)
        texts = {"text": TEXTS} if name == "single" else {"text": TEXTS, "text_pair": TEXTS[4:] + TEXTS[:4]}
        requests.append(
            (str(moved), {k: [base64.b64encode(t).decode() for t in v] for k, v in texts.items()})
        )
        expected.append([expected_answer(make_model(), *both) for both in zip(*texts.values(), strict=True)])
    process = subprocess.run(
        [sys.executable, "-c", STRANGER],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    for outputs, rows in zip(json.loads(process.stdout), expected, strict=True):
        for name in ("label", "label_id", "num_tokens", "truncated"):
            assert outputs[name] == [row[name] for row in rows]
        for name in ("score", "probabilities"):
            np.testing.assert_allclose(outputs[name], np.array([row[name] for row in rows]), atol=1e-5)


@pytest.mark.slow
def test_checkpoint_has_the_size_of_the_weights(exported, make_model):
    size = os.path.getsize(os.path.join(exported["single"], "variables", "variables.data-00000-of-00001"))
    graph_of_objects = 10_000  # bytes, names of the variables
    assert 0 <= size - 4 * make_model().count_params() < graph_of_objects


@pytest.mark.slow
def test_warmup_records_are_requests_to_the_signatures(exported):
    for path in exported.values():
        records = tf.data.TFRecordDataset(os.path.join(path, "assets.extra", "tf_serving_warmup_requests"))
        logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
        requests = [log.predict_log.request for log in logs]
        with open(os.path.join(path, "assets.extra", "kbert.json"), encoding="utf-8") as file:
            description = json.load(file)
        names = [request.model_spec.signature_name for request in requests]
        samples = [name for name in ("serving_default", "tokenize", "classify") for _ in range(3)]
        assert names == samples + ["serving_default"] * 5  # and one for each width, 8 to 40
        batches = []
        for request in requests:
            inputs = description["signatures"][request.model_spec.signature_name]["inputs"]
            assert set(request.inputs) == set(inputs)
            assert {proto.dtype for proto in request.inputs.values()} == {tf.string.as_datatype_enum}
            (batch, *_) = (proto.tensor_shape.dim[0].size for proto in request.inputs.values())
            batches.append(batch)
        assert batches == [1, 1, 13] * 3 + [1] * 5
        lengths = [sample["outputs"]["num_tokens"] for sample in description["samples"][:3]]
        assert lengths[0][0] < 32 and lengths[1] == [MAX_LENGTH]


@pytest.mark.slow
def test_description_tells_what_a_client_needs(exported, tokenizer):
    with open(os.path.join(exported["pair"], "assets.extra", "kbert.json"), encoding="utf-8") as file:
        description = json.load(file)
    assert description["task"] == {
        "name": "classification",
        "labels": LABELS,
        "max_length": MAX_LENGTH,
        "pair": True,
        "lowercase": True,
        "long_text": "truncate",
        "stride": None,
        "window_pooling": "mean",
    }
    signature = description["signatures"]["serving_default"]
    assert signature["inputs"] == {k: {"dtype": "string", "shape": [None]} for k in ("text", "text_pair")}
    assert signature["outputs"]["probabilities"] == {"dtype": "float32", "shape": [None, 3]}
    assert {"b64": base64.b64encode(b"broken caf\xc3 \xff\xfe bytes \xe4\xb8").decode()} in (
        description["samples"][2]["inputs"]["text"]
    )
    with open(os.path.join(exported["pair"], "assets.extra", "vocab.txt"), encoding="utf-8") as file:
        assert file.read().split("\n")[:-1] == list(tokenizer.vocab.tokens)


@pytest.mark.slow
def test_folder_can_be_read_by_others(exported):
    for path in exported.values():
        assert os.stat(path).st_mode & 0o055 == 0o055 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.slow
def test_failed_self_test_leaves_nothing(make_module, tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(SelfTestError, match="(?s)at: answers.*variable"):
        export(make_module(kind=KerasModelInside), tmp_path)
    assert os.listdir(tmp_path) == ["1"]


def test_a_bucket_is_no_folder(make_module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="gs://bucket/mine: is an address"):
        export(make_module(), "gs://bucket/mine")
    assert os.listdir() == []


@pytest.mark.parametrize("name", ["mine [1]", "mine\\1"])
def test_a_folder_that_nothing_is_loaded_from_is_told_before(name, make_module, tmp_path):
    with pytest.raises(InputError, match="loads nothing from below a .*; rename the folder"):
        export(make_module(), tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_as_one(make_module, tmp_path, monkeypatch):
    def save(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "/out/variables; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", save)
    answered = [{"signature": "serving_default", "outputs": {}}]
    monkeypatch.setattr(saved_model.samples, "answered", lambda module: answered)
    with pytest.raises(OSError, match="No space left on device") as caught:
        export(make_module(), tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_model_that_diverged_is_the_users_to_mend(make_module, make_model, tmp_path):
    module = make_module()
    module.weights[0].assign(module.weights[0] * np.nan)
    with pytest.raises(InputError, match="NaN"):
        export(module, tmp_path)
    assert os.listdir(tmp_path) == []
