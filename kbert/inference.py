"""From Python: a model folder answers texts."""

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from kbert import features
from kbert.checkpoints import find_vocab, load, read_spec
from kbert.data import EncodedTexts, Example, encode, evaluation_batches
from kbert.errors import InputError
from kbert.evaluation import decode_labels
from kbert.text import WordPieceTokenizer


def predict_logits(model: keras.Model, encoded: EncodedTexts, batch_size: int = 32) -> np.ndarray:
    """The model's logits for every row, in the order of the rows.

    Args:
        model: Returns a dict with `logits` (B, C).
        encoded: Of `kbert.data.encode`.
        batch_size: Rows at a time; rows of like length go together.

    Returns:
        float32 (rows, C).
    """

    @tf.function(reduce_retracing=True)
    def step(inputs):
        return model(inputs, training=False)[features.LOGITS]

    parts, order = [], []
    for rows, inputs, _ in evaluation_batches(encoded, batch_size):
        parts.append(step(inputs).numpy())
        order.append(rows.numpy())
    logits = np.concatenate(parts)
    logits[np.concatenate(order)] = logits.copy()
    return logits


class TextClassification:
    """Labels texts, or pairs of texts, with a fine-tuned classifier.

    Args:
        model_dir: Made by `tf_scripts/finetune.py`.

    Call arguments:
        texts: One string, or a sequence of them.
        pairs: As many second texts, for a model of pairs; else None.

    Returns:
        One dict of `label`, `label_id`, `score` and `probabilities` a text, in a list; for one string,
        the dict alone.

    Raises:
        InputError: The folder holds no classifier; pairs are missing, or given to a model of single texts.
    """

    def __init__(self, model_dir: str | os.PathLike):
        task = read_spec(model_dir).get("task")
        if not task or task["name"] != "classification":
            raise InputError(
                f"{model_dir}: holds no fine-tuned classifier; make one with tf_scripts/finetune.py"
            )
        self.task = task
        vocab_path = find_vocab(model_dir)
        if vocab_path is None:
            raise InputError(
                f"{model_dir}: vocab.txt is missing; copy the one the model was trained with there"
            )
        self.model = load(model_dir)
        self.tokenizer = WordPieceTokenizer(vocab_path, lowercase=task["lowercase"])

    def __call__(self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None):
        """Answers the texts; see the class."""
        if (pairs is not None) != self.task["pair"]:
            kind = "pairs of texts" if self.task["pair"] else "single texts"
            raise InputError(
                f"this model was fine-tuned on {kind}; {'no ' if pairs is None else ''}pairs came"
            )
        if isinstance(texts, str):
            return self([texts], None if pairs is None else [str(pairs)])[0]
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"{len(texts)} texts and {len(pairs)} pairs came; expected as many of both")
        if not texts:
            return []
        seconds = pairs if pairs is not None else [None] * len(texts)
        examples = [Example(a, b, None, "texts") for a, b in zip(texts, seconds, strict=True)]
        encoded = self.encode(examples, labels=())
        return decode_labels(predict_logits(self.model, encoded), self.task["labels"])

    def encode(self, examples: Sequence[Example], labels: Sequence[str]) -> EncodedTexts:
        """The examples as this model wants them; `labels` is empty where theirs do not matter."""
        return encode(
            examples, self.tokenizer, self.task["max_length"], labels=labels, paired=self.task["pair"]
        )


def pipeline(model_dir: str | os.PathLike) -> TextClassification:
    """The callable that fits the task of a model folder: `kbert.pipeline(model_dir)(texts)`.

    Raises:
        InputError: The folder holds no fine-tuned model.
    """
    return TextClassification(model_dir)
