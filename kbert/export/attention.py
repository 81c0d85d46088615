"""The signature `attention`: which piece looks at which, in every layer and head, for people to look at."""

from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.errors import InputError
from kbert.export.mask_filler import MaskFiller
from kbert.export.text_module import Signature, TextModule, checked_texts
from kbert.export.widths import padded_width
from kbert.text import pack, reference
from kbert.text.packing import pad

#: Of a sequence; what is beyond them is not read. There are layers times heads times the square of this many
#: weights: half a million numbers for BERT-Base.
MAX_PIECES = 64

#: Short, as each weight of their answers is kept in the export. The pieces are single characters, so they are
#: few with any vocabulary, and all rows are equally wide.
_TEXTS = (b"a b, c?", b"", "我 é!".encode())


def add_attention(module: TextModule) -> None:
    """Gives a module the signature `attention`, which its export then has besides those of its task.

    Args:
        module: Of `text_module`, not exported yet.

    Raises:
        InputError: The task is not one on a text or a pair of texts.
    """
    if isinstance(module, MaskFiller) or any(
        spec.shape.rank != 1 for spec in module.contract()["serving_default"].inputs
    ):
        raise InputError(
            f"attention is shown of a text or a pair of texts; the task is {module.task['name']}, so export "
            f"it without --attention"
        )
    module.added = MappingProxyType({**module.added, "attention": AttentionViewer(module).signature()})


class AttentionViewer:
    """Attention weights of texts or pairs as a graph, and the yardstick for it.

    A request gives what `serving_default` takes. The answer is `tokens` string (B, S), `attention` float32
    (B, L, N, S, S), indexed [text, layer, head, from, to], where the weights from one piece sum to 1,
    `num_tokens` int32 (B,), and `truncated` bool (B,). Behind the last piece of a row stand "" and 0.0. S is
    `MAX_PIECES` at most. The texts are read from their beginning; nothing is cut into windows.

    Args:
        module: Of a task on a text or a pair.
    """

    def __init__(self, module: TextModule):
        self.module = module
        self.max_pieces = min(module.max_length, MAX_PIECES)

    def answer(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """The graph; arguments and errors as of `TextModule.answer`."""
        texts, most = tuple(checked_texts(*texts)), self.module.max_text_bytes
        tokenizer = self.module.tokenizer
        vocab = tokenizer.vocab
        token_ids, segment_ids, truncated = pack(
            *(tokenizer.tokenize(tf.strings.substr(text, 0, most)) for text in texts),
            max_length=self.max_pieces,
            cls_id=vocab.cls_id,
            sep_id=vocab.sep_id,
        )
        for text in texts:
            truncated |= tf.strings.length(text) > most
        num_tokens = tf.cast(token_ids.row_lengths(), tf.int32)
        width = padded_width(num_tokens, self.max_pieces)
        inputs = pad(token_ids, segment_ids, pad_id=vocab.pad_id, length=width)
        weights = tf.stack(self.module.encode(inputs)["attention_probabilities"], axis=1)
        is_real = tf.sequence_mask(num_tokens, width)[:, tf.newaxis, tf.newaxis]
        both = is_real[..., tf.newaxis] & is_real[..., tf.newaxis, :]
        return {
            "tokens": tf.gather(tf.constant(vocab.tokens), token_ids).to_tensor(
                "", shape=tf.stack([-1, width])
            ),
            "attention": tf.where(both, tf.cast(weights, tf.float32), 0.0),
            "num_tokens": num_tokens,
            "truncated": truncated,
        }

    def reference(self, *texts: bytes) -> dict[str, Any]:
        """The answer to one row: tokenized and packed in plain Python, without padding, mask and graph."""
        vocab, most = self.module.tokenizer.vocab, self.module.max_text_bytes
        exact = reference.WordPieceTokenizer(vocab, lowercase=self.module.tokenizer.lowercase)
        parts = [list(exact.tokenize([text[:most]])[0]) for text in texts]
        room, read = self.max_pieces - 1 - len(parts), sum(map(len, parts))
        while sum(map(len, parts)) > room:
            max(reversed(parts), key=len).pop()
        token_ids = [vocab.cls_id, *(number for part in parts for number in (*part, vocab.sep_id))]
        segment_ids = [0] * (len(parts[0]) + 2)
        segment_ids += [1] * (len(token_ids) - len(segment_ids))
        with tf.device("CPU"):
            inputs = {features.TOKEN_IDS: [token_ids], features.SEGMENT_IDS: [segment_ids]}
            tensors = {name: tf.constant(values, tf.int32) for name, values in inputs.items()}
            layers = self.module.encode(tensors)["attention_probabilities"]
            weights = np.array([layer[0].numpy() for layer in layers])
        missing = int(padded_width(tf.constant([len(token_ids)]), self.max_pieces)) - len(token_ids)
        weights = np.pad(weights, [(0, 0), (0, 0), (0, missing), (0, missing)])
        return {
            "tokens": [vocab.tokens[number] for number in token_ids] + [""] * missing,
            # Seven digits are enough for a tolerance of 1e-5, and half as long in a file.
            "attention": weights.astype(np.float64).round(7).tolist(),
            "num_tokens": len(token_ids),
            "truncated": read > room or any(len(text) > most for text in texts),
        }

    def signature(self) -> Signature:
        """The graph, the yardstick and what they are tried with."""
        names = self.module.inputs
        inputs = tuple(tf.TensorSpec([None], tf.string, name=name) for name in names)
        rows = {name: [*_TEXTS[place:], *_TEXTS[:place]] for place, name in enumerate(names)}
        return Signature(inputs, self.answer, self.reference, [rows])
