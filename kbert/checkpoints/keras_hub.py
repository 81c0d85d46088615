"""Keras Hub's form, a preset folder: JSON files that say what it is, beside weights in HDF5.

Read and written without Keras Hub itself, whose objects would hold the model a second time.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from kbert.checkpoints.checkpoint import Checkpoint
from kbert.checkpoints.configs import read_json, write_json
from kbert.checkpoints.keras_hub_weights import KERAS_HUB, KERAS_HUB_IGNORED, read_weights, write_weights
from kbert.checkpoints.names import Stored, foreign_arrays
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.models import require_merged

CONFIG_FILE = "config.json"
TASK_FILE = "task.json"
_METADATA_FILE = "metadata.json"

#: Field of BertConfig -> argument of `BertBackbone`.
_ARGUMENTS = {
    "vocab_size": "vocabulary_size",
    "hidden_dim": "hidden_dim",
    "num_layers": "num_layers",
    "num_heads": "num_heads",
    "intermediate_dim": "intermediate_dim",
    "max_length": "max_sequence_length",
    "num_segments": "num_segments",
    "dropout": "dropout",
}

#: What the code of `BertBackbone`, and that of the head of `BertMaskedLM`, say instead of a config.
_FIXED = {"activation": "gelu_tanh", "layer_norm_epsilon": 1e-12}
_FIXED_IN_HEAD = {"head_activation": "gelu", "head_layer_norm_epsilon": 1e-5}

#: kbert's class -> Keras Hub's task; `Bert` is a preset without one. Last, so that it is read as such, the
#: class that a preset's `BertMaskedLM` becomes.
_TASKS = {
    "BertPretrainer": "BertMaskedLM",
    "BertMaskedLM": "BertMaskedLM",
    "BertClassifier": "BertTextClassifier",
    "BertEmbedder": "BertTextEmbedder",
}
_CLASSES = {theirs: ours for ours, theirs in _TASKS.items()} | {"BertClassifier": "BertClassifier"}

#: Arguments of every layer and of every task, which change no number of the model.
_OF_NO_CONCERN = {"name", "trainable", "dtype", "backbone", "preprocessor"}

_POOLINGS = {"mean": "mean", "cls": "first", "max": "max"}
_KINDS = {"linear": "single", "softmax": "single", "sigmoid": "multi"}

#: Rows for weights that are not written.
_LEFT_OUT = {path: Stored((path,)) for path in ("nsp/kernel", "nsp/bias")}

#: Key at the top of the JSON files, where Keras Hub looks for none, for what it cannot say of a model.
_OWN_KEY = "kbert"

#: Names of the pooler, which no backbone is without; and the key, beside fields of BertConfig, that says that
#: the model has none.
_POOLER = tuple(KERAS_HUB[f"bert/pooler/dense/{name}"].names[0] for name in ("kernel", "bias"))
_POOLER_KEY = "pooler"


def recognises(folder: Path) -> bool:
    """Whether a folder is a preset; Hugging Face's have a `config.json` too, with other keys."""
    return (folder / CONFIG_FILE).is_file() and "registered_name" in read_json(folder / CONFIG_FILE)


def read_config(folder: Path) -> BertConfig:
    """The config in `config.json`.

    Raises:
        InputError: The file is missing or describes what kbert has not.
    """
    path = folder / CONFIG_FILE
    class_name, arguments, own = _read_object(path)
    own.pop(_POOLER_KEY, None)  # No field of the config.
    if class_name != "BertBackbone":
        raise InputError(f"{path}: describes a {class_name}; expected a BertBackbone")
    _check_keys(path, arguments, _ARGUMENTS.values())
    missing = sorted(set(_ARGUMENTS.values()) - set(arguments))
    if missing:
        raise InputError(f"{path}: has no {', '.join(missing)}; copy or download the file again")
    try:
        return BertConfig.from_dict(_fields(arguments) | own)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of this form; `task.json`, if there is one, says which heads it has.

    Raises:
        InputError: A file is missing, damaged or of another model.
    """
    config = read_config(folder)
    model, head = _read_task(folder / TASK_FILE, config) if (folder / TASK_FILE).is_file() else ("Bert", {})
    _, _, own = _read_object(folder / CONFIG_FILE)
    left_out = () if own.get(_POOLER_KEY, True) else _POOLER
    return Checkpoint(
        str(folder / CONFIG_FILE),
        config,
        model,
        read_weights(folder, config.num_heads, left_out),
        KERAS_HUB,
        head,
        ignored=KERAS_HUB_IGNORED,
        encoder=("model.weights.h5/",),
    )


def write(folder: Path, model) -> None:
    """Writes a model in this form, for `from_preset` of Keras Hub.

    Where kbert's model computes otherwise than Keras Hub's, a warning says so, and kbert reads its own
    arithmetic back. The next-sentence head of a `BertPretrainer` is left out; a pooler that the model does
    not have is all zeros, since no backbone is without, which a warning says too.

    Args:
        folder: Exists.
        model: One of kbert's, with heads that Keras Hub has.

    Raises:
        InputError: Keras Hub lacks a head; or the model has LoRA adapters.
    """
    require_merged(model)
    config, task = model.config, _TASKS.get(type(model).__name__)
    arrays = foreign_arrays({**KERAS_HUB, **_LEFT_OUT}, model, "Keras Hub")
    left_out = [path for path in _LEFT_OUT if arrays.pop(path, None) is not None]
    if left_out:
        logging.warning("%s: Keras Hub has no next-sentence head; %s left out", folder, ", ".join(left_out))
    pooler = {}
    if getattr(model, "bert", model).pooler is None:
        logging.warning("%s: the model has no pooler; Keras Hub's, all zeros, is to be trained anew", folder)
        pooler = {_POOLER_KEY: False}
        shapes = ((config.hidden_dim,) * 2, (config.hidden_dim,))
        arrays |= {name: np.zeros(s, np.float32) for name, s in zip(_POOLER, shapes, strict=True)}
    write_weights(folder, arrays, config.num_heads)

    arguments = {argument: getattr(config, field) for field, argument in _ARGUMENTS.items()}
    implied = BertConfig.from_dict(_fields(arguments)).to_dict()
    backbone = described("BertBackbone", {"name": "bert_backbone", "trainable": True, **arguments})
    own = {field: value for field, value in config.to_dict().items() if value != implied[field]}
    _write_object(folder / CONFIG_FILE, backbone, own | pooler)
    count = sum(array.size for name, array in arrays.items() if name.startswith("model.weights.h5/"))
    write_json(folder / _METADATA_FILE, {"keras_version": keras.__version__, "parameter_count": count})
    if task is not None:
        arguments = _task_arguments(model)
        implied = _head(folder / TASK_FILE, task, arguments)
        own = {name: value for name, value in _own_head(model).items() if value != implied[name]}
        parts = {"backbone": backbone, "preprocessor": None}
        _write_object(folder / TASK_FILE, described(task, {**parts, **arguments}), own)


def _read_task(path: Path, config: BertConfig) -> tuple[str, dict[str, Any]]:
    """Class of kbert and its constructor's arguments besides the config; a foreign class name, and none."""
    task, arguments, own = _read_object(path)
    if task not in _CLASSES:
        return task, {}
    if arguments.get("dropout", config.dropout) != config.dropout:
        logging.warning(
            "%s: drops %s of the pooled output; kbert trains its head with the %s of the encoder",
            *(path, arguments["dropout"], config.dropout),
        )
    return _CLASSES[task], _head(path, task, arguments) | own


