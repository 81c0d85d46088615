"""Models of all kinds whose answers are known: constants, whatever the text."""

import numpy as np
import tensorflow as tf

from kbert.serving.model_configs import ModelConfig

NAMES_TEXT = "😀 Ada Lovelace met 👍🏽 Bo in Paris."
_WORDS = ["😀", "Ada", "Lovelace", "met", "👍🏽", "Bo", "in", "Paris", "."]
_TAGS = ["O", "B-PER", "I-PER", "O", "O", "B-PER", "O", "I-LOC", "O"]
_STARTS = [0, 2, 6, 15, 19, 22, 25, 28, 33]

PASSAGE = "𝒜 passage: it was written by Li Bai, not by Du Fu."
ANSWERS = {
    "answers": ["Li Bai", "Du Fu", "", ""],
    "scores": [5.5, 3.25, -1.0, 0.0],
    "probabilities": [0.75, 0.2, 0.05, 0.0],
    "starts": [29, 44, -1, -1],
    "ends": [35, 49, -1, -1],
    "num_answers": 3,
}
TOKENS = ["[CLS]", "new", "york", "[SEP]", "", ""]
_WEIGHTS = (np.arange(3 * 2 * 6 * 6).reshape(3, 2, 6, 6) * 37 % 25 / 100).astype(np.float32)
_WEIGHTS[:, :, 4:] = _WEIGHTS[:, :, :, 4:] = 0.0
ATTENTION = _WEIGHTS.tolist()
_CLASSIFY = (["inputs"], {"classes": ["bad", "good"], "scores": [0.125, 0.875]})
_COUNTED = {"num_tokens": 9, "truncated": False}

#: Model -> signature -> names of inputs, and the answer to each row.
MODELS = {
    "many": {
        "serving_default": (
            ["text"], {"probabilities": [0.625, 0.25], "predicted": [True, False], **_COUNTED}
        ),
    },
    "names": {
        "serving_default": (
            ["text"],
            {
                "words": [*_WORDS, ""], "tags": [*_TAGS, ""], "scores": [0.5, *[0.75] * 8, 0.0],
                "starts": [*_STARTS, -1],
                "ends": [*(start + len(word) for start, word in zip(_STARTS, _WORDS, strict=True)), -1],
                "num_words": 9, "truncated": True,
            },
        ),
    },
    "answers": {
        "serving_default": (
            ["question", "context"],
            {
                "answer": "Li Bai", "score": 5.5, "probability": 0.75, "null_score": -1.0, "start": 29,
                "end": 35, "num_windows": 2, "truncated": False,
            },
        ),
        "nbest": (["question", "context"], ANSWERS),
    },
    "looking": {
        "serving_default": (
            ["text", "text_pair"],
            {"label": "good", "label_id": 1, "score": 0.875, "probabilities": [0.125, 0.875], **_COUNTED},
        ),
        "classify": _CLASSIFY,
        "attention": (
            ["text", "text_pair"],
            {"tokens": TOKENS, "attention": ATTENTION, "num_tokens": 4, "truncated": False},
        ),
    },
    "blanks": {
        "serving_default": (
            ["text"],
            {
                "tokens": [["city", "capital"], ["", ""]], "token_ids": [[5, 6], [-1, -1]],
                "scores": [[0.5, 0.25], [0.0, 0.0]], "num_masks": 1, **_COUNTED,
            },
        ),
    },
    "prices": {"serving_default": (["text"], {"score": 12.3456789, **_COUNTED})},
    "numbers": {"serving_default": (["text"], {"something": 0.5, "other": [1, 2]})},
}  # fmt: skip


def _signature(inputs, outputs):
    def answer(*texts):
        count = tf.size(texts[0])
        return {
            name: tf.tile(tf.constant(value)[tf.newaxis], [count, *[1] * tf.constant(value).shape.rank])
            for name, value in outputs.items()
        }

    specs = [tf.TensorSpec([None], tf.string, name=name) for name in inputs]
    return tf.function(answer, input_signature=specs, autograph=False).get_concrete_function()


def _embedder():
    spec = tf.TensorSpec([None], tf.string, name="text")

    def answer(text):
        length = tf.cast(tf.strings.length(text), tf.float32)
        return {
            "embedding": tf.stack([length, tf.ones_like(length)], axis=1),
            "num_tokens": tf.strings.length(text),
        }

    return tf.function(answer, input_signature=[spec], autograph=False).get_concrete_function()


def _chooser():
    specs = [tf.TensorSpec([None], tf.string, name=name) for name in ("text", "question")]
    specs.append(tf.TensorSpec([None, None], tf.string, name="choices"))

    def answer(text, question, choices):
        size = tf.cast(tf.strings.length(choices), tf.float32)
        probabilities = size / tf.reduce_sum(size, axis=1, keepdims=True)
        best = tf.argmax(probabilities, axis=1, output_type=tf.int32)
        choice = tf.gather(choices, best, batch_dims=1)
        return {
            "choice": choice,
            "choice_id": best,
            "probabilities": probabilities,
            "text": text,
            "q": question,
        }

    return tf.function(answer, input_signature=specs, autograph=False).get_concrete_function()


def write_models(folder):
    """Saves all models; gives their configurations."""
    signatures = {
        model: {name: _signature(*described) for name, described in all_of.items()}
        for model, all_of in MODELS.items()
    }
    signatures["alike"] = {"serving_default": _embedder()}
    signatures["choices"] = {"serving_default": _chooser()}
    for model, all_of in signatures.items():
        tf.saved_model.save(tf.Module(), str(folder / model / "1"), signatures=all_of)
    return [ModelConfig(model, folder / model) for model in signatures]
