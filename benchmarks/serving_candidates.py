"""The models and the candidates of serving.py: ways from texts to the probabilities of their labels.

Each candidate is a context manager of the folder that `write_models` has filled and of the number of threads;
it gives a function of a list of texts.
"""

import contextlib
import pathlib

import numpy as np
from serve_process import ServeProcess, grpc_client, rest_client  # beside this file

LABELS = ["negative", "positive"]
#: Longest sequence in pieces, everywhere.
MAX_LENGTH = 128


def write_models(init, work):
    """The encoder in `init` with one head, as a folder of transformers, as ONNX, and as kbert's export."""
    _write_peer_models(init, work)
    _write_export(work)


def _write_peer_models(init, work):
    """The classifier as a folder of transformers, and as an ONNX file."""
    import torch
    import transformers

    torch.manual_seed(1)
    load = transformers.BertForSequenceClassification.from_pretrained
    model = load(init, num_labels=len(LABELS), attn_implementation="eager").eval()
    # As drawn, all probabilities would be near one half.
    model.classifier.weight.data.normal_(std=0.3)
    model.save_pretrained(f"{work}/transformers")
    vocab = pathlib.Path(init, "vocab.txt").read_bytes()
    pathlib.Path(work, "transformers/vocab.txt").write_bytes(vocab)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = tuple(torch.ones([2, 7], dtype=torch.int64) for _ in names)
    axes = {name: {0: "batch", 1: "length"} for name in names}
    file = f"{work}/model.onnx"
    # The older exporter; the newer one needs onnxscript.
    options = {"input_names": names, "dynamic_axes": axes, "opset_version": 17, "dynamo": False}
    torch.onnx.export(model, inputs, file, **options)


def _write_export(work):
    """The same weights as an export of kbert."""
    from kbert import checkpoints
    from kbert.export import export, text_module
    from kbert.tasks import task_class
    from kbert.text import WordPieceTokenizer

    spec = {"name": "classification", "labels": LABELS, "pair": False}
    spec |= {"max_length": MAX_LENGTH, "lowercase": True}
    tokenizer = WordPieceTokenizer(f"{work}/transformers/vocab.txt", lowercase=True)
    model = checkpoints.load(f"{work}/transformers")
    export(text_module(task_class("classification")(spec, tokenizer), model), f"{work}/export")


@contextlib.contextmanager
def saved_model(work, threads):
    """The export in a session of TensorFlow."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads)
    with tf.compat.v1.Session(graph=tf.Graph(), config=config) as session, session.graph.as_default():
        loader = tf.compat.v1.saved_model.loader
        graph = loader.load(session, ["serve"], f"{work}/export/1")
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
def onnx_runtime(work, threads):
    """ONNX Runtime on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(f"{work}/model.onnx", options, ["CPUExecutionProvider"])
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
    "REST": rest,
    "gRPC": grpc,
    "ONNX Runtime": onnx_runtime,
    "transformers": transformers_torch,
    "transformers bfloat16": lambda work, threads: transformers_torch(work, threads, bfloat16=True),
}
