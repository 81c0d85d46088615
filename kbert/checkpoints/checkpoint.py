"""`Checkpoint`: what every form is reduced to before anything is read from it."""

from dataclasses import dataclass, field
from typing import Any

from kbert.checkpoints.names import Stored, part, stored
from kbert.checkpoints.tensors import Tensors
from kbert.config import BertConfig
from kbert.errors import InputError

#: kbert's class -> the heads whose weights it has, as they begin the paths in `kbert.checkpoints.names`.
HEADS = {
    "Bert": (),
    "BertEmbedder": (),
    "BertPretrainer": ("mlm", "nsp"),
    "BertMaskedLM": ("mlm",),
    "BertClassifier": ("classifier",),
    "BertTagger": ("tagger",),
    "BertSpanFinder": ("span",),
    "BertMultipleChoice": ("choice",),
}


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint of any form; no array has been read yet.

    Args:
        config_file: Where `config` was read, for errors.
        config: Sizes and arithmetic of its encoder.
        model: Name of the class in `kbert.models` that holds all its weights, or a foreign class name.
        tensors: The arrays, under the names of the form.
        table: The form's table in `kbert.checkpoints.names`, without rows for heads it cannot have.
        head: Constructor arguments of the model besides `config`.
        ignored: Patterns (as in `fnmatch`) of names that carry no weight of a model.
        task: What the weights were trained for, as `save_folder` takes it; None where the form does not say.
        encoder: Beginnings of the encoder's names; other names belong to heads.
    """

    config_file: str
    config: BertConfig
    model: str
    tensors: Tensors
    table: dict[str, Stored]
    head: dict[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    task: dict[str, Any] | None = None
    encoder: tuple[str, ...] = ("bert/", "bert.")

    def stored(self, path: str) -> Stored | None:
        """How the weight at `path` is stored; None if a checkpoint of this form and class has no such."""
        try:
            return stored(self.table, path)
        except KeyError:
            return None

    def holds(self, path: str) -> bool:
        """Whether at least a part of the weight at `path` is there."""
        row = self.stored(path)
        return row is not None and any(name in self.tensors.shapes for name in row.names)


def heads_in(tensors: Tensors, table: dict[str, Stored]) -> set[str]:
    """Names of the heads of which at least one array is there."""
    return {
        part(path) for path, row in table.items() if any(name in tensors.shapes for name in row.names)
    } - {"bert", "bert/pooler"}


def class_with(heads: set[str]) -> str:
    """Name of kbert's class that has just these heads; where none has, `"Bert"`, which has none."""
    if heads == {"nsp"}:
        return "BertPretrainer"
    return next((name for name, own in HEADS.items() if set(own) == heads), "Bert")


def output_size(tensors: Tensors, bias: str) -> int:
    """Length of the bias vector of a head: the number of its classes or tags.

    Raises:
        InputError: The vector is missing, or is none.
    """
    shape = tensors.shapes.get(bias, ())
    if len(shape) != 1:
        raise InputError(
            f"{tensors.file}: {bias} has the shape {list(shape)}; expected one number a class; the file is "
            f"incomplete, or holds another head"
        )
    return shape[0]
