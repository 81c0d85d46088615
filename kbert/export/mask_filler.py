"""`MaskFiller`: the graph that fills in blanks, for a pretrained model."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.errors import InputError
from kbert.export.length_groups import by_length
from kbert.export.text_module import TextModule, checked_texts
from kbert.text import WordPieceTokenizer, pack, reference
from kbert.text.vocab import MASK, SPECIAL_TOKENS

#: Blanks of one text that are filled; each costs scores over the whole vocabulary.
MAX_MASKS = 32

_OTHERS = r"\[(" + "|".join(token[1:-1] for token in SPECIAL_TOKENS if token != MASK) + r")\]"


class _FillingMasks(NamedTuple):
    """What `TextModule` needs of a task; there is none to be fine-tuned here."""

    spec: Mapping[str, Any]
    tokenizer: WordPieceTokenizer

    def predictions(self, model, inputs):
        return {features.MLM_LOGITS: model(inputs, training=False)[features.MLM_LOGITS]}


class MaskFiller(TextModule):
    """The likeliest tokens for each [MASK] in a text.

    A literal "[MASK]" is the token; other special tokens are plain text, as for all exports.

    `serving_default` gives `tokens` string (B, M, K), the likeliest first, `token_ids` int32 (B, M, K),
    `scores` float32 (B, M, K), their probabilities, `num_masks` int32 (B,), `num_tokens` and `truncated`.
    M are the blanks of the text that has most of them, 32 at most.

    Args:
        spec: Plain values: `max_length`, `lowercase` and what else `kbert.json` is to say.
        tokenizer: Of the vocabulary.
        model: Built, with `mlm_logits` among its outputs and `mask_positions` among its inputs.
        max_length: Longest sequence in pieces; None is that of `spec`.
        num_candidates: K.

    Raises:
        InputError: The model has no head for masked words; or as of `TextModule`.
    """

    def __init__(self, spec, tokenizer, model, max_length: int | None = None, num_candidates: int = 5):
        if not hasattr(model, "mlm"):
            raise InputError(
                f"a {type(model).__name__} has no head for masked words, so it fills no blanks; pretrain it, "
                f"or fine-tune it for a task"
            )
        marked = WordPieceTokenizer(tokenizer.vocab, tokenizer.lowercase, special_tokens_in_text=True)
        spec = {**spec, "name": "fill_mask", "num_candidates": num_candidates}
        task: Any = _FillingMasks(spec, marked)
        super().__init__(task, model, max_length)
        self.num_candidates = min(num_candidates, len(marked.vocab))

    def contract(self):
        texts = [b"A [MASK] sentence, and [MASK] more.", b"[MASK] [CLS] [SEP]", b"[MASK] " * (MAX_MASKS + 1)]
        signature = super().contract()["serving_default"]
        requests = [{features.TEXT: texts}, *signature.requests]
        # No `tokenize`: texts with special tokens are told apart here only.
        return {"serving_default": dataclasses.replace(signature, requests=requests)}

    def answer(self, text):
        (text,) = checked_texts(text)
        vocab = self.tokenizer.vocab
        ids, too_long = self._ids(tf.strings.regex_replace(text, _OTHERS, r"[ \1 ]"))
        token_ids, segment_ids, truncated = pack(
            ids, max_length=self.max_length, cls_id=vocab.cls_id, sep_id=vocab.sep_id
        )
        places = tf.ragged.range(tf.cast(token_ids.row_lengths(), tf.int32))
        all_masks = tf.ragged.boolean_mask(places, tf.equal(token_ids, vocab.mask_id))
        masks = all_masks[:, :MAX_MASKS]
        width = tf.cast(masks.bounding_shape(axis=1), tf.int32)
        # One column at least, as some kernels refuse what is empty; it is cut off again.
        inputs = self._padded(token_ids, segment_ids)
        inputs[features.MASK_POSITIONS] = masks.to_tensor(0, shape=tf.stack([-1, tf.maximum(width, 1)]))
        best = by_length(
            self._best_tokens, inputs, token_ids.row_lengths(), self.max_length, (tf.float32, tf.int32)
        )
        scores, candidates = (values[:, :width] for values in best)
        is_mask = tf.sequence_mask(masks.row_lengths(), width)[:, :, tf.newaxis]
        return {
            "tokens": tf.where(is_mask, tf.gather(tf.constant(vocab.tokens), candidates), ""),
            features.TOKEN_IDS: tf.where(is_mask, candidates, -1),
            "scores": tf.where(is_mask, scores, 0.0),
            "num_masks": tf.cast(masks.row_lengths(), tf.int32),
            "num_tokens": tf.cast(token_ids.row_lengths(), tf.int32),
            "truncated": truncated | too_long | (all_masks.row_lengths() > MAX_MASKS),
        }

    def _best_tokens(self, inputs):
        """The probabilities and ids of the likeliest tokens for each blank, (R, M, K)."""
        logits = self._predict(inputs)[features.MLM_LOGITS][:, :, : len(self.tokenizer.vocab)]
        return tf.math.top_k(tf.nn.softmax(tf.cast(logits, tf.float32)), self.num_candidates)

    def reference(self, text):
        vocab = self.tokenizer.vocab
        exact = reference.WordPieceTokenizer(vocab, self.tokenizer.lowercase, special_tokens_in_text=True)
        plain = re.sub(_OTHERS.encode(), rb"[ \1 ]", text)
        ids = exact.tokenize([plain[: self.max_text_bytes]])[0]
        kept = [vocab.cls_id, *ids[: self.max_length - 2], vocab.sep_id]
        masks = np.flatnonzero(np.array(kept) == vocab.mask_id)
        with tf.device("CPU"):
            # Without `mask_positions` all positions are scored.
            logits = self._predict({features.TOKEN_IDS: tf.constant([kept])})[features.MLM_LOGITS][0].numpy()
        logits = logits[masks[:MAX_MASKS], : len(vocab)].astype(np.float64)
        scores = np.exp(logits - logits.max(-1, keepdims=True, initial=-np.inf))
        scores /= scores.sum(-1, keepdims=True)
        best = np.argsort(-scores, axis=-1, kind="stable")[:, : self.num_candidates]
        return {
            "tokens": [[vocab.tokens[number] for number in row] for row in best],
            features.TOKEN_IDS: best.tolist(),
            "scores": np.take_along_axis(scores, best, -1).tolist(),
            "num_masks": len(best),
            "num_tokens": len(kept),
            "truncated": len(ids) > self.max_length - 2 or len(masks) > MAX_MASKS
            or len(plain) > self.max_text_bytes,
        }  # fmt: skip
