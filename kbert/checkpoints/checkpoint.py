"""`Checkpoint`: what every form is reduced to, and `fill`, which moves its arrays into a model, strictly."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from absl import logging

from kbert.checkpoints.names import Stored, stored
from kbert.checkpoints.tensors import Tensors
from kbert.config import BertConfig
from kbert.errors import InputError

#: Element types that are read, as safetensors and TensorFlow call them.
_FLOATS = {"F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16"}

_BLOCK_NUMBER = re.compile(r"(?<=layer[_.])\d+")


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint of any form; no array has been read yet.

    Args:
        config_file: Where `config` was read, for errors.
        config: Sizes and arithmetic of its encoder.
        model: Name of the class in `kbert.models` that holds all its weights, or a foreign class name.
        tensors: The arrays, under the names of the form.
        table: The form's table in `kbert.checkpoints.names`.
        head: Constructor arguments of the model besides `config`.
        may_lack: Beginnings of kbert names that may be absent, all that begin so or none.
    """

    config_file: str
    config: BertConfig
    model: str
    tensors: Tensors
    table: dict[str, Stored]
    head: dict[str, Any] = field(default_factory=dict)
    may_lack: tuple[str, ...] = ()


def head_class(tensors: Tensors, table: dict[str, Stored]) -> str:
    """Name of kbert's class for the heads whose arrays are there; `"Bert"` where there is none."""
    parts = {
        path.split("/")[0] for path, row in table.items() if any(name in tensors.shapes for name in row.names)
    }
    if parts & {"mlm", "nsp"}:
        return "BertPretrainer"
    return "BertClassifier" if "classifier" in parts else "Bert"


def num_classes(tensors: Tensors, bias: str) -> int:
    """Length of a classifier's bias vector.

    Raises:
        InputError: The vector is missing, or has fewer than two numbers.
    """
    shape = tensors.shapes.get(bias, ())
    if len(shape) != 1 or shape[0] < 2:
        raise InputError(
            f"{tensors.file}: {bias} has the shape {list(shape)}; a classifier needs at least 2 classes"
        )
    return shape[0]


def fill(weights: dict, checkpoint: Checkpoint, encoder_only: bool = False) -> None:
    """Assigns every weight from the checkpoint, one at a time, after checking that all fit.

    Args:
        weights: kbert's name -> variable (see `names.weight_paths`).
        checkpoint: Where the arrays come from.
        encoder_only: Arrays outside the encoder are left alone and logged, instead of refused.

    Raises:
        InputError: An array is left over, missing, of another shape or no float; nothing was assigned.
            One error lists all of them.
    """
    tensors = checkpoint.tensors
    absent = _absent_parts(weights, checkpoint)
    rows = {path: stored(checkpoint.table, path) for path in weights if not path.startswith(absent)}
    left_over = set(tensors.shapes) - {name for row in rows.values() for name in row.names}
    if encoder_only:
        heads = {name for name in left_over if not name.startswith(("bert/", "bert."))}
        left_over -= heads
        if heads:
            logging.info("%s: only the encoder is taken; left alone: %s", tensors.file, _listed(heads))
    _check(weights, rows, left_over, checkpoint)
    for part in absent:
        logging.warning("%s: has no %s; newly initialised", tensors.file, part.rstrip("/"))
    for path, row in rows.items():
        weights[path].assign(row.join([tensors.read(name) for name in row.names]))


def _absent_parts(weights: dict, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Those of `may_lack` of which the checkpoint has nothing at all."""
    present = {
        path
        for path in weights
        if any(name in checkpoint.tensors.shapes for name in stored(checkpoint.table, path).names)
    }
    return tuple(part for part in checkpoint.may_lack if not any(path.startswith(part) for path in present))


def _check(weights: dict, rows: dict[str, Stored], left_over: set[str], checkpoint: Checkpoint) -> None:
    tensors, config_file = checkpoint.tensors, checkpoint.config_file
    missing, misshapen, untyped = [], [], []
    for path, row in rows.items():
        expected = row.part_shape(tuple(weights[path].shape))
        for name in row.names:
            if name not in tensors.shapes:
                missing.append(name)
            elif tensors.shapes[name] != expected:
                misshapen.append(f"{name} {list(tensors.shapes[name])} instead of {list(expected)}")
            elif tensors.types[name] not in _FLOATS:
                untyped.append(f"{name} {tensors.types[name]}")
    findings = (
        ("missing", missing, f"the file is incomplete, or {config_file} describes another model"),
        ("of another shape", misshapen, f"{config_file} describes another model"),
        ("no floating-point numbers", untyped, "quantised weights cannot be read; take the original file"),
        ("left over", left_over, "of a head or variant that kbert has not, or too few layers configured"),
    )
    problems = [f"{title}: {_listed(names)} ({cause})" for title, names, cause in findings if names]
    if problems:
        raise InputError(f"{tensors.file}: does not fit {checkpoint.model}; {'; '.join(problems)}")


def _listed(names: Iterable[str]) -> str:
    """All names; those that differ in nothing but the number of the block become one."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        number = _BLOCK_NUMBER.search(name)
        groups.setdefault(_BLOCK_NUMBER.sub("*", name, count=1), []).append(number[0] if number else "")
    return ", ".join(
        group.replace("*", numbers[0] if len(numbers) == 1 else f"{{{','.join(numbers)}}}", 1)
        for group, numbers in groups.items()
    )
