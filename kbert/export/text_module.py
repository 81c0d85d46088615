"""`TextModule`: what the graphs of all tasks have in common, from raw texts to the model."""

import abc
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.errors import InputError
from kbert.evaluation import plain_answer
from kbert.export.length_groups import by_length
from kbert.export.samples import requests
from kbert.export.widths import padded_width
from kbert.tasks import Task
from kbert.text import WordPieceTokenizer, pack
from kbert.text.packing import pad

#: Longer texts are cut before they are tokenized, so that one request cannot keep a server busy for long.
MAX_TEXT_BYTES = 100_000


@dataclass(frozen=True)
class Signature:
    """One way to ask an exported model.

    Args:
        inputs: What a request gives: names, shapes and dtypes, all of the same length B.
        answer: The graph: one tensor for each input to a dict of tensors, all of length B.
        reference: The yardstick of the self-test: the inputs of one row, without B, to the same answer in
            plain Python values, computed another way.
        requests: The requests that the self-test makes and the server warms up with: dicts of input name to
            a list of values.
    """

    inputs: tuple[tf.TensorSpec, ...]
    answer: Callable[..., dict[str, tf.Tensor]]
    reference: Callable[..., dict[str, Any]]
    requests: Sequence[Mapping[str, list]]


class TextModule(tf.Module, abc.ABC):
    """The graph of an exported model; the base class of those of all tasks.

    TF Serving restores a SavedModel the TF1 way, and a Keras 3 model that is an attribute of the exported
    module loses its weights there: the server says "available" and fails at the first request. So the
    model is reached through a closure, which SavedModel does not follow, and the module owns the plain
    `tf.Variable`s behind the Keras weights, each once.

    The graph computes in `precision`, whatever policy the model was trained under.

    Args:
        task: What the model was fine-tuned for.
        model: Built; for 8 bits, of `kbert.models.in_int8`.
        max_length: Longest sequence in pieces, [CLS] and [SEP] included, at least 5; None is the task's.
        precision: Of the matrix products, `"float32"` or `"bfloat16"`; without effect on a model in 8 bits.

    Raises:
        InputError: Labels, vocabulary or `max_length` do not fit the model, the precision is unknown, or a
            model of another precision has LoRA's factors.

    Reference:
        keras-team/keras issue 20095, "Could not find variable" in TF Serving.
    """

    #: Names of the texts that a request gives to `serving_default`.
    inputs: tuple[str, ...] = (features.TEXT,)
    #: What a text may have in bytes; what is beyond is not read.
    max_text_bytes: ClassVar[int] = MAX_TEXT_BYTES

    def __init__(self, task: Task, model, max_length: int | None = None, precision: str = "float32"):
        super().__init__(name="text_module")
        longest: int = task.spec["max_length"] if max_length is None else max_length
        _check_fit(model, task.tokenizer, longest)
        #: `"float32"`, `"bfloat16"` or `"int8"`.
        self.precision: str = _precision_of(model, precision)
        # "bfloat16", not "mixed_bfloat16": rounding all matrices anew for each request took a tenth of the
        # time, and they take half the room.
        policy = "bfloat16" if self.precision == "bfloat16" else "float32"
        if model.dtype_policy.name != policy:
            model = model.copy_under(policy)
        self._task = type(task)({**task.spec, "max_length": longest}, task.tokenizer)
        self.tokenizer: WordPieceTokenizer = task.tokenizer
        self.max_length = longest
        self.weights = [weight.value for weight in model.weights]
        self._predict_plainly = functools.partial(self._task.predictions, model)
        self._predict = functools.partial(_as_exported, model.bert, self._predict_plainly)
        encode = functools.partial(model.bert, training=False, return_layers=True)
        self._encode = functools.partial(_as_exported, model.bert, encode)
        #: Signatures that were asked for besides those of the task, by name. No dict: a `tf.Module` would
        #: take it for a part of the checkpoint.
        self.added: Mapping[str, Signature] = MappingProxyType({})

    def encode(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        """What all layers of the encoder make of a batch; arguments and result as of `kbert.models.Bert`."""
        return self._encode(inputs)

    @property
    def task(self) -> dict[str, Any]:
        """What the numbers mean: task, labels in order, lengths, casing; plain values for JSON."""
        return dict(self._task.spec)

    @abc.abstractmethod
    def answer(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """The graph of `serving_default`.

        Args:
            *texts: string (B,), UTF-8; B may be 0. Of invalid bytes the model sees nothing; where characters
                are counted or given back they are one, U+FFFD.

        Raises:
            tf.errors.InvalidArgumentError: An input is not of its rank, or they differ in length.
        """

    @abc.abstractmethod
    def reference(self, *texts: bytes) -> dict[str, Any]:
        """The answer to one row as `kbert.pipeline` gives it, in plain Python values."""

    def contract(self) -> dict[str, Signature]:
        """All signatures by name; `serving_default` is what a request without a name means."""
        specs = tuple(tf.TensorSpec([None], tf.string, name=name) for name in self.inputs)
        single = (tf.TensorSpec([None], tf.string, name=features.TEXT),)
        return {
            "serving_default": Signature(
                specs, self.answer, self.reference, requests(self.inputs, self.max_length)
            ),
            "tokenize": Signature(
                single, self.tokenize, self.tokenize_reference, requests((features.TEXT,), self.max_length)
            ),
            **self.added,
        }

    def signatures(self) -> dict[str, Any]:
        """Signature name -> concrete function, as `tf.saved_model.save` takes them."""
        return {
            # AutoGraph has nothing to rewrite here: no Python condition depends on a tensor.
            name: tf.function(
                lambda *texts, answer=signature.answer: answer(*texts),
                input_signature=signature.inputs,
                autograph=False,
            ).get_concrete_function()
            for name, signature in self.contract().items()
        }

    def tokenize(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The pieces of texts, for clients that compare their own tokenizer.

        Returns:
            `token_ids` int32 (B, L) and `tokens` string (B, L), special tokens included, -1 and "" behind the
            end of a row; `num_tokens` int32 (B,), `truncated` bool (B,).
        """
        (text,) = checked_texts(text)
        vocab = self.tokenizer.vocab
        ids, too_long = self._ids(text)
        token_ids, _, truncated = pack(
            ids, max_length=self.max_length, cls_id=vocab.cls_id, sep_id=vocab.sep_id
        )
        return {
            features.TOKEN_IDS: token_ids.to_tensor(-1),
            "tokens": tf.gather(tf.constant(vocab.tokens), token_ids).to_tensor(),
            "num_tokens": tf.cast(token_ids.row_lengths(), tf.int32),
            "truncated": truncated | too_long,
        }

    def tokenize_reference(self, text: bytes) -> dict[str, Any]:
        """The answer of `tokenize` to one text, by the tokenizer in plain Python."""
        from kbert.text import reference

        vocab = self.tokenizer.vocab
        exact = reference.WordPieceTokenizer(vocab, lowercase=self.tokenizer.lowercase)
        ids = exact.tokenize([text[: self.max_text_bytes]])[0]
        kept = [vocab.cls_id, *ids[: self.max_length - 2], vocab.sep_id]
        return {
            features.TOKEN_IDS: kept,
            "tokens": [vocab.tokens[number] for number in kept],
            "num_tokens": len(kept),
            "truncated": len(ids) > self.max_length - 2 or len(text) > self.max_text_bytes,
        }

    def _ids(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Pieces of texts, and which texts lost their end before they were read."""
        # A character that is split by the cut is invalid UTF-8, which the tokenizer drops.
        ids = self.tokenizer.tokenize(tf.strings.substr(text, 0, self.max_text_bytes))
        return ids, tf.strings.length(text) > self.max_text_bytes

    def _padded(self, token_ids: tf.RaggedTensor, segment_ids: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """Rows as one batch, a little wider than the longest."""
        length = padded_width(tf.cast(token_ids.row_lengths(), tf.int32), self.max_length)
        return pad(token_ids, segment_ids, pad_id=self.tokenizer.vocab.pad_id, length=length)

    def _output(self, name: str, token_ids: tf.RaggedTensor, segment_ids: tf.RaggedTensor) -> tf.Tensor:
        """One output of the model for each row as a whole, float32."""
        inputs = self._padded(token_ids, segment_ids)
        return self._outputs({name: tf.float32}, inputs, token_ids.row_lengths())[name]

    def _outputs(
        self, dtypes: Mapping[str, tf.DType], inputs: Mapping[str, tf.Tensor], lengths: tf.Tensor, **options
    ) -> dict[str, tf.Tensor]:
        """Outputs of the model for rows of these lengths, in these types; arguments as of `by_length`."""

        def of_rows(inputs):
            outputs = self._predict(inputs)
            return [tf.cast(outputs[name], dtype) for name, dtype in dtypes.items()]

        found = by_length(of_rows, inputs, lengths, self.max_length, tuple(dtypes.values()), **options)
        return dict(zip(dtypes, found, strict=True))

    def _answer_of_task(self, *texts) -> dict[str, Any]:
        """What the task itself answers to one row, without batch and graph.

        Each row that is made of it goes through the model alone and, where nothing is ragged, without padding
        and without mask, on the CPU; padding that must be is computed as well. What could be wrong with
        batches, widths and masks in the graph cannot be wrong here in the same way.
        """
        with tf.device("CPU"):
            rows = self._task.rows_of(*([text] for text in texts))
            encoded = self._task.encode(rows, labelled=False)
            outputs: dict[str, list[np.ndarray]] = {}
            for row in range(len(encoded)):
                inputs = {name: values[row : row + 1] for name, values in encoded.inputs.items()}
                for name, values in self._predict_plainly(_dense(inputs)).items():
                    outputs.setdefault(name, []).append(values[0].numpy())
        return plain_answer(self._task.answers(rows, encoded, outputs)[0])

    def _decoded(self, text: bytes) -> str:
        """What is read of a text; a sequence of bytes that is no UTF-8 is one replacement character."""
        return text[: self.max_text_bytes].decode("utf-8", "replace")


def checked_texts(*texts: tf.Tensor) -> list[tf.Tensor]:
    """The inputs of a signature, held to rank 1 and to the same length.

    Sessions in C++ do not hold feeds against the shape of a placeholder: without these checks a scalar, or
    two inputs of different length, reads memory that is not ours or kills the server.
    """
    checked = [tf.ensure_shape(text, [None]) for text in texts]
    return list(same_length(checked))


def same_length(inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The inputs, held to the same length of their first axis."""
    first, *others = inputs
    same = [
        tf.debugging.assert_equal(
            tf.shape(first)[0], tf.shape(other)[0], message="the inputs of a request differ in length"
        )
        for other in others
    ]
    with tf.control_dependencies(same):
        return [tf.identity(text) for text in inputs]


def _dense(inputs: Mapping[str, tf.RaggedTensor]) -> dict[str, tf.Tensor]:
    token_ids = inputs[features.TOKEN_IDS]
    dense = {name: values.to_tensor() for name, values in inputs.items()}
    if token_ids.ragged_rank > 1:
        dense[features.PADDING_MASK] = tf.ones_like(token_ids).to_tensor()
    return dense


def _as_exported(bert, function, inputs):
    """A function's outputs, padding left out; the model itself stays as it is, and is not copied."""
    with bert.as_exported():
        return function(inputs)


def _precision_of(model, asked: str) -> str:
    if model.bert.int8:
        return "int8"
    if asked not in ("float32", "bfloat16"):
        raise InputError(
            f"precision={asked!r}; expected float32 or bfloat16; for 8 bits give a model of "
            "kbert.quantization.quantized or kbert.models.in_int8"
        )
    return asked


def _check_fit(model, tokenizer: WordPieceTokenizer, max_length: int) -> None:
    if len(tokenizer.vocab) > model.config.vocab_size:
        raise InputError(
            f"the vocabulary has {len(tokenizer.vocab)} tokens, the embedding table "
            f"{model.config.vocab_size} rows; give the vocabulary that the model was trained with"
        )
    longest = model.config.longest_sequence
    if not 5 <= max_length <= longest:
        raise InputError(f"max_length={max_length}; expected 5 to {longest}, the positions of the model")
