"""kbert's own form, a `--model_dir`: `kbert.json` (what it is), `weights.safetensors`, `vocab.txt`."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from kbert.checkpoints.checkpoint import Checkpoint
from kbert.checkpoints.configs import read_json, write_json
from kbert.checkpoints.names import KBERT
from kbert.checkpoints.staging import staged
from kbert.checkpoints.tensors import SafetensorsFile, write_safetensors
from kbert.checkpoints.tokenizer_files import VOCAB_FILE
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.models import (
    Bert,
    BertClassifier,
    BertEmbedder,
    BertMaskedLM,
    BertMultipleChoice,
    BertPretrainer,
    BertSpanFinder,
    BertTagger,
    require_merged,
)
from kbert.models.paths import weight_paths
from kbert.whole_files import check_local

SPEC_FILE = "kbert.json"
_WEIGHTS_FILE = "weights.safetensors"
_FORMAT = 1

#: Name in `kbert.json` -> class. A new head is one more entry.
MODELS = {
    cls.__name__: cls
    for cls in (
        Bert,
        BertPretrainer,
        BertMaskedLM,
        BertClassifier,
        BertTagger,
        BertSpanFinder,
        BertMultipleChoice,
        BertEmbedder,
    )
}

#: Constructor arguments that say nothing about the weights, or are kept elsewhere.
_NOT_OF_THE_HEAD = ("config", "name", "trainable", "dtype", "remat", "unpad", "int8")


def save_folder(
    folder: str | os.PathLike,
    model,
    task: dict[str, Any] | None = None,
    vocab_path: str | os.PathLike | None = None,
) -> None:
    """Writes a model as a folder that `kbert.load` reads, all files of it or none.

    Args:
        folder: Made if missing; of an existing one only the files of this form are replaced.
        model: One of `MODELS`; built here if it is not yet.
        task: What the weights were trained for: `name`, `labels` (or `tags`) in order, `max_length`, `pair`,
            `lowercase`. None for a bare checkpoint.
        vocab_path: The vocabulary, copied to `vocab.txt`.

    Raises:
        InputError: The model has LoRA adapters, or is one in 8 bits.
    """
    require_merged(model)
    if model.get_config().get("int8"):
        raise InputError(
            f"{model.name} is in 8 bits, which is a form for exports; save the model it was made of"
        )
    head = {key: value for key, value in model.get_config().items() if key not in _NOT_OF_THE_HEAD}
    spec = {
        "format": _FORMAT,
        "model": type(model).__name__,
        "config": model.config.to_dict(),
        "head": head,
        "task": task,
    }
    model.build()
    with staged(folder) as staging:
        arrays = {path: np.asarray(weight, np.float32) for path, weight in weight_paths(model).items()}
        write_safetensors(staging / _WEIGHTS_FILE, arrays)
        if vocab_path is not None:
            shutil.copyfile(vocab_path, staging / VOCAB_FILE)
        write_json(staging / SPEC_FILE, spec)


def recognises(folder: Path) -> bool:
    """Whether a folder has the file that marks this form."""
    return (folder / SPEC_FILE).is_file()


def read_spec(folder: str | os.PathLike) -> dict[str, Any]:
    """The content of `kbert.json`: `format`, `model`, `config`, `head` and `task` (dict or None).

    Raises:
        InputError: The file is missing or of another format, or lacks a key.
    """
    check_local(folder)
    path = Path(folder) / SPEC_FILE
    if Path(folder).is_dir() and not path.exists():
        raise InputError(
            f"{folder}: holds no model in kbert's own form, {SPEC_FILE} is missing; make one with "
            "tf_scripts/pretrain.py or finetune.py, or of one in another form with "
            "tf_scripts/convert_checkpoint.py --to=kbert"
        )
    spec = read_json(path)
    if spec.get("format") != _FORMAT:
        raise InputError(
            f"{path}: has format {spec.get('format')!r}; this version of kbert reads "
            f"{_FORMAT}, install the one that wrote it"
        )
    kinds = {"model": str, "config": dict, "head": dict, "task": dict | None}
    for key, kind in kinds.items():
        if key not in spec or not isinstance(spec[key], kind):
            raise InputError(f"{path}: {key!r} is missing or of the wrong type; copy the file again")
    return spec


def read_config(folder: Path) -> BertConfig:
    """The config in `kbert.json`.

    Raises:
        InputError: The file is missing or damaged.
    """
    spec = read_spec(folder)
    try:
        return BertConfig.from_dict(spec["config"])
    except InputError as error:
        raise InputError(f"{folder / SPEC_FILE}: {error}") from error


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of this form.

    Raises:
        InputError: A file is missing or damaged.
    """
    spec = read_spec(folder)
    return Checkpoint(
        config_file=str(folder / SPEC_FILE),
        config=read_config(folder),
        model=spec["model"],
        tensors=SafetensorsFile(folder / _WEIGHTS_FILE),
        table=KBERT,
        head=spec["head"],
        task=spec["task"],
    )
