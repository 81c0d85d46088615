"""`fill`: arrays of a checkpoint become weights of a model, all that is wanted or nothing."""

import fnmatch
import re
from collections.abc import Iterable, Sequence

from absl import logging

from kbert.checkpoints.checkpoint import Checkpoint
from kbert.checkpoints.names import Stored, part
from kbert.errors import InputError

#: Element types that are read, as safetensors and TensorFlow call them.
_FLOATS = {"F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16"}

_POOLER = ("bert/pooler/dense/kernel", "bert/pooler/dense/bias")

_BLOCK_NUMBER = re.compile(r"(?<=layer[_.])\d+")


def fill(
    weights: dict,
    checkpoint: Checkpoint,
    *,
    num_layers: int,
    other_heads: bool = False,
    new_heads: bool = False,
    problems: Sequence[str] = (),
) -> None:
    """Assigns every weight from the checkpoint, one at a time, after checking that all fit.

    Args:
        weights: kbert's name -> variable (see `kbert.models.paths`).
        checkpoint: Where the arrays come from.
        num_layers: Blocks of the model; those of the checkpoint beyond are left alone.
        other_heads: The checkpoint's heads that the model has not are left alone, instead of refused; not
            parts of those that it has.
        new_heads: Heads of the model that the checkpoint lacks keep their values, instead of an error.
        problems: What was found wrong elsewhere, to be told in the same error.

    Raises:
        InputError: An array is left over, missing, of another shape or no float; nothing was assigned.
            One error lists all of them.
    """
    lacking = _lacking_parts(weights, checkpoint)
    wanted = [path for path in weights if part(path) not in lacking]
    rows = {path: row for path in wanted if (row := checkpoint.stored(path)) is not None}
    found = _problems(weights, rows, checkpoint, missing=[path for path in wanted if path not in rows])
    if lacking and not new_heads:
        found.append(
            f"no weights at all for: {', '.join(lacking)} (the checkpoint has no such head; "
            f'new_heads="init" starts it at random)'
        )
    unused = set(checkpoint.tensors.shapes) - {name for row in rows.values() for name in row.names}
    ignored = {name for name in unused if any(fnmatch.fnmatchcase(name, p) for p in checkpoint.ignored)}
    own = (*checkpoint.encoder, *_beginnings_of_heads(rows))
    spare = {name for name in unused - ignored if other_heads and not name.startswith(own)}
    spare |= unused & _names_of_no_use(weights, checkpoint, num_layers)
    left_over = unused - ignored - spare
    if left_over:
        found.append(
            f"left over: {_listed(left_over)} (of a head or variant that kbert has not, or too few layers "
            f"configured)"
        )
    found += problems
    if found:
        raise InputError(f"{checkpoint.tensors.file}: does not fit {checkpoint.model}; {'; '.join(found)}")
    _report(checkpoint, ignored, spare, lacking)
    for path, row in rows.items():
        weights[path].assign(row.join([checkpoint.tensors.read(name) for name in row.names]))


def _lacking_parts(weights: dict, checkpoint: Checkpoint) -> list[str]:
    """The heads, and the pooler, of which the checkpoint has nothing at all."""
    present = {part(path) for path in weights if checkpoint.holds(path)}
    return sorted({part(path) for path in weights} - present - {"bert"})


def _beginnings_of_heads(rows: dict[str, Stored]) -> set[str]:
    """Of the foreign names of the model's heads: what else begins so is a part of one of these heads."""
    names = {name for path, row in rows.items() if not path.startswith("bert/") for name in row.names}
    return {name[: end + 1] for name in names if (end := max(name.rfind("."), name.rfind("/"))) >= 0}


def _names_of_no_use(weights: dict, checkpoint: Checkpoint, num_layers: int) -> set[str]:
    """Foreign names of the pooler where the model has none, and of the blocks beyond its last."""
    paths = [path for path in _POOLER if path not in weights]
    block = [path for path in weights if path.startswith("bert/layer_0/")]
    for number in range(num_layers, checkpoint.config.num_layers):
        paths += [path.replace("layer_0", f"layer_{number}") for path in block]
    rows = [checkpoint.stored(path) for path in paths]
    return {name for row in rows if row for name in row.names}


def _problems(
    weights: dict, rows: dict[str, Stored], checkpoint: Checkpoint, missing: list[str]
) -> list[str]:
    """What is wrong with the arrays that are wanted, each kind in one sentence."""
    tensors, another = checkpoint.tensors, f"{checkpoint.config_file} describes another model"
    missing, misshapen, untyped, parts = list(missing), [], [], set()
    for path, row in rows.items():
        expected = row.part_shape(tuple(weights[path].shape))
        for name in row.names:
            if name not in tensors.shapes:
                missing.append(name)
            elif tensors.shapes[name] != expected:
                misshapen.append(f"{name} {list(tensors.shapes[name])} instead of {list(expected)}")
                parts.add(part(path))
            elif tensors.types[name] not in _FLOATS:
                untyped.append(f"{name} {tensors.types[name]}")
    # Where the encoder fits, another number of classes was asked for.
    of_heads = f"for a new head fill the encoder alone, by kbert.checkpoints.load_encoder_into; or {another}"
    findings = (
        ("missing", missing, f"the file is incomplete, or {another}"),
        ("of another shape", misshapen, another if parts & {"bert", "bert/pooler"} else of_heads),
        ("no floating-point numbers", untyped, "quantised weights cannot be read; take the original file"),
    )
    return [f"{title}: {_listed(names)} ({cause})" for title, names, cause in findings if names]


def _report(checkpoint: Checkpoint, ignored: set[str], spare: set[str], lacking: list[str]) -> None:
    """One line on what is not read, and one on what is new."""
    counts = {p: sum(fnmatch.fnmatchcase(name, p) for name in ignored) for p in checkpoint.ignored}
    left = [f"{count} of {pattern}" for pattern, count in counts.items() if count]
    if spare:
        left.append(_listed(spare))
    if left:
        logging.info("%s: left alone: %s", checkpoint.tensors.file, "; ".join(left))
    if lacking:
        logging.warning("%s: has no %s; newly initialised", checkpoint.tensors.file, ", ".join(lacking))


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
