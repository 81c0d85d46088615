"""What each weight is called elsewhere: one table per foreign form, read in both directions.

The left column is kbert's name of a weight: its path below the model, with the encoder always under
`bert/` (so a bare `Bert` and the `Bert` inside a head model have the same names), and `{n}` for the number
of the block. The right column says how the foreign form stores it: under one name or several, turned or
not. A new form is a new table; the code that reads and writes does not change.
"""

import re
from typing import NamedTuple

import numpy as np

_BLOCK = re.compile(r"layer_(\d+)")


class Stored(NamedTuple):
    """How a foreign form stores one weight.

    Args:
        names: Foreign names; several are parts that kbert joins on the last axis.
        turned: Whether each part is stored transposed, (out, in) instead of (in, out).
    """

    names: tuple[str, ...]
    turned: bool = False

    def part_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of each foreign part of a weight of kbert that has this shape."""
        part = (*shape[:-1], shape[-1] // len(self.names))
        return part[::-1] if self.turned else part

    def join(self, parts: list[np.ndarray]) -> np.ndarray:
        """The array of kbert, from the foreign parts."""
        parts = [part.T if self.turned else part for part in parts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def split(self, array: np.ndarray) -> list[np.ndarray]:
        """The foreign parts, from kbert's array; the inverse of `join`."""
        parts = np.split(array, len(self.names), axis=-1)
        return [np.ascontiguousarray(part.T if self.turned else part) for part in parts]


def _as_is(*names: str) -> Stored:
    return Stored(names)


def _turned(*names: str) -> Stored:
    return Stored(names, turned=True)


#: google-research/bert, modeling.py, run_pretraining.py and run_classifier.py (TF1 variable names).
GOOGLE = {
    "bert/embeddings/token_embeddings": _as_is("bert/embeddings/word_embeddings"),
    "bert/embeddings/position_embeddings": _as_is("bert/embeddings/position_embeddings"),
    "bert/embeddings/segment_embeddings": _as_is("bert/embeddings/token_type_embeddings"),
    "bert/embeddings/layer_norm/gamma": _as_is("bert/embeddings/LayerNorm/gamma"),
    "bert/embeddings/layer_norm/beta": _as_is("bert/embeddings/LayerNorm/beta"),
    "bert/layer_{n}/attention/qkv/kernel": _as_is(
        "bert/encoder/layer_{n}/attention/self/query/kernel",
        "bert/encoder/layer_{n}/attention/self/key/kernel",
        "bert/encoder/layer_{n}/attention/self/value/kernel",
    ),
    "bert/layer_{n}/attention/qkv/bias": _as_is(
        "bert/encoder/layer_{n}/attention/self/query/bias",
        "bert/encoder/layer_{n}/attention/self/key/bias",
        "bert/encoder/layer_{n}/attention/self/value/bias",
    ),
    "bert/layer_{n}/attention/output/kernel": _as_is("bert/encoder/layer_{n}/attention/output/dense/kernel"),
    "bert/layer_{n}/attention/output/bias": _as_is("bert/encoder/layer_{n}/attention/output/dense/bias"),
    "bert/layer_{n}/attention_layer_norm/gamma": _as_is(
        "bert/encoder/layer_{n}/attention/output/LayerNorm/gamma"
    ),
    "bert/layer_{n}/attention_layer_norm/beta": _as_is(
        "bert/encoder/layer_{n}/attention/output/LayerNorm/beta"
    ),
    "bert/layer_{n}/intermediate/kernel": _as_is("bert/encoder/layer_{n}/intermediate/dense/kernel"),
    "bert/layer_{n}/intermediate/bias": _as_is("bert/encoder/layer_{n}/intermediate/dense/bias"),
    "bert/layer_{n}/output/kernel": _as_is("bert/encoder/layer_{n}/output/dense/kernel"),
    "bert/layer_{n}/output/bias": _as_is("bert/encoder/layer_{n}/output/dense/bias"),
    "bert/layer_{n}/output_layer_norm/gamma": _as_is("bert/encoder/layer_{n}/output/LayerNorm/gamma"),
    "bert/layer_{n}/output_layer_norm/beta": _as_is("bert/encoder/layer_{n}/output/LayerNorm/beta"),
    "bert/pooler/dense/kernel": _as_is("bert/pooler/dense/kernel"),
    "bert/pooler/dense/bias": _as_is("bert/pooler/dense/bias"),
    "mlm/transform/kernel": _as_is("cls/predictions/transform/dense/kernel"),
    "mlm/transform/bias": _as_is("cls/predictions/transform/dense/bias"),
    "mlm/layer_norm/gamma": _as_is("cls/predictions/transform/LayerNorm/gamma"),
    "mlm/layer_norm/beta": _as_is("cls/predictions/transform/LayerNorm/beta"),
    "mlm/bias": _as_is("cls/predictions/output_bias"),
    "nsp/kernel": _turned("cls/seq_relationship/output_weights"),
    "nsp/bias": _as_is("cls/seq_relationship/output_bias"),
    "classifier/kernel": _turned("output_weights"),
    "classifier/bias": _as_is("output_bias"),
}

