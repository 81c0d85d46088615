"""`ChoiceFinder`: the graph that says which of several answers fits."""

import tensorflow as tf

from kbert import features
from kbert.export.samples import requests
from kbert.export.text_module import Signature, TextModule, same_length
from kbert.text import pack

_NO_CHOICE = ""
_SAMPLE_CHOICES = ("first", "second", "third")


class ChoiceFinder(TextModule):
    """The choice that fits a text and a question.

    A request gives `text` and `question` string (B,), one of which may be empty, and `choices` string (B, N).
    A row with fewer than N choices has empty ones too. `serving_default` gives `choice` string (B,),
    `choice_id` int32 (B,), `score` float32 (B,), `probabilities` float32 (B, N), 0 for an empty choice,
    `num_tokens` int32 (B,) of the longest sequence, and `truncated` bool (B,).
    """

    inputs = (features.TEXT, "question", "choices")

    def contract(self):
        inputs = tuple(
            tf.TensorSpec([None, None] if name == "choices" else [None], tf.string, name=name)
            for name in self.inputs
        )
        default = Signature(inputs, self.answer, self.reference, _requests(self.max_length))
        return super().contract() | {"serving_default": default}

    def answer(self, text, question, choices):
        text, question = tf.ensure_shape(text, [None]), tf.ensure_shape(question, [None])
        text, question, choices = same_length([text, question, tf.ensure_shape(choices, [None, None])])
        # As in training files: without a text the question stands in its place.
        is_alone = tf.equal(text, "")
        text, question = tf.where(is_alone, question, text), tf.where(is_alone, "", question)
        count, each = tf.shape(choices)[0], tf.shape(choices)[1]
        exists = tf.not_equal(choices, _NO_CHOICE)
        seconds = tf.strings.join([tf.broadcast_to(question[:, tf.newaxis], tf.shape(choices)), choices], " ")
        ids, firsts_cut = self._ids(text)
        pair_ids, seconds_cut = self._ids(tf.reshape(seconds, [-1]))
        vocab, text_of_pair = self.tokenizer.vocab, tf.repeat(tf.range(count), each)
        token_ids, segment_ids, truncated = pack(
            tf.gather(ids, text_of_pair),
            pair_ids,
            max_length=self.max_length,
            cls_id=vocab.cls_id,
            sep_id=vocab.sep_id,
        )
        lengths = tf.where(exists, tf.reshape(tf.cast(token_ids.row_lengths(), tf.int32), [count, each]), 0)
        # To the model each choice is a question with one: choices meet in the softmax only.
        rows = {name: values[:, tf.newaxis] for name, values in self._padded(token_ids, segment_ids).items()}
        rows[features.PADDING_MASK] *= tf.reshape(tf.cast(exists, tf.int32), [-1, 1, 1])
        found = self._outputs({features.LOGITS: tf.float32}, rows, tf.reshape(lengths, [-1]))
        logits = tf.where(exists, tf.reshape(found[features.LOGITS], [count, each]), -1e9)
        probabilities = tf.where(exists, tf.nn.softmax(logits), 0.0)  # Also where there is no choice at all.
        best = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        cut = tf.reshape(truncated | seconds_cut, [count, each]) & exists
        return {
            # Strings that are no UTF-8 cannot be written as JSON.
            "choice": tf.strings.unicode_transcode(
                tf.gather(choices, best, batch_dims=1), "UTF-8", "UTF-8", errors="replace"
            ),
            "choice_id": best,
            "score": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
            "num_tokens": tf.reduce_max(lengths, axis=1),
            "truncated": tf.reduce_any(cut, axis=1) | firsts_cut,
        }

    def reference(self, text, question, choices):
        text, question = (text, question) if text else (question, text)
        decoded = [self._decoded(choice) for choice in choices]
        answer = self._answer_of_task(self._decoded(text), decoded, self._decoded(question))
        first = int(self.tokenizer.tokenize([self._decoded(text)]).row_lengths()[0])
        pairs = [f"{self._decoded(question)} {choice}" for choice in decoded if choice]
        longest = first + int(self.tokenizer.tokenize(pairs).row_lengths().numpy().max()) + 3
        return {
            **answer,
            "num_tokens": min(longest, self.max_length),
            "truncated": longest > self.max_length,
        }


def _requests(max_length: int) -> list[dict[str, list]]:
    """The requests of the self-test, of choices that differ in what the model sees of them.

    Equal ones would score the same, and rounding would say which is best. So each begins with another number
    of marks, which are a piece each in all vocabularies, behind a question so short that it leaves room.
    """
    found = []
    for request in requests((features.TEXT, "question", *_SAMPLE_CHOICES), max_length):
        choices = [
            # Texts that are blank would count as no choice.
            [b"! " + a, b"!! " + b, b"!!! " + c if row % 2 else b""]
            for row, (a, b, c) in enumerate(zip(*(request[name] for name in _SAMPLE_CHOICES), strict=True))
        ]
        questions = [question[:16] for question in request["question"]]
        found.append({features.TEXT: request[features.TEXT], "question": questions, "choices": choices})
    return found
