"""From a folder of any supported form to a model, a config, a vocabulary: the form is found by its files."""

import os
from pathlib import Path
from types import ModuleType

from absl import logging

from kbert.checkpoints import folder as kbert_folder
from kbert.checkpoints import google, huggingface
from kbert.checkpoints.checkpoint import fill
from kbert.checkpoints.configs import read_json
from kbert.checkpoints.names import weight_paths
from kbert.config import BertConfig
from kbert.errors import InputError

#: File that marks a form -> module that reads it, kbert's own first: its folders may hold others' files.
_FORMS = {
    kbert_folder.SPEC_FILE: kbert_folder,
    google.CONFIG_FILE: google,
    huggingface.CONFIG_FILE: huggingface,
}

#: Fields of BertConfig in which an encoder and the checkpoint that fills it must agree. Some of them leave no
#: trace in any shape, so that a difference would give a working model with wrong numbers.
_ARITHMETIC = (
    "vocab_size",
    "hidden_dim",
    "num_layers",
    "num_heads",
    "intermediate_dim",
    "max_length",
    "num_segments",
    "activation",
    "layer_norm_epsilon",
)


def load(path: str | os.PathLike, *, dtype: str | None = None):
    """The model that a checkpoint holds, with its heads and all its weights.

    Args:
        path: A folder: a `--model_dir` of kbert, Google's TF1 form, or Hugging Face's.
        dtype: Keras dtype policy, such as `"mixed_bfloat16"`; None for Keras's default.

    Returns:
        A built `keras.Model` with `.config`: `BertPretrainer` for checkpoints with pretraining heads,
        `BertClassifier` for those with a classifier, `Bert` for bare encoders, and for kbert's own folders
        the class they name.

    Raises:
        InputError: No form is recognised, a file is missing or damaged, or arrays and model do not match
            one to one.

    Example:
        >>> import tempfile
        >>> from kbert.checkpoints import save_folder
        >>> from kbert.models import Bert
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_folder(folder, Bert(BertConfig.preset("tiny", vocab_size=100)))
        ...     load(folder).config.num_layers
        2
    """
    folder, form = _detect(path)
    checkpoint = form.open_checkpoint(folder)
    _check_vocab(folder, checkpoint.config)
    if checkpoint.model not in kbert_folder.MODELS:
        raise InputError(
            f"{checkpoint.config_file}: names the model {checkpoint.model!r}; kbert has "
            f"{', '.join(kbert_folder.MODELS)}; its encoder alone can be had by --init, or load_encoder_into"
        )
    try:
        model = kbert_folder.MODELS[checkpoint.model](checkpoint.config, **checkpoint.head, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{checkpoint.config_file}: head={checkpoint.head} does not fit {checkpoint.model}: {error}"
        ) from error
    model.build()
    fill(weight_paths(model), checkpoint)
    return model


def load_encoder_into(model, path: str | os.PathLike) -> None:
    """Starts the encoder of a model from a checkpoint, whatever heads either of them has.

    Heads of the checkpoint are left alone and logged once; the model's own heads keep their values.

    Args:
        model: A `Bert`, or a model that holds one as its `bert`; built here if it is not yet.
        path: As for `load`.

    Raises:
        InputError: As for `load`, or the model's config has other sizes or another arithmetic.
    """
    folder, form = _detect(path)
    checkpoint = form.open_checkpoint(folder)
    _check_vocab(folder, checkpoint.config)
    differing = [
        f"{name} {getattr(checkpoint.config, name)!r}, not {getattr(model.config, name)!r}"
        for name in _ARITHMETIC
        if getattr(checkpoint.config, name) != getattr(model.config, name)
    ]
    if differing:
        raise InputError(
            f"{checkpoint.config_file}: has {'; '.join(differing)} as the model; build the model with the "
            f"config of the checkpoint, kbert.checkpoints.read_config({str(path)!r})"
        )
    model.build()
    encoder = {name: weight for name, weight in weight_paths(model).items() if name.startswith("bert/")}
    fill(encoder, checkpoint, encoder_only=True)
    logging.info("the encoder starts from %s", path)


def read_config(path: str | os.PathLike) -> BertConfig:
    """The config of a checkpoint of any form; no weight is read.

    Raises:
        InputError: No form is recognised, or the config describes what kbert has not.
    """
    folder, form = _detect(path)
    return form.read_config(folder)


def find_vocab(path: str | os.PathLike) -> Path | None:
    """The `vocab.txt` that came with a checkpoint, or None."""
    vocab = Path(path) / kbert_folder.VOCAB_FILE
    return vocab if vocab.is_file() else None


def read_lowercase(path: str | os.PathLike) -> bool | None:
    """Whether a checkpoint was trained on lower-cased text; None where its files do not say.

    Kbert's own `task` says it, and Hugging Face's `tokenizer_config.json`; Google's form does not.
    """
    folder, form = _detect(path)
    task = (kbert_folder.read_spec(folder)["task"] or {}) if form is kbert_folder else {}
    if "lowercase" in task:
        return task["lowercase"]
    tokenizer = folder / huggingface.TOKENIZER_FILE
    return read_json(tokenizer).get("do_lower_case") if tokenizer.is_file() else None


def _detect(path: str | os.PathLike) -> tuple[Path, ModuleType]:
    """The folder and the module of its form.

    Raises:
        InputError: It is no folder, or holds no file that marks a form.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{path}: {what}; expected the folder of a checkpoint, with {' or '.join(_FORMS)}")
    for marker, form in _FORMS.items():
        if (folder / marker).is_file():
            return folder, form
    if any(folder.glob("*.ckpt*.index")):
        raise InputError(
            f"{folder}: has a TensorFlow checkpoint, but no {google.CONFIG_FILE}; copy that file too"
        )
    if any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: has safetensors, but no {huggingface.CONFIG_FILE}; copy that file too")
    raise InputError(f"{folder}: holds none of {', '.join(_FORMS)}; expected the folder of a checkpoint")


def _check_vocab(folder: Path, config: BertConfig) -> None:
    """Refuses a vocabulary with ids beyond the embedding table: on a GPU they give NaN without a word."""
    vocab = find_vocab(folder)
    if vocab is None:
        return
    with vocab.open("rb") as file:
        entries = sum(1 for _ in file)
    if entries > config.vocab_size:
        raise InputError(
            f"{vocab}:{config.vocab_size + 1}: has {entries} entries, but the embedding table has "
            f"vocab_size={config.vocab_size} rows; take the vocabulary that the checkpoint was trained with"
        )