#: huggingface/transformers, modeling_bert.py: BertForPreTraining, BertForSequenceClassification.
HUGGINGFACE = {
    "bert/embeddings/token_embeddings": _as_is("bert.embeddings.word_embeddings.weight"),
    "bert/embeddings/position_embeddings": _as_is("bert.embeddings.position_embeddings.weight"),
    "bert/embeddings/segment_embeddings": _as_is("bert.embeddings.token_type_embeddings.weight"),
    "bert/embeddings/layer_norm/gamma": _as_is("bert.embeddings.LayerNorm.weight"),
    "bert/embeddings/layer_norm/beta": _as_is("bert.embeddings.LayerNorm.bias"),
    "bert/layer_{n}/attention/qkv/kernel": _turned(
        "bert.encoder.layer.{n}.attention.self.query.weight",
        "bert.encoder.layer.{n}.attention.self.key.weight",
        "bert.encoder.layer.{n}.attention.self.value.weight",
    ),
    "bert/layer_{n}/attention/qkv/bias": _as_is(
        "bert.encoder.layer.{n}.attention.self.query.bias",
        "bert.encoder.layer.{n}.attention.self.key.bias",
        "bert.encoder.layer.{n}.attention.self.value.bias",
    ),
    "bert/layer_{n}/attention/output/kernel": _turned("bert.encoder.layer.{n}.attention.output.dense.weight"),
    "bert/layer_{n}/attention/output/bias": _as_is("bert.encoder.layer.{n}.attention.output.dense.bias"),
    "bert/layer_{n}/attention_layer_norm/gamma": _as_is(
        "bert.encoder.layer.{n}.attention.output.LayerNorm.weight"
    ),
    "bert/layer_{n}/attention_layer_norm/beta": _as_is(
        "bert.encoder.layer.{n}.attention.output.LayerNorm.bias"
    ),
    "bert/layer_{n}/intermediate/kernel": _turned("bert.encoder.layer.{n}.intermediate.dense.weight"),
    "bert/layer_{n}/intermediate/bias": _as_is("bert.encoder.layer.{n}.intermediate.dense.bias"),
    "bert/layer_{n}/output/kernel": _turned("bert.encoder.layer.{n}.output.dense.weight"),
    "bert/layer_{n}/output/bias": _as_is("bert.encoder.layer.{n}.output.dense.bias"),
    "bert/layer_{n}/output_layer_norm/gamma": _as_is("bert.encoder.layer.{n}.output.LayerNorm.weight"),
    "bert/layer_{n}/output_layer_norm/beta": _as_is("bert.encoder.layer.{n}.output.LayerNorm.bias"),
    "bert/pooler/dense/kernel": _turned("bert.pooler.dense.weight"),
    "bert/pooler/dense/bias": _as_is("bert.pooler.dense.bias"),
    "mlm/transform/kernel": _turned("cls.predictions.transform.dense.weight"),
    "mlm/transform/bias": _as_is("cls.predictions.transform.dense.bias"),
    "mlm/layer_norm/gamma": _as_is("cls.predictions.transform.LayerNorm.weight"),
    "mlm/layer_norm/beta": _as_is("cls.predictions.transform.LayerNorm.bias"),
    "mlm/bias": _as_is("cls.predictions.bias"),
    "nsp/kernel": _turned("cls.seq_relationship.weight"),
    "nsp/bias": _as_is("cls.seq_relationship.bias"),
    "classifier/kernel": _turned("classifier.weight"),
    "classifier/bias": _as_is("classifier.bias"),
}

#: kbert's own form stores every weight under its own name: a table without rows.
KBERT: dict[str, Stored] = {}


def stored(table: dict[str, Stored], path: str) -> Stored:
    """How the form of `table` stores the weight at `path`, the block's number filled in.

    Args:
        table: `GOOGLE`, `HUGGINGFACE` or `KBERT`.
        path: As in the left column, with a number for `{n}`.

    Raises:
        KeyError: The table has no row for it: the form cannot hold this weight.

    Example:
        >>> stored(GOOGLE, "bert/layer_3/output/bias").names
        ('bert/encoder/layer_3/output/dense/bias',)
    """
    if table is KBERT:
        return Stored((path,))
    block = _BLOCK.search(path)
    row = table[_BLOCK.sub("layer_{n}", path)]
    return Stored(tuple(name.format(n=block[1] if block else "") for name in row.names), row.turned)


def weight_paths(model) -> dict:
    """Name in kbert -> variable, of every weight of a built model.

    Args:
        model: A `Bert`, or a model that holds one as its `bert`.
    """
    prefix = "" if hasattr(model, "bert") else "bert/"
    return {prefix + weight.path.split("/", 1)[1]: weight for weight in model.weights}
