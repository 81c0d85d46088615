"""What each weight is called elsewhere: one table per foreign form, read in both directions.

The left column is kbert's name of a weight: its path below the model, with the encoder always under
`bert/` (so a bare `Bert` and the `Bert` inside a head model have the same names), and `{n}` for the number
of the block. The right column says how the foreign form stores it: under one name or several, turned or
not. A new form is a new table; the code that reads and writes does not change.
"""

import re
from typing import NamedTuple

import numpy as np

from kbert.errors import InputError
from kbert.models.paths import weight_paths

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


#: google-research/bert, modeling.py, run_pretraining.py, run_classifier.py, run_squad.py (TF1 names).
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
    "span/kernel": _turned("cls/squad/output_weights"),
    "span/bias": _as_is("cls/squad/output_bias"),
}

#: The optimizer's moments and the step counter, which Google's training checkpoints hold too.
GOOGLE_IGNORED = ("*/adam_m", "*/adam_v", "global_step")

#: huggingface/transformers, modeling_bert.py. Three heads share a name there, and no class has two of them:
#: the `classifier` of sequences, of tokens and of choices.
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
    "tagger/kernel": _turned("classifier.weight"),
    "tagger/bias": _as_is("classifier.bias"),
    "choice/kernel": _turned("classifier.weight"),
    "choice/bias": _as_is("classifier.bias"),
    "span/kernel": _turned("qa_outputs.weight"),
    "span/bias": _as_is("qa_outputs.bias"),
}

#: The numbers 0, 1, 2 ..., which transformers kept among the weights until 2022.
HUGGINGFACE_IGNORED = ("*embeddings.position_ids",)

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


def part(path: str) -> str:
    """What the weight at `path` belongs to: the name of a head, `"bert/pooler"`, or `"bert"` for the rest.

    Example:
        >>> part("mlm/transform/kernel"), part("bert/pooler/dense/bias"), part("bert/layer_0/output/bias")
        ('mlm', 'bert/pooler', 'bert')
    """
    return "bert/pooler" if path.startswith("bert/pooler/") else path.split("/")[0]


def only(table: dict[str, Stored], *heads: str) -> dict[str, Stored]:
    """The rows of a table for the encoder and these heads."""
    return {path: row for path, row in table.items() if part(path) in ("bert", "bert/pooler", *heads)}


def foreign_arrays(table: dict[str, Stored], model, form: str) -> dict[str, np.ndarray]:
    """Name in a form -> array, float32, of all weights of a built model.

    Args:
        table: The form's.
        model: As for `weight_paths`.
        form: Named in errors.

    Raises:
        InputError: The form has no place for some weights; the message names their heads.
    """
    weights = weight_paths(model)
    homeless = sorted({part(path) for path in weights if _BLOCK.sub("layer_{n}", path) not in table})
    if homeless:
        raise InputError(
            f"{form} has no place for {', '.join(homeless)}; write kbert's own form, or save model.bert alone"
        )
    arrays = {}
    for path, weight in weights.items():
        row = stored(table, path)
        arrays |= zip(row.names, row.split(np.asarray(weight, np.float32)), strict=True)
    return arrays
