"""Every task, 200 real inputs, five ways to the answer: Keras, pipeline, TF1 session, REST and gRPC agree."""

import dataclasses
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import kbert
from kbert import data
from kbert.checkpoints import save_folder
from kbert.config import BertConfig
from kbert.export import MaskFiller, saved_model, text_module
from kbert.export.self_test import _rectangle, difference
from kbert.models import BertPretrainer
from kbert.tasks import task_class
from kbert.text import WordPieceTokenizer
from tests.serving.server_process import server_process
from tests.serving.session_answers import plain

pytestmark = [pytest.mark.slow, pytest.mark.serving]

COUNT = 200
HERE = Path(__file__).parent


def table(path, *columns):
    """Columns of the first rows of a TSV file with a header."""
    header, *rows = (line.split("\t") for line in path.read_text("utf-8-sig").splitlines()[: COUNT + 1])
    return [[row[header.index(name)] for row in rows] for name in columns]


def questions(path):
    """Questions and their passages; of longer ones an export reads the first 32 windows only, and says so."""
    rows = [row for row in data.read_questions(path) if len(row.context) <= 700][:COUNT]
    return [row.question for row in rows], [row.context for row in rows]


def choices(path):
    """Passages, three answers of which the questions of the file ask for one, and the questions."""
    rows = data.read_questions(path)[: COUNT + 2]
    given = [row.answers[0].text for row in rows]
    offered = [given[place : place + 3] for place in range(COUNT)]
    return [row.context for row in rows[:COUNT]], offered, [row.question for row in rows[:COUNT]]


def sentences(path):
    """Sentences of a CoNLL file as text."""
    return [[row.text for row in data.read_conll(path)[:COUNT]]]


@dataclasses.dataclass(frozen=True)
class Case:
    """A task with what its spec has besides, and where its inputs come from."""

    read: Callable
    path: str
    spec: dict
    vocab: str = "bert-base-uncased"


LONG = {"long_text": "windows", "stride": 24}
QA = {"measure": "squad", "stride": 24, "max_question_length": 24, "max_answer_length": 12, "n_best": 5}
CMRC = {**QA, "measure": "cmrc"}
CASES = {
    "classification": Case(
        lambda path: table(path, "text_a"),
        "chnsenticorp/dev.tsv",
        {"labels": ["差", "好"], "pair": False, **LONG},
        "bert-base-chinese",
    ),
    "classification of pairs": Case(
        lambda path: table(path, "#1 String", "#2 String"),
        "mrpc/dev.tsv",
        {"labels": ["0", "1"], "pair": True},
    ),
    "multi_label": Case(
        lambda path: table(path, "text"),
        "trec/dev.tsv",
        {"labels": list("abcd"), "pair": False, "threshold": 0.5},
    ),
    "regression": Case(
        lambda path: table(path, "sentence1", "sentence2"),
        "stsb-en/dev.tsv",
        {"pair": True, "mean": 2.6, "deviation": 1.5},
    ),
    "tagging": Case(
        sentences,
        "conll2003/dev.txt",
        {"tags": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "scheme": "BIO", "crf": True, **LONG},
    ),
    "question_answering": Case(questions, "squad-v1.1/dev.json", QA),
    "question_answering in Chinese": Case(
        questions, "cmrc2018/dev.json", {**QA, "measure": "cmrc"}, "bert-base-chinese"
    ),
    "embedding": Case(lambda path: table(path, "sentence1"), "stsb-en/dev.tsv", {"form": "scored"}),
    "multiple_choice": Case(choices, "squad-v1.1/dev.json", {}),
}
BLANKS = "fill_mask"  # has no pipeline: it belongs to no task that is fine-tuned
NAMES = [*CASES, BLANKS]


def random_weights(model):
    """Large enough for answers that differ; layer normalization keeps its own."""
    model.build()
    generator = np.random.default_rng(11)
    for weight in model.weights:
        if "layer_norm" not in weight.path:
            weight.assign(generator.normal(0, 0.2, weight.shape).astype(np.float32))
    return model


