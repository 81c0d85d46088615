"""The models and the candidates of serving.py: ways from texts to the probabilities of their labels.

Each candidate is a context manager of the folder that `write_models` has filled and of the number of threads;
it gives a function of a list of texts.
"""

import contextlib
import functools
import importlib.util

import numpy as np
from absl import logging
from serve_process import ServeProcess, grpc_client, rest_client  # beside this file
from speed import limits

LABELS = ["negative", "positive"]
#: Longest sequence in pieces, everywhere.
MAX_LENGTH = 128
#: The packages of the peers; torch writes the model that ONNX Runtime loads.
TORCH = ("torch", "transformers")
ONNX = (*TORCH, "onnx", "onnxruntime")


def lacking(packages):
    """Those of the packages that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


@functools.cache
def too_slow():
    """Candidates that would take hours on a processor without instructions for bfloat16; they are logged."""
    if lacking(["torch"]) or limits.torch_bfloat16_slowdown() < limits.TOO_SLOW:
        return ()
    logging.info("without transformers bfloat16: torch is far slower in it on this processor")
    return ("transformers bfloat16",)


def write_models(init, work, texts):
    """The encoder in `init` with one head, as kbert's export, as a folder of transformers, and as ONNX.

    The last one is left out where one of its packages is missing. The export is there in bfloat16 too, and
    export and ONNX in 8 bits; kbert measures the ranges on `texts`, ONNX Runtime with each request.
    """
    from kbert import checkpoints
    from kbert.data import evaluation_batches
    from kbert.export import export, text_module
    from kbert.models import in_int8

    task, model = write_export(init, f"{work}/export")
    checkpoints.save_folder(f"{work}/kbert", model, task.spec, f"{init}/vocab.txt")
    checkpoints.convert(f"{work}/kbert", f"{work}/transformers", "huggingface")
    encoded = task.encode(task.rows_of(texts), labelled=False)
    small = in_int8(model, [inputs for _, inputs, _ in evaluation_batches(encoded, 32)])
    export(text_module(task, small), f"{work}/export-int8")
    export(text_module(task, model, precision="bfloat16"), f"{work}/export-bfloat16")
    if not lacking(ONNX):
        _write_onnx(work)


def write_export(init, folder):
    """The encoder in `init` with one head, as kbert's export; gives the task and the model."""
    from kbert import checkpoints
    from kbert.export import export, text_module
    from kbert.models import BertClassifier
    from kbert.tasks import task_class
    from kbert.text import WordPieceTokenizer

    spec = {"name": "classification", "labels": LABELS, "pair": False}
    spec |= {"max_length": MAX_LENGTH, "lowercase": True}
    task = task_class("classification")(spec, WordPieceTokenizer(f"{init}/vocab.txt", lowercase=True))
    model = BertClassifier(checkpoints.read_config(init), len(LABELS))
    model.build()
    checkpoints.load_encoder_into(model, init)
    _enlarge_head(model)
    export(text_module(task, model), folder)
    return task, model


def _enlarge_head(model):
    """As drawn, all probabilities would be near one half."""
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        if "/bert/" not in f"/{weight.path}" and len(weight.shape) == 2:
            weight.assign(rng.normal(0, 0.3, weight.shape))


def _write_onnx(work):
    """The folder of transformers as an ONNX file."""
    import torch
    import transformers

    load = transformers.BertForSequenceClassification.from_pretrained
    model = load(f"{work}/transformers", attn_implementation="eager").eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = tuple(torch.ones([2, 7], dtype=torch.int64) for _ in names)
    axes = {name: {0: "batch", 1: "length"} for name in names}
    file = f"{work}/model.onnx"
    # The older exporter; the newer one needs onnxscript.
    options = {"input_names": names, "dynamic_axes": axes, "opset_version": 17, "dynamo": False}
    torch.onnx.export(model, inputs, file, **options)
    quantize = importlib.import_module("onnxruntime.quantization").quantize_dynamic
    quantize(file, f"{work}/model-int8.onnx")


@contextlib.contextmanager
def saved_model(work, threads, name="export"):
    """The export in a session of TensorFlow."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads)
    with tf.compat.v1.Session(graph=tf.Graph(), config=config) as session, session.graph.as_default():
        loader = tf.compat.v1.saved_model.loader
        graph = loader.load(session, ["serve"], f"{work}/{name}/1")
        signature = graph.signature_def["serving_default"]
        fetches = {name: info.name for name, info in signature.outputs.items()}
        place = signature.inputs["text"].name
        # Runs are prepared once, as TF Serving does; all outputs are computed.
        run = session.make_callable(list(fetches.values()), [place])
        number = list(fetches).index("probabilities")
        yield lambda texts: run(np.array([text.encode() for text in texts], object))[number]


@contextlib.contextmanager
def rest(work, threads):
    """JSON over HTTP."""
    with ServeProcess(f"{work}/export", threads) as server:
        ask = rest_client(server)
        yield lambda texts: [row["probabilities"] for row in ask(texts)]


@contextlib.contextmanager
def grpc(work, threads):
    """Predict over gRPC, with the messages of tensorflow-serving-api."""
    with ServeProcess(f"{work}/export", threads) as server:
        ask = grpc_client(server)
        yield lambda texts: ask(texts)["probabilities"]


def _peer_tokenizer(work):
    """Function of texts to padded int64 arrays by name."""
    import transformers

    tokenizer = transformers.BertTokenizerFast(f"{work}/transformers/vocab.txt", do_lower_case=True)
    options = {"padding": True, "truncation": True, "max_length": MAX_LENGTH}
    return lambda texts, kind: tokenizer(texts, return_tensors=kind, **options)


@contextlib.contextmanager
def onnx_runtime(work, threads, name="model"):
    """ONNX Runtime on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(f"{work}/{name}.onnx", options, ["CPUExecutionProvider"])
    encode = _peer_tokenizer(work)

    def answer(texts):
        (logits,) = session.run(None, dict(encode(texts, "np")))
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        return odds / odds.sum(-1, keepdims=True)

    yield answer


@contextlib.contextmanager
def transformers_torch(work, threads, bfloat16=False):
    """Torch's own forward pass, with its fused attention."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    load = transformers.BertForSequenceClassification.from_pretrained
    model = load(f"{work}/transformers").eval()
    encode = _peer_tokenizer(work)

    def answer(texts):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return model(**encode(texts, "pt")).logits.float().softmax(-1).numpy()

    yield answer


CANDIDATES = {
    "SavedModel": saved_model,
    "SavedModel bfloat16": lambda work, threads: saved_model(work, threads, "export-bfloat16"),
    "SavedModel int8": lambda work, threads: saved_model(work, threads, "export-int8"),
    "REST": rest,
    "gRPC": grpc,
    "ONNX Runtime": onnx_runtime,
    "ONNX Runtime int8": lambda work, threads: onnx_runtime(work, threads, "model-int8"),
    "transformers": transformers_torch,
    "transformers bfloat16": lambda work, threads: transformers_torch(work, threads, bfloat16=True),
}
