"""The graphs of the tasks on texts and pairs: one label, several labels, a number."""

import abc
from typing import Any, NamedTuple

import tensorflow as tf

from kbert import features
from kbert.errors import InputError
from kbert.export.examples import example_requests, parse_examples, texts_of_example
from kbert.export.text_module import Signature, TextModule, checked_texts
from kbert.export.window_pooling import pool_classes, pool_numbers
from kbert.text import cut_windows, pack

#: Of one text; what is beyond them is not read, so that one request cannot keep a server busy for long.
MAX_WINDOWS = 32


class Read(NamedTuple):
    """Texts as the model has read them.

    Args:
        logits: float32 (W, C), of each window; of each text where they are not cut.
        owner: int32 (W), which text the window is cut from.
        counted: `num_tokens` int32 (B,), pieces that were read and special tokens of one sequence;
            `truncated` bool (B,).
    """

    logits: tf.Tensor
    owner: tf.Tensor
    counted: dict[str, tf.Tensor]


class TextAnswers(TextModule):
    """The graph of a task on texts or pairs; the base class of such graphs.

    Signatures beside `serving_default` and `tokenize`: one for TF Serving's own API, whose input `inputs` are
    serialized `tf.train.Example`s with the features `text` and, of pairs, `text_pair`.
    """

    #: Name of the signature for TF Serving's own API.
    example_signature: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the texts that a request gives."""
        return (features.TEXT, features.TEXT_PAIR) if self.task["pair"] else (features.TEXT,)

    @abc.abstractmethod
    def answer_examples(self, answers: dict[str, Any]) -> dict[str, Any]:
        """What `example_signature` gives, of what `serving_default` gives; for tensors of a batch."""

    @abc.abstractmethod
    def example_reference(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The same for the plain values of one row."""

    def contract(self):
        def answer(inputs):
            (inputs,) = checked_texts(inputs)
            return self.answer_examples(self.answer(*parse_examples(inputs, self.inputs)))

        def reference(example):
            return self.example_reference(self.reference(*texts_of_example(example, self.inputs)))

        inputs = (tf.TensorSpec([None], tf.string, name="inputs"),)
        requests = example_requests(self.inputs, self.max_length)
        return super().contract() | {
            self.example_signature: Signature(inputs, answer, reference, requests),
        }

    def read(self, *texts) -> Read:
        """Tokenizer, windows or truncation, and the model.

        Args:
            *texts: string (B,).
        """
        texts = checked_texts(*texts)
        ids, too_long = zip(*map(self._ids, texts), strict=True)
        vocab, count = self.tokenizer.vocab, tf.size(texts[0])
        if self._in_windows:
            kept = ids[0][:, : self._most_pieces]
            windows = cut_windows(
                kept,
                max_length=self.max_length,
                stride=self._stride,
                cls_id=vocab.cls_id,
                sep_id=vocab.sep_id,
            )
            token_ids, segment_ids, owner = windows.token_ids, windows.segment_ids, windows.owner
            num_tokens = kept.row_lengths() + 2
            truncated = ids[0].row_lengths() > self._most_pieces
        else:
            token_ids, segment_ids, truncated = pack(
                *ids, max_length=self.max_length, cls_id=vocab.cls_id, sep_id=vocab.sep_id
            )
            num_tokens, owner = token_ids.row_lengths(), tf.range(count)
        for cut in too_long:
            truncated |= cut
        logits = self._output(features.LOGITS, token_ids, segment_ids)
        counted = {"num_tokens": tf.cast(num_tokens, tf.int32), "truncated": truncated}
        return Read(logits, owner, counted)

    def reference_of(self, *texts: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        """The task's own answer to one text or pair, and what is counted of it."""
        pieces = [self.tokenizer.tokenize([text[: self.max_text_bytes]])[0].numpy() for text in texts]
        total, room = sum(map(len, pieces)), self.max_length - 1 - len(texts)
        most = self._most_pieces if self._in_windows else room
        decoded = [self._decoded(text) for text in texts]
        if self._in_windows and total > most:
            # A text that ends with a piece is read as these pieces.
            decoded[0] = decoded[0][: self.tokenizer.tokenize_with_offsets(decoded)[2][0, most - 1].numpy()]
        counted = {
            "num_tokens": min(total, most) + 1 + len(texts),
            "truncated": total > most or any(len(text) > self.max_text_bytes for text in texts),
        }
        return self._answer_of_task(*decoded), counted

    @property
    def _in_windows(self) -> bool:
        return self.task["long_text"] == "windows"

    @property
    def _stride(self) -> int:
        return self.task["stride"] or max(1, (self.max_length - 2) // 2)

    @property
    def _most_pieces(self) -> int:
        return self.max_length - 2 + (MAX_WINDOWS - 1) * self._stride


class TextClassifier(TextAnswers):
    """One label for a text or a pair.

    `serving_default` gives `label` string (B,), `label_id` int32 (B,), `score` float32 (B,), the probability
    of that label, `probabilities` float32 (B, C) in the order of the labels, `num_tokens` int32 (B,) with the
    special tokens and `truncated` bool (B,). `classify`, for TF Serving's Classify, gives `classes` string
    (B, C) and `scores` float32 (B, C).
    """

    example_signature = "classify"

    def __init__(self, task, model, max_length=None, precision="float32"):
        _check_labels(task, model)
        super().__init__(task, model, max_length, precision)

    def answer(self, *texts):
        read = self.read(*texts)
        probabilities = pool_classes(
            tf.nn.softmax(read.logits), read.owner, tf.size(texts[0]), self.task["window_pooling"]
        )
        label_id = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return {
            "label": tf.gather(tf.constant(self.task["labels"]), label_id),
            "label_id": label_id,
            "score": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
            **read.counted,
        }

    def reference(self, *texts):
        answer, counted = self.reference_of(*texts)
        return {**answer, "probabilities": list(answer["probabilities"].values()), **counted}

    def answer_examples(self, answers):
        return _classes(self.task["labels"], answers["probabilities"])

    def example_reference(self, answer):
        return {"classes": list(self.task["labels"]), "scores": answer["probabilities"]}


class TextLabeller(TextAnswers):
    """All labels that apply to a text or a pair.

    `serving_default` gives `probabilities` float32 (B, C) and `predicted` bool (B, C), in the order of the
    labels, `num_tokens` and `truncated`; `classify` as of `TextClassifier`.
    """

    example_signature = "classify"

    def __init__(self, task, model, max_length=None, precision="float32"):
        _check_labels(task, model)
        super().__init__(task, model, max_length, precision)

    def answer(self, *texts):
        read = self.read(*texts)
        probabilities = pool_numbers(
            tf.sigmoid(read.logits), read.owner, tf.size(texts[0]), self.task["window_pooling"]
        )
        predicted = probabilities >= self.task["threshold"]
        return {"probabilities": probabilities, "predicted": predicted, **read.counted}

    def reference(self, *texts):
        answer, counted = self.reference_of(*texts)
        given = set(answer["label_ids"])
        return {
            "probabilities": list(answer["probabilities"].values()),
            "predicted": [number in given for number in range(len(self.task["labels"]))],
            **counted,
        }

    def answer_examples(self, answers):
        return _classes(self.task["labels"], answers["probabilities"])

    def example_reference(self, answer):
        return {"classes": list(self.task["labels"]), "scores": answer["probabilities"]}


class TextRegressor(TextAnswers):
    """A number for a text or a pair, in the units of the training file.

    `serving_default` gives `score` float32 (B,), `num_tokens` and `truncated`; `regress`, for TF Serving's
    Regress, gives `outputs` float32 (B,).
    """

    example_signature = "regress"

    def answer(self, *texts):
        read = self.read(*texts)
        pooled = pool_numbers(read.logits, read.owner, tf.size(texts[0]), self.task["window_pooling"])
        return {"score": pooled[:, 0] * self.task["deviation"] + self.task["mean"], **read.counted}

    def reference(self, *texts):
        answer, counted = self.reference_of(*texts)
        return {**answer, **counted}

    def answer_examples(self, answers):
        return {"outputs": answers["score"]}

    def example_reference(self, answer):
        return {"outputs": answer["score"]}


def _classes(labels: list[str], scores: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"classes": tf.broadcast_to(tf.constant(labels), tf.shape(scores)), "scores": scores}


def _check_labels(task, model) -> None:
    labels = task.spec["labels"]
    if len(labels) != model.num_classes or len(set(labels)) != len(labels):
        raise InputError(
            f"labels={labels}; the model has num_classes={model.num_classes}; expected one different label "
            f"for each class"
        )
