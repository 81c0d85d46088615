"""A tiny model with the signatures of the recorded one, and a server of it: plain ops, no training."""

import pytest
import tensorflow as tf

from kbert.serving.server import LocalServer

LABELS = ["negative", "neutral", "positive"]
TEXT = tf.TensorSpec([None], tf.string)
IDS = tf.TensorSpec([None, None], tf.int32)


def _texts(*tensors):
    """What every exported signature begins with: rank 1, and equal batches."""
    tensors = [tf.ensure_shape(tensor, [None]) for tensor in tensors]
    for tensor in tensors[1:]:
        tf.debugging.assert_equal(tf.size(tensor), tf.size(tensors[0]), "unequal batches")
    return tensors


class TinyModel(tf.Module):
    """Answers that depend on the text's length and letters, through variables that must be restored."""

    def __init__(self):
        self.scale = tf.Variable([[0.37, -0.21, 0.13]])
        self.table = tf.Variable(tf.random.stateless_normal([29388, 3], seed=[1, 2]))

    def probabilities(self, text):
        length = tf.cast(tf.strings.length(text), tf.float32)
        letters = tf.cast(tf.strings.to_hash_bucket_fast(text, 97), tf.float32) / 97
        return tf.nn.softmax(length[:, None] * self.scale + letters[:, None])

    def counts(self, text):
        length = tf.strings.length(text)
        return {"num_tokens": length + 2, "truncated": length > 100}

    def words(self, text):
        return tf.strings.split(text).to_tensor("")

    @tf.function(input_signature=[TEXT])
    def predict(self, text):
        (text,) = _texts(text)
        probabilities = self.probabilities(text)
        label_id = tf.argmax(probabilities, -1, tf.int32)
        return {
            "label": tf.gather(LABELS, label_id),
            "label_id": label_id,
            "score": tf.reduce_max(probabilities, -1),
            "probabilities": probabilities,
            **self.counts(text),
        }

    @tf.function(input_signature=[TEXT, TEXT])
    def similarity(self, text, text_pair):
        text, text_pair = _texts(text, text_pair)
        score = self.probabilities(text)[:, 0] * self.probabilities(text_pair)[:, 1]
        return {"score": score, **self.counts(text)}

    @tf.function(input_signature=[IDS, IDS, IDS])
    def features(self, input_ids, segment_ids, input_mask):
        for tensor in (input_ids, segment_ids, input_mask):
            tf.ensure_shape(tensor, [None, None])
        real = tf.cast(input_mask, tf.float32)[..., None] + tf.cast(segment_ids, tf.float32)[..., None]
        return {"probabilities": tf.nn.softmax(tf.reduce_sum(tf.gather(self.table, input_ids) * real, 1))}

    @tf.function(input_signature=[TEXT])
    def tag(self, text):
        (text,) = _texts(text)
        words = self.words(text)
        empty = words == ""
        ends = tf.where(empty, -1, tf.strings.length(words))
        return {
            "words": words,
            "tags": tf.where(empty, "", "B-PER"),
            "scores": tf.where(empty, 0.0, tf.cast(ends, tf.float32) / 7),
            "starts": tf.where(empty, -1, 0),
            "ends": ends,
            "num_words": tf.reduce_sum(tf.cast(~empty, tf.int32), -1),
            "truncated": self.counts(text)["truncated"],
        }

    @tf.function(input_signature=[TEXT])
    def fill_mask(self, text):
        (text,) = _texts(text)
        num_masks = tf.size(self.words(text)[:1]) // 3
        scores = tf.tile(1e-5 * self.probabilities(text)[:, :1, None], [1, num_masks, 5])
        return {
            "scores": scores,
            "tokens": tf.fill(tf.shape(scores), "##x"),
            "token_ids": tf.fill(tf.shape(scores), 7),
            "num_masks": tf.ones_like(text, tf.int32),
            "truncated": self.counts(text)["truncated"],
        }

    @tf.function(input_signature=[TEXT])
    def embed(self, text):
        (text,) = _texts(text)
        return {"embedding": tf.tile(self.probabilities(text), [1, 11])[:, :32], **self.counts(text)}

    @tf.function(input_signature=[TEXT])
    def tokenize(self, text):
        (text,) = _texts(text)
        words = self.words(text)
        return {"input_ids": tf.strings.length(words), "tokens": words, **self.counts(text)}

    @tf.function(input_signature=[TEXT, TEXT])
    def answer(self, question, context):
        question, context = _texts(question, context)
        length = tf.strings.length(context)
        score = tf.cast(length, tf.float32)
        return {
            "answer": context,
            "score": score,
            "null_score": -score,
            "start": length * 0,
            "end": length,
            "num_windows": tf.ones_like(length),
            "truncated": length > 100,
        }

    @tf.function(input_signature=[TEXT])
    def classify(self, inputs):
        text = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        scores = self.probabilities(text)
        return {"classes": tf.tile([LABELS], [tf.size(text), 1]), "scores": scores}

    @tf.function(input_signature=[TEXT])
    def regress(self, inputs):
        text = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        return {"outputs": self.probabilities(text)[:, 0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def raw(self, text):
        return {"echo_bytes": text, "echo": text, "number": tf.cast(tf.strings.length(text), tf.float64) / 3}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32), tf.TensorSpec([None], tf.int64)])
    def numbers(self, x, n):
        return {"x": x, "n": n}


RECORDED = (
    "similarity",
    "features",
    "tag",
    "fill_mask",
    "embed",
    "tokenize",
    "answer",
    "classify",
    "regress",
)


def write_tiny_model(version_folder, default="predict"):
    """Saves the tiny model; `default` is what answers where no signature is named."""
    module = TinyModel()
    names = {"serving_default": default, **{name: name for name in RECORDED}}
    signatures = {signature: getattr(module, name) for signature, name in names.items()}
    tf.saved_model.save(module, str(version_folder), signatures=signatures)


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory):
    """A folder with version 1 of the tiny model, and things beside it that are no versions."""
    folder = tmp_path_factory.mktemp("served") / "k"
    write_tiny_model(folder / "1")
    (folder / ".tmp-7").mkdir()
    (folder / "notes").mkdir()
    (folder / "9").write_text("a file is no version")
    return folder


@pytest.fixture(scope="session")
def server(tiny_export):
    labels = {"stable": 1}  # as the recorded server had it
    with LocalServer(tiny_export, "k", labels=labels, rest_port=0, grpc_port=0) as running:
        yield running
