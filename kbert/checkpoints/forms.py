"""Which form a folder has, and what its files say besides the weights."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from kbert.checkpoints import folder as kbert_folder
from kbert.checkpoints import (
    google,
    huggingface,
    keras_hub,
    keras_hub_tokenizer,
    model_garden,
    sentence_transformers,
    tokenizer_files,
)
from kbert.checkpoints.configs import read_json
from kbert.checkpoints.hub_names import resolve
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.vocab_file import read_entries

#: The modules of the forms, in the order in which they are asked whether they recognise a folder: kbert's own
#: folders may hold others' files, and two pairs of forms have a file of the same name. Each has
#: `recognises(folder)`, `read_config(folder)` and `open_checkpoint(folder)`.
_FORMS = (kbert_folder, keras_hub, model_garden, google, huggingface)

#: The files that mark them.
_MARKS = (kbert_folder.SPEC_FILE, google.CONFIG_FILE, huggingface.CONFIG_FILE)

#: Where a vocabulary lies: in all forms but Keras Hub's, and in that.
_VOCAB_FILES = (tokenizer_files.VOCAB_FILE, keras_hub_tokenizer.VOCAB_FILE)

#: Keys that only this form has.
_OF_HUGGING_FACE = {"model_type", "architectures", "layer_norm_eps", "transformers_version"}


def read_config(path: str | os.PathLike, num_hidden_layers_used: int | None = None) -> BertConfig:
    """The config of a checkpoint of any form, or the one in a JSON file; no weight is read.

    Args:
        path: A folder, as for `load`; or a file: kbert's own JSON of `BertConfig`, Google's
            `bert_config.json` or Hugging Face's `config.json`. The kind is told by its keys, and where
            Google's and Hugging Face's are alike, by its name: `"gelu"` means two things there.
        num_hidden_layers_used: As for `load`.

    Raises:
        InputError: No form is recognised, a key is unknown, the config describes what kbert has not, or it
            has fewer layers than are to be used.
    """
    return first_layers(_read_config(path), num_hidden_layers_used, path)


def _read_config(path: str | os.PathLike) -> BertConfig:
    file = resolve(path)
    if not file.is_file():
        folder, form = detect(file)
        return form.read_config(folder)
    keys = set(read_json(file))
    if file.name == kbert_folder.SPEC_FILE:
        return kbert_folder.read_config(file.parent)
    if "hidden_size" not in keys:
        return BertConfig.from_json(file)
    if file.name == huggingface.CONFIG_FILE or keys & _OF_HUGGING_FACE:
        return huggingface.config_in(file)
    return google.config_in(file)


def find_vocab(path: str | os.PathLike) -> Path | None:
    """The `vocab.txt` that came with a checkpoint, or None."""
    vocabs = [resolve(path) / name for name in _VOCAB_FILES]
    return next((vocab for vocab in vocabs if vocab.is_file()), None)


def read_tokens(path: str | os.PathLike) -> list[str] | None:
    """The vocabulary that came with a checkpoint, in `vocab.txt` or in `tokenizer.json`; None without one.

    Raises:
        InputError: The file is damaged, or holds another kind of vocabulary.
    """
    vocab = find_vocab(path)
    return read_entries(vocab) if vocab else tokenizer_files.read_fast_tokens(resolve(path))


def read_task(path: str | os.PathLike) -> dict[str, Any] | None:
    """What a checkpoint of any form was trained for, as `save_folder` takes it; None where it says nothing.

    Raises:
        InputError: As for `load`.
    """
    folder, form = detect(path)
    return form.open_checkpoint(folder).task


def read_lowercase(path: str | os.PathLike) -> bool | None:
    """Whether a checkpoint was trained on lower-cased text; None where its files do not say.

    Kbert's own `task` says it, and the files of a tokenizer; Google's form has none.
    """
    folder, form = detect(path)
    task = (kbert_folder.read_spec(folder)["task"] or {}) if form is kbert_folder else {}
    if "lowercase" in task:
        return task["lowercase"]
    return (keras_hub_tokenizer if form is keras_hub else tokenizer_files).read_lowercase(folder)


def read_pooling(path: str | os.PathLike) -> str | None:
    """How a checkpoint makes one vector of a text, as `BertEmbedder` calls it; None where it does not say.

    An embedder of kbert or Keras Hub says it, and what sentence-transformers has written beside an encoder.

    Raises:
        InputError: As for `load`.
    """
    folder, form = detect(path)
    return form.open_checkpoint(folder).head.get("pooling") or sentence_transformers.read_pooling(folder)


def detect(path: str | os.PathLike) -> tuple[Path, ModuleType]:
    """The folder and the module of its form.

    Raises:
        InputError: It is no folder, or holds no file that marks a form.
    """
    folder = resolve(path)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{path}: {what}; expected the folder of a checkpoint, with {' or '.join(_MARKS)}")
    for form in _FORMS:
        if form.recognises(folder):
            return folder, form
    if any(folder.glob("*.ckpt*.index")):
        raise InputError(
            f"{folder}: has a TensorFlow checkpoint, but no {google.CONFIG_FILE}; copy that file too"
        )
    if any(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder}: has safetensors, but neither {kbert_folder.SPEC_FILE} nor {huggingface.CONFIG_FILE}; "
            f"copy that file too"
        )
    raise InputError(f"{folder}: holds none of {', '.join(_MARKS)}; expected the folder of a checkpoint")


def first_layers(config: BertConfig, count: int | None, path: str | os.PathLike) -> BertConfig:
    """The config with so many blocks; None for all.

    Raises:
        InputError: There are fewer.
    """
    if count is None:
        return config
    if not 1 <= count <= config.num_layers:
        raise InputError(
            f"{path}: num_hidden_layers_used={count}, but it has {config.num_layers} layers; expected 1 to "
            f"{config.num_layers}"
        )
    return config.replace(num_layers=count)
