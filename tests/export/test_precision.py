"""Exports in bfloat16 and in 8 bits: near the answers in float32, and what the self-test still finds."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kbert.checkpoints import save_folder
from kbert.config import BertConfig
from kbert.data import evaluation_batches
from kbert.errors import InputError
from kbert.export import export, self_test, text_module
from kbert.models import in_int8
from kbert.quantization import quantized
from kbert.tasks import Columns, task_class
from tests.export.conftest import LABELS, MAX_LENGTH, WORDS
from tests.export.test_export_model_script import run

pytestmark = pytest.mark.serving

RNG = np.random.default_rng(3)
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(2, 30))) for _ in range(64)]
SPECS = {
    "classification": {"labels": LABELS, "pair": False},
    "tagging": {"tags": ["O", "B-A", "I-A"], "scheme": "BIO", "crf": False, "long_text": "windows"},
    "embedding": {"form": "scored"},
    "question_answering": {
        "measure": "squad",
        "stride": 8,
        "max_question_length": 9,
        "max_answer_length": 5,
        "n_best": 20,
    },
}


@pytest.fixture
def make(tokenizer):
    """Function of a task's name and more of its spec, to it and a model of weights as of a trained one."""

    def make(name, **more):
        spec = {"name": name, "max_length": MAX_LENGTH, "lowercase": True, **SPECS.get(name, {}), **more}
        task = task_class(name)(spec, tokenizer)
        config = BertConfig(
            vocab_size=len(tokenizer.vocab), hidden_dim=32, num_layers=2, num_heads=2,
            intermediate_dim=64, max_length=48,
        )  # fmt: skip
        model = task.blank_model(config)
        model.build()
        generator = np.random.default_rng(3)
        for weight in model.weights:
            if "layer_norm" not in weight.path:
                weight.assign(generator.normal(0, 0.25, weight.shape))
        return task, model

    return make


def encoder_inputs(tokenizer):
    """Rows of ids, as the encoder takes them; what they were made for is no matter to it."""
    task = task_class("classification")(
        {"name": "classification", "max_length": MAX_LENGTH, "lowercase": True, **SPECS["classification"]},
        tokenizer,
    )
    encoded = task.encode(task.rows_of(TEXTS), labelled=False)
    return [inputs for _, inputs, _ in evaluation_batches(encoded, 16)]


