"""`AnswerFinder`: the graph that finds the part of a passage that answers a question."""

import dataclasses
import random
import string
from typing import Any, ClassVar

import tensorflow as tf

from kbert import features
from kbert.export.answer_decoding import cut_out, list_answers, possible_spans, softmax_of_real
from kbert.export.samples import TEXTS, requests
from kbert.export.text_answers import MAX_WINDOWS
from kbert.export.text_module import Signature, TextModule, checked_texts
from kbert.tasks.question_answering import window_settings
from kbert.text import Windows, cut_windows, ends_with_accents

_QUESTION, _CONTEXT = "question", "context"
_BEST = ("answer", "score", "probability", "null_score", "start", "end", "num_windows", "truncated")
_ALL = ("answers", "scores", "probabilities", "starts", "ends", "num_answers")


class AnswerFinder(TextModule):
    """The part of a passage that answers a question; or, if the task allows it, none.

    A request gives `question` and `context` string (B,). `serving_default` gives `answer` string (B,),
    `score` float32 (B,), `probability` float32 (B,) among the best answers, `null_score` float32 (B,), the
    score of no answer, `start` and `end` int32 (B,), where it stands in the context, in code points,
    `num_windows` int32 (B,), and `truncated` bool (B,), whether the question or the context lost its end.
    No answer is "", -1, -1.

    `nbest` gives `answers` string (B, K), the best first, `scores` and `probabilities` float32 (B, K),
    `starts` and `ends` int32 (B, K), and `num_answers` int32 (B,). K is the task's `n_best`, and one more
    where no answer is one of them. Behind the last answer of a row stand "", 0.0 and -1.

    A context ends with the last piece of window 32. A sequence of bytes that is no UTF-8 counts as one code
    point, U+FFFD.

    Raises:
        InputError: As `TextModule`, or a window of `max_length` has no room for the task's settings.

    Reference:
        `kbert.evaluation.decode_answer`.
    """

    inputs = (_QUESTION, _CONTEXT)
    max_text_bytes: ClassVar[int] = 1_000_000

    def __init__(self, task, model, max_length=None, precision="float32"):
        super().__init__(task, model, max_length, precision)
        settings = window_settings(self.task)
        self._stride, self._question_length = settings["stride"], settings["max_question_length"]
        nothing = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), [0])  # pyright: ignore[reportAttributeAccessIssue]
        self._cut(nothing, nothing)  # Refuses settings that do not fit.

    def contract(self):
        of_task = super().contract()
        asked = _requests(self.max_length)
        default = dataclasses.replace(of_task["serving_default"], requests=asked)
        nbest = Signature(default.inputs, self.answer_all, self.reference_all, asked)
        return {**of_task, "serving_default": default, "nbest": nbest}

    def answer(self, question, context):
        found = self._find(question, context)
        return {name: found[name] for name in _BEST}

    def answer_all(self, question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """The graph of `nbest`; arguments and errors as of `answer`."""
        found = self._find(question, context)
        return {name: found[name] for name in _ALL}

    def reference(self, question, context):
        answer = self._reference(question, context)
        return {name: answer[name] for name in _BEST}

    def reference_all(self, question: bytes, context: bytes) -> dict[str, Any]:
        """The answer of `nbest` to one row, by the task itself."""
        listed = self._reference(question, context)["n_best"]
        names = ("answer", "score", "probability", "start", "end")
        columns = [[answer[name] for answer in listed] for name in names]
        return dict(zip(_ALL, [*columns, len(listed)], strict=True))

    def _find(self, question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """What both signatures give."""
        question, context = checked_texts(question, context)
        asked, question_too_long = self._ids(question)
        read = tf.strings.substr(context, 0, self.max_text_bytes)
        chars = tf.strings.unicode_decode(read, "UTF-8", errors="replace")
        ids, begins, ends = self.tokenizer.tokenize_with_offsets(read)
        ends = ends_with_accents(read, ends)
        place = tf.ragged.range(ids.row_lengths())
        most = self._most_pieces(tf.minimum(asked.row_lengths(), self._question_length))
        is_read = place.with_values(place.values < tf.gather(most, place.value_rowids()))
        windows = self._cut(tf.ragged.boolean_mask(ids, is_read), asked)
        begins, ends = (tf.ragged.boolean_mask(part, is_read) for part in (begins, ends))
        found = self._decode(windows, begins, ends, chars)
        truncated = question_too_long | (tf.strings.length(context) > self.max_text_bytes)
        truncated |= (ids.row_lengths() > most) | (asked.row_lengths() > self._question_length)
        return {**found, "truncated": truncated}

    def _decode(self, windows: Windows, begins, ends, chars: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """What the model says of the windows as answers; `begins` and `ends` int32 (B, None), ragged."""
        inputs = self._padded(windows.token_ids, windows.segment_ids)
        dtypes = {features.START_LOGITS: tf.float32, features.END_LOGITS: tf.float32}
        starting, ending = self._outputs(dtypes, inputs, windows.token_ids.row_lengths()).values()
        shape, count = tf.stack([-1, tf.shape(starting)[1]]), tf.cast(chars.nrows(), tf.int32)
        spans = possible_spans(
            starting,
            ending,
            windows.gather(begins).to_tensor(-1, shape=shape),
            windows.gather(ends).to_tensor(-1, shape=shape),
            windows.has_most_context.to_tensor(False, shape=shape),
            windows.owner,
            n_best=self.task["n_best"],
            max_pieces=min(self.task["max_answer_length"], self.max_length),
        )
        null_score = tf.math.unsorted_segment_min(starting[:, 0] + ending[:, 0], windows.owner, count)
        threshold = self.task["null_threshold"]
        listed = list_answers(
            spans, chars, null_score, n_best=self.task["n_best"], lists_null=threshold is not None
        )
        best_score = tf.math.unsorted_segment_max(spans.score, spans.row, count)
        is_null = tf.reduce_all((listed.begins < 0) | tf.logical_not(listed.is_real), axis=1)
        if threshold is not None:
            # Thresholds are chosen in double precision.
            difference = tf.cast(null_score, tf.float64) - tf.cast(best_score, tf.float64)
            is_null |= difference > threshold
        fits = listed.is_real & tf.equal(listed.begins < 0, is_null[:, tf.newaxis])
        best = tf.argmax(tf.cast(fits, tf.int32), axis=1, output_type=tf.int32)  # the first of equals
        every = {
            "answers": cut_out(chars, listed.begins, listed.ends),
            "scores": listed.scores,
            "probabilities": softmax_of_real(listed.scores, listed.is_real),
            "starts": listed.begins,
            "ends": listed.ends,
        }
        # "answers" gives "answer", "probabilities" gives "probability".
        of_best = zip(("answer", "score", "probability", "start", "end"), every.values(), strict=True)
        return {
            **every,
            **{name: tf.gather(values, best, batch_dims=1) for name, values in of_best},
            "num_answers": tf.reduce_sum(tf.cast(listed.is_real, tf.int32), axis=1),
            "null_score": null_score,
            "num_windows": tf.math.unsorted_segment_sum(tf.ones_like(windows.owner), windows.owner, count),
        }

    def _reference(self, question: bytes, context: bytes) -> dict[str, Any]:
        """The task's own answer to one row, and what is counted of it."""
        asked, read = self._decoded(question), self._decoded(context)
        num_asked = int(self.tokenizer.tokenize([asked]).row_lengths()[0])
        kept = min(num_asked, self._question_length)
        ends = ends_with_accents([read], self.tokenizer.tokenize_with_offsets([read])[2])[0].numpy()
        most = self._most_pieces(kept)
        if len(ends) > most:
            # A text that ends with a piece is read as these pieces.
            read = read[: ends[most - 1]]
        behind_first = max(0, min(len(ends), most) - self._room(kept))
        cut = len(ends) > most or num_asked > kept
        return {
            **self._answer_of_task(asked, read),
            "num_windows": 1 - -behind_first // self._stride,
            "truncated": cut or max(len(question), len(context)) > self.max_text_bytes,
        }

    def _cut(self, ids: tf.RaggedTensor, asked: tf.RaggedTensor) -> Windows:
        vocab = self.tokenizer.vocab
        return cut_windows(
            ids,
            asked,
            max_length=self.max_length,
            stride=self._stride,
            cls_id=vocab.cls_id,
            sep_id=vocab.sep_id,
            max_question_length=self._question_length,
        )

    def _room(self, question_length):
        """Pieces of a context in one window, beside [CLS], question and two [SEP]."""
        return self.max_length - 3 - question_length

    def _most_pieces(self, question_length):
        """Of a context; what is beyond is in no window."""
        return self._room(question_length) + (MAX_WINDOWS - 1) * self._stride


def _requests(max_length: int) -> list[dict[str, list[bytes]]]:
    """As `samples.requests`, but the long text never repeats itself.

    Windows of the same words would have the same scores but for rounding, so that the place of the best
    answer would be by chance. Single letters are in nearly every vocabulary.
    """
    letters = " ".join(random.Random(1).choices(string.ascii_lowercase, k=600 + max_length)).encode()
    short, _, mixed = requests((_QUESTION, _CONTEXT), max_length)
    film = {_QUESTION: [b"What never loses its way?", *TEXTS[1:2]], _CONTEXT: [TEXTS[0], letters]}
    return [short, {_QUESTION: [letters], _CONTEXT: [letters]}, mixed, film]