def config(vocab):
    sizes = {"hidden_dim": 32, "num_layers": 2, "num_heads": 2, "intermediate_dim": 64, "max_length": 64}
    return BertConfig(vocab_size=len(vocab), **sizes)


def keras_answers(task, model, rows, size=24):
    """What the task decodes of the model's own outputs, for padded batches in the order of the rows."""
    encoded = task.encode(rows, labelled=False)
    outputs = {}
    for start in range(0, len(encoded), size):
        ragged = {name: values[start : start + size] for name, values in encoded.inputs.items()}
        inputs = {name: values.to_tensor() for name, values in ragged.items()}
        inputs["padding_mask"] = tf.ones_like(ragged["token_ids"]).to_tensor()
        for name, values in task.predictions(model, inputs).items():
            outputs.setdefault(name, []).extend(values.numpy())
    return task.answers(rows, encoded, outputs)


def as_outputs(module, inputs, answers):
    """Plain answers as values of the outputs of `serving_default`."""
    given = iter(answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_answer_of_task", lambda *texts: dict(next(given)))
        return references(module, inputs)


def references(module, inputs):
    """What the Keras model says of each row alone, as values of the outputs of `serving_default`."""
    said = [module.reference(*map(to_bytes, row)) for row in zip(*inputs.values(), strict=True)]
    return {name: [row[name] for row in said] for name in said[0]}


def to_bytes(value):
    return value.encode() if isinstance(value, str) else [text.encode() for text in value]


@dataclasses.dataclass(frozen=True)
class Asked:
    """An exported model, what it is asked, and what is to be answered."""

    name: str
    folder: Path
    inputs: dict[str, list]
    dtypes: dict[str, str]
    keras: dict[str, list]
    pipeline: dict[str, list] | None

    def assert_same(self, answer, expected=None):
        """Texts and whole numbers exactly, other numbers to 1e-5 of the larger of 1 and their size."""
        expected = self.keras if expected is None else expected
        found = {name: _rectangle(answer[name], self.dtypes[name]) for name in answer}
        want = {name: _rectangle(expected[name], self.dtypes[name]) for name in expected}
        assert {len(values) for values in found.values()} == {COUNT}
        difference(want, found)  # raises


def write(folder, name, module, inputs, keras, pipeline):
    version = folder / name.replace(" ", "_") / "1"
    version.parent.mkdir(parents=True)
    # The self-test of an export has tests of its own; one sample is enough to warm the server up.
    first = {input_: [to_bytes(values[0])] for input_, values in inputs.items()}
    sample = {"signature": "serving_default", "inputs": first, "outputs": {}}
    saved_model._write(module, [sample], str(version))
    described = json.loads((version / "assets.extra/kbert.json").read_text())["signatures"]["serving_default"]
    dtypes = {output: spec["dtype"] for output, spec in described["outputs"].items()}
    return Asked(version.parent.name, version, inputs, dtypes, keras, pipeline)


def write_task(name, case, shared, folder):
    vocab_path = shared / f"data/vocab/{case.vocab}.txt"
    tokenizer = WordPieceTokenizer(vocab_path, lowercase=True)
    spec = {"name": name.split()[0], "max_length": 64, "lowercase": True, **case.spec}
    task = task_class(spec["name"])(spec, tokenizer)
    model = random_weights(task.blank_model(config(tokenizer.vocab)))
    save_folder(folder / "of kbert", model, task.spec, vocab_path)
    answering = kbert.pipeline(folder / "of kbert")
    columns = case.read(shared / "data" / case.path)
    keras = keras_answers(task, model, task.rows_of(*columns))
    module = text_module(task, model)
    said = answering(*columns)
    if name == "multiple_choice":  # the pipeline takes the questions last, as they may be left out
        texts, offered, asked = columns
        columns = [texts, asked, offered]
    inputs = dict(zip(module.inputs, columns, strict=True))
    return write(
        folder, name, module, inputs, as_outputs(module, inputs, keras), as_outputs(module, inputs, said)
    )


def write_blanks(shared, folder):
    """Sentences with every sixth word blanked out."""
    tokenizer = WordPieceTokenizer(shared / "data/vocab/bert-base-uncased.txt", lowercase=True)
    model = random_weights(BertPretrainer(config(tokenizer.vocab)))
    module = MaskFiller({"max_length": 64, "lowercase": True}, tokenizer, model)
    words = [row.text.split() for row in data.read_conll(shared / "data/conll2003/dev.txt")[:COUNT]]
    texts = [
        " ".join("[MASK]" if place % 6 == 2 else word for place, word in enumerate(row)) for row in words
    ]
    inputs = {"text": texts}
    return write(folder, BLANKS, module, inputs, references(module, inputs), None)


@pytest.fixture(scope="module")
def exports(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("every_task")
    written = {}
    for number, (name, case) in enumerate(CASES.items()):
        written[name] = write_task(name, case, shared, folder / str(number))
    return written | {BLANKS: write_blanks(shared, folder / "blanks")}


@pytest.fixture(scope="module")
def session_answers(exports, tmp_path_factory):
    """What a process without kbert and Keras answers, through the loader that TF Serving uses."""
    folder = tmp_path_factory.mktemp("session")
    asked = {name: {"folder": str(one.folder), "inputs": one.inputs} for name, one in exports.items()}
    (folder / "asked").write_text(json.dumps(asked))
    command = [sys.executable, "-I", str(HERE / "session_answers.py"), folder / "asked", folder / "answers"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "answers").read_text())


@pytest.fixture(scope="module")
def served(exports, tmp_path_factory):
    """One server of all models, in a process of its own."""
    folder = tmp_path_factory.mktemp("served")
    lines = [
        f"config {{ name: '{one.name}' base_path: '{one.folder.parent}' model_platform: 'tensorflow' }}"
        for one in exports.values()
    ]
    (folder / "models.config").write_text(f"model_config_list {{ {' '.join(lines)} }}")
    with server_process(None, folder, f"--model_config_file={folder / 'models.config'}") as server:
        yield server


@pytest.mark.parametrize("name", CASES)
def test_pipeline(exports, name):
    exports[name].assert_same(exports[name].pipeline)


@pytest.mark.parametrize("name", NAMES)
def test_answers_differ_from_text_to_text(exports, name):
    """Else the others would pass whatever was answered."""
    numbers = next(
        output
        for output in ("probabilities", "scores", "score", "embedding")
        if output in exports[name].keras
    )
    assert len({str(value) for value in exports[name].keras[numbers]}) > COUNT / 2


@pytest.mark.parametrize("name", NAMES)
def test_session(exports, session_answers, name):
    exports[name].assert_same(session_answers[name])


@pytest.mark.parametrize("name", NAMES)
def test_rest(exports, served, name):
    one = exports[name]
    url = f"http://{served.host}:{served.port}/v1/models/{one.name}:predict"
    request = urllib.request.Request(url, json.dumps({"inputs": one.inputs}).encode())
    with urllib.request.urlopen(request, timeout=100) as response:
        outputs = json.load(response)["outputs"]
    one.assert_same(outputs)


@pytest.mark.parametrize("name", NAMES)
def test_grpc(exports, served, name):
    one = exports[name]
    request = predict_pb2.PredictRequest()
    request.model_spec.name = one.name
    for field, values in one.inputs.items():
        request.inputs[field].CopyFrom(tf.make_tensor_proto(values, tf.string))
    with grpc.insecure_channel(served.grpc_address) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=100)
    answer = {field: tf.make_ndarray(proto) for field, proto in response.outputs.items()}
    one.assert_same({field: plain(values) for field, values in answer.items()})