def description_of(version):
    with open(f"{version}/assets.extra/kbert.json", encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_a_precision_that_would_not_be_kept_is_refused(make, precision):
    task, model = make("classification")
    with pytest.raises(InputError, match=f"precision='{precision}'; expected float32 or bfloat16; .*in_int8"):
        text_module(task, model, precision=precision)


def test_adapters_are_to_be_merged_first(make):
    task, model = make("classification")
    model.enable_lora(2)
    for refused in (
        lambda: quantized(task, model, task.rows_of(TEXTS)),
        lambda: text_module(task, model, precision="bfloat16"),
    ):
        with pytest.raises(InputError, match=r"LoRA adapters of rank 2; call model.merge_lora\(\)"):
            refused()


def nodes_of(graph):
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def kernels_kept(nodes):
    """Whether products in 8 bits take their weights for constants: True, False, or both."""
    products = [node for node in nodes if node.op == "_QuantizedMatMul"]
    flags = [node.attr.get(name) for node in products for name in ("is_weight_const", "is_bias_const")]
    return {flag is None or flag.b for flag in flags}  # A SavedModel leaves out what is true by default.


@pytest.mark.slow
def test_an_export_of_keras_takes_8_bit_kernels_for_constants_too(make, tokenizer, tmp_path):
    _, model = make("classification")
    in_int8(model, encoder_inputs(tokenizer)).export(tmp_path, verbose=False)
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    assert kernels_kept(nodes_of(saved.meta_graphs[0].graph_def)) == {True}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_every_kind_of_task_passes_the_self_test(make, tokenizer, tmp_path, name, precision):
    task, model = make(name)
    if precision == "int8":
        module = text_module(task, in_int8(model, encoder_inputs(tokenizer)))
    else:
        module = text_module(task, model, precision=precision)
    version = export(module, tmp_path)
    assert description_of(version)["precision"] == module.precision == precision
    nodes = nodes_of(self_test.Export(version).meta_graph.graph_def)
    kinds = {node.attr["T"].type for node in nodes if node.op == "MatMul"}
    assert kernels_kept(nodes) == ({True} if precision == "int8" else set())
    assert (tf.bfloat16.as_datatype_enum in kinds) == (precision == "bfloat16")


def test_answers_are_near_those_in_float32(make, tokenizer):
    task, model = make("classification")
    small = text_module(task, in_int8(model, encoder_inputs(tokenizer)))
    texts = tf.constant(TEXTS)
    want, have = (
        np.array(module.answer(texts)["probabilities"]) for module in (text_module(task, model), small)
    )
    gap = np.abs(want - have)
    assert want.std(0).max() > 0.05
    assert 0 < gap.mean() < 0.02 and gap.max() < 0.1


def test_scores_of_both_are_told(make, tmp_path, caplog):
    task, model = make("classification")
    file = tmp_path / "rows.tsv"
    labels = [LABELS[number % 3] for number in range(len(TEXTS))]
    lines = [f"{text}\t{label}" for text, label in zip(TEXTS, labels, strict=True)]
    file.write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
    rows = task.read(str(file), Columns())
    small, scores = quantized(task, model, rows)
    assert small.bert.int8 and set(scores) == {"float32", "int8"}
    others = rows[32:]
    from kbert.inference import Predictor

    encoded = task.encode(others)
    want = task.scores(others, task.answers(others, encoded, Predictor(task, model)(encoded)))
    assert scores["float32"] == want
    assert abs(scores["int8"]["accuracy"] - want["accuracy"]) <= 0.1
    with pytest.raises(ValueError, match="1 rows to measure 8-bit ranges on"):
        quantized(task, model, rows[:1])


@pytest.mark.slow
def test_the_script_writes_8_bits(make, tokenizer, tmp_path):
    task, model = make("classification")
    tokenizer.vocab.write(tmp_path / "vocab.txt")
    save_folder(tmp_path / "model", model, task.spec, tmp_path / "vocab.txt")
    lines = [f"{LABELS[number % 3]}\t{text}" for number, text in enumerate(TEXTS)]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    folders = [f"--model_dir={tmp_path}/model", f"--export_dir={tmp_path}/served"]
    calibration = f"--calibration_data={tmp_path}/rows.tsv"
    done = run(*folders, "--precision=int8", calibration, "--columns=label,text")
    assert done.returncode == 0, done.stderr
    assert "in 8 bits (in float32), on 32 other rows: accuracy 0." in done.stderr
    assert description_of(tmp_path / "served/1")["precision"] == "int8"
    plain = run(*folders)
    weights = [description_of(tmp_path / f"served/{version}")["weights"]["bytes"] for version in (1, 2)]
    assert plain.returncode == 0 and weights[0] < 0.8 * weights[1]


@pytest.mark.slow
def test_the_script_reads_rows_as_those_of_training_were(make, tokenizer, tmp_path):
    task, model = make("multi_label", labels=LABELS, pair=False, threshold=0.5, separator=";")
    tokenizer.vocab.write(tmp_path / "vocab.txt")
    save_folder(tmp_path / "model", model, task.spec, tmp_path / "vocab.txt")
    lines = [f"{LABELS[number % 3]};{LABELS[(number + 1) % 3]}\t{text}" for number, text in enumerate(TEXTS)]
    (tmp_path / "rows.tsv").write_text("\n".join(["labels\ttext", *lines]) + "\n", encoding="utf-8")
    done = run(
        f"--model_dir={tmp_path}/model",
        f"--export_dir={tmp_path}/served",
        "--precision=int8",
        f"--calibration_data={tmp_path}/rows.tsv",
    )
    assert done.returncode == 0, done.stderr
    assert "in 8 bits (in float32), on 32 other rows: micro_f1 " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision=int8"], "--precision=int8 needs --calibration_data=FILE"),
        (["--calibration_data=rows.tsv"], "--calibration_data is for --precision=int8, not for float32"),
    ],
)
def test_wrong_flags_are_one_line(tmp_path, flags, message):
    done = run(f"--model_dir={tmp_path}", f"--export_dir={tmp_path}/out", *flags)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def answers(*scores):
    return {"score": np.array(scores, np.float32), "label": np.array([f"{s > 0.5}" for s in scores], object)}


def test_one_row_in_five_may_be_decided_otherwise_where_numbers_are_coarse():
    want = answers(*[0.6] * 20)
    near, far = answers(*[0.49] * 4, *[0.62] * 16), answers(*[0.49] * 5, *[0.62] * 15)
    comparison = self_test.Comparison("int8")
    comparison.add(want, near)
    assert comparison.largest() == pytest.approx(0.02, rel=1e-3)
    with pytest.raises(self_test.Failure, match="differs by 0.11"):
        self_test.Comparison("int8").add(want, far)
    few = self_test.Comparison("bfloat16")
    few.add(answers(0.6, 0.6), answers(0.6, 0.4))
    with pytest.raises(self_test.Failure):
        few.largest()
    with pytest.raises(self_test.Failure, match="differs by 0.02"):
        self_test.Comparison("float32").add(want, answers(*[0.62] * 20))


def test_what_multiplies_in_8_bits_belongs_into_such_exports_only():
    graph = tf.compat.v1.GraphDef(node=[tf.compat.v1.NodeDef(name="n", op="_QuantizedMatMul")])
    meta_graph = types.SimpleNamespace(graph_def=graph)
    self_test.check_ops(types.SimpleNamespace(meta_graph=meta_graph, precision="int8"))
    with pytest.raises(self_test.Failure, match="_QuantizedMatMul"):
        self_test.check_ops(types.SimpleNamespace(meta_graph=meta_graph, precision="float32"))