def _head(path: Path, task: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Constructor's arguments of kbert's class for a task with these arguments.

    Raises:
        InputError: An argument, or its value, is none that kbert knows.
    """
    if _CLASSES[task] == "BertMaskedLM":
        _check_keys(path, arguments, ())
        return dict(_FIXED_IN_HEAD)
    if _CLASSES[task] == "BertEmbedder":
        _check_keys(path, arguments, ("pooling_mode", "normalize"))
        pooling = _one_of(path, arguments, "pooling_mode", "mean", _POOLINGS)
        return {"pooling": pooling, "normalize": arguments.get("normalize", True)}
    _check_keys(path, arguments, ("num_classes", "activation", "dropout"))
    kind = _one_of(path, arguments, "activation", "linear", _KINDS)
    count = arguments.get("num_classes")
    return {"num_classes": count, "kind": "regression" if (kind, count) == ("single", 1) else kind}


def _task_arguments(model) -> dict[str, Any]:
    """Constructor's arguments of the task for a model of kbert."""
    name = type(model).__name__
    if name == "BertClassifier":
        activation = "sigmoid" if model.kind == "multi" else "linear"
        return {"num_classes": model.num_classes, "activation": activation, "dropout": model.config.dropout}
    if name == "BertEmbedder":
        pooling = {ours: theirs for theirs, ours in _POOLINGS.items()}[model.pooling]
        return {"pooling_mode": pooling, "normalize": model.normalize}
    return {}


def _own_head(model) -> dict[str, Any]:
    """What `_head` gives for a preset that computes what the model does."""
    if hasattr(model, "mlm"):
        mlm = model.mlm
        return {"head_activation": mlm.activation, "head_layer_norm_epsilon": mlm.layer_norm_epsilon}
    return model.head_config()


def described(class_name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """How Keras describes in JSON an object of a class of Keras Hub, made with these arguments."""
    return {"class_name": class_name, "config": arguments, "registered_name": f"keras_hub>{class_name}"}


def _fields(arguments: dict[str, Any]) -> dict[str, Any]:
    """Field of BertConfig -> value, as `BertBackbone` computes with these arguments."""
    stated = {field: arguments[argument] for field, argument in _ARGUMENTS.items()}
    return {**stated, "attention_dropout": stated["dropout"], **_FIXED}


def _read_object(path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Class name, constructor's arguments and kbert's own values in a file that describes an object."""
    values = read_json(path)
    # "keras_hub>BertBackbone", and "keras_nlp>BertBackbone" in older ones.
    name, arguments = str(values.get("registered_name")).rpartition(">")[2], values.get("config")
    own = values.get(_OWN_KEY, {})
    if not isinstance(arguments, dict) or not isinstance(own, dict):
        raise InputError(f"{path}: has no config; expected what save_to_preset of Keras Hub writes")
    return name, arguments, own


def _write_object(path: Path, values: dict[str, Any], own: dict[str, Any]) -> None:
    """Writes what `_read_object` reads; what Keras Hub cannot know is warned of."""
    if own:
        logging.warning("%s: kbert reads %s back, Keras Hub computes or trains otherwise", path, own)
        values = {**values, _OWN_KEY: own}
    write_json(path, values)


def _check_keys(path: Path, arguments: dict[str, Any], known: Iterable[str]) -> None:
    unknown = sorted(set(arguments) - set(known) - _OF_NO_CONCERN)
    if unknown:
        raise InputError(f"{path}: unknown keys {', '.join(unknown)}; expected some of {', '.join(known)}")


def _one_of(path: Path, arguments: dict[str, Any], key: str, default: str, known: dict[str, str]) -> str:
    value = arguments.get(key, default)
    if value not in known:
        raise InputError(f"{path}: {key}={value!r} is not supported; expected one of {', '.join(known)}")
    return known[value]
