"""`TextEmbedder`: the graph that makes a vector of a text."""

import tensorflow as tf

from kbert import features
from kbert.export.text_module import TextModule, checked_texts
from kbert.text import pack


class TextEmbedder(TextModule):
    """A vector for each text; pooling and length are as in training.

    `serving_default` gives `embedding` float32 (B, H), `num_tokens` int32 (B,) and `truncated` bool (B,).
    """

    def answer(self, text):
        (text,) = checked_texts(text)
        vocab = self.tokenizer.vocab
        ids, too_long = self._ids(text)
        token_ids, segment_ids, truncated = pack(
            ids, max_length=self.max_length, cls_id=vocab.cls_id, sep_id=vocab.sep_id
        )
        return {
            features.EMBEDDING: self._output(features.EMBEDDING, token_ids, segment_ids),
            "num_tokens": tf.cast(token_ids.row_lengths(), tf.int32),
            "truncated": truncated | too_long,
        }

    def reference(self, text):
        counted = self.tokenize_reference(text)
        answer = self._answer_of_task(self._decoded(text))
        return {**answer, **{name: counted[name] for name in ("num_tokens", "truncated")}}
