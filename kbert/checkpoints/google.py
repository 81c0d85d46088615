"""Google's form: `bert_config.json` beside a TF1 checkpoint `bert_model.ckpt`."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from kbert.checkpoints.checkpoint import Checkpoint, class_with, heads_in, output_size
from kbert.checkpoints.configs import (
    UNREAD_KEYS,
    check_keys,
    config_from,
    config_to,
    read_json,
    require_one_arithmetic,
    write_json,
)
from kbert.checkpoints.names import GOOGLE, GOOGLE_IGNORED, foreign_arrays
from kbert.checkpoints.tensors import pickled
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.models import require_merged
from kbert.whole_files import check_no_pattern

CONFIG_FILE = "bert_config.json"
_PREFIX = "bert_model.ckpt"

#: Google's modeling.py calls the tanh approximation "gelu".
_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu"}

#: What modeling.py does whatever its config says. A config that differs is written with these keys, kbert's
#: own names, which Google's code ignores and `read_config` reads back.
_FIXED = {"layer_norm_epsilon": 1e-12}

#: Fields of BertConfig that `write` may add to the file.
_OWN_KEYS = ("activation", *_FIXED)

#: What TensorFlow raises on a damaged checkpoint; its reader turns some status codes into Python's errors.
_DAMAGE = (tf.errors.OpError, RuntimeError, ValueError, IndexError)


class Tf1Tensors:
    """The variables of a TF1 checkpoint, as `Tensors`.

    Args:
        folder: Holds `bert_model.ckpt.*`; or another TF1 checkpoint, the one that the file `checkpoint`
            calls the latest, or the only one.

    Raises:
        InputError: There is none, there are several, it is damaged, or its path has a `[`.
    """

    def __init__(self, folder: Path):
        self.file = _prefix_in(folder)
        check_no_pattern(self.file)
        try:
            self._reader = tf.train.load_checkpoint(self.file)
        except _DAMAGE as error:
            raise self._damaged(error) from error
        shapes = self._reader.get_variable_to_shape_map()
        types = self._reader.get_variable_to_dtype_map()
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.types = {name: dtype.name for name, dtype in types.items()}

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32.

        Raises:
            InputError: The bytes cannot be read.
        """
        try:
            return self._reader.get_tensor(name).astype(np.float32, copy=False)
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.file}: is damaged ({str(error).splitlines()[0]}); copy or download all its files again"
        )


def _prefix_in(folder: Path) -> str:
    """The path of the checkpoint in a folder, without the endings of its files.

    Raises:
        InputError: There is none, or it cannot be told which.
    """
    if (folder / f"{_PREFIX}.index").is_file():
        return str(folder / _PREFIX)
    latest = tf.train.latest_checkpoint(str(folder))
    if latest is not None and Path(latest).parent.resolve() != folder.resolve():
        raise InputError(
            f"{folder / 'checkpoint'}: names {latest}, outside its folder; copy those files there "
            f"and name them {_PREFIX}.*"
        )
    found = sorted(folder.glob("*.index"))
    if latest is not None or len(found) == 1:
        return latest or str(found[0].with_suffix(""))
    if found:
        names = ", ".join(file.stem for file in found)
        raise InputError(f"{folder}: has several checkpoints, {names}; leave the files of one of them there")
    raise pickled(folder, f"rename {CONFIG_FILE} to config.json, ") or InputError(
        f"{folder}: has {CONFIG_FILE}, but no {_PREFIX}.index; copy all files of the checkpoint"
    )


def recognises(folder: Path) -> bool:
    """Whether a folder has the file that marks this form, and not just as a keepsake beside other weights."""
    if not (folder / CONFIG_FILE).is_file():
        return False
    return any(folder.glob("*.index")) or not (folder / "config.json").is_file()


def config_in(path: Path) -> BertConfig:
    """The config in a file of this form, whatever its name.

    Raises:
        InputError: The file is missing, or describes what kbert has not.
    """
    values = read_json(path)
    check_keys(path, values, {}, UNREAD_KEYS | set(_OWN_KEYS))
    # modeling.py's own default where the key is absent; every released config says 2.
    config = config_from(path, values, _ACTIVATIONS, num_segments=16, **_FIXED)
    return config.replace(**{field: values[field] for field in _OWN_KEYS if field in values})


def read_config(folder: Path) -> BertConfig:
    """The config in `bert_config.json`; errors as `config_in`."""
    return config_in(folder / CONFIG_FILE)


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of this form; its variables say which heads it has.

    Raises:
        InputError: A file is missing, damaged or of another model.
    """
    config = read_config(folder)
    tensors = Tf1Tensors(folder)
    model, head = class_with(heads_in(tensors, GOOGLE)), {}
    if model == "BertClassifier":
        count = output_size(tensors, "output_bias")
        head = {"num_classes": count, "kind": "regression" if count == 1 else "single"}
    return Checkpoint(str(folder / CONFIG_FILE), config, model, tensors, GOOGLE, head, ignored=GOOGLE_IGNORED)


def write(folder: Path, model) -> None:
    """Writes a model in this form, with the names and shapes that Google's TF1 code restores.

    Args:
        folder: Exists.
        model: One of kbert's, with heads that Google's code has.

    Raises:
        InputError: Google's code lacks the activation, or a head; or the model has LoRA adapters.
    """
    require_merged(model)
    require_one_arithmetic(model, "Google's form")
    config = model.config
    values = {"hidden_act": "relu" if config.activation == "relu" else "gelu", **config_to(config)}
    if config.activation not in ("gelu", *_ACTIVATIONS.values()):
        raise InputError(
            f"activation={config.activation!r} has no name in {CONFIG_FILE}; expected gelu, gelu_tanh or relu"
        )
    arrays = foreign_arrays(GOOGLE, model, "Google's form")
    own = {"activation": config.activation} if config.activation == "gelu" else {}
    own |= {
        field: getattr(config, field) for field, fixed in _FIXED.items() if getattr(config, field) != fixed
    }
    if own:
        logging.warning("%s: kbert reads %s back, Google's own code computes otherwise", folder, own)
    write_json(folder / CONFIG_FILE, values | own)
    # The op beneath tf.compat.v1.train.Saver: variables by name, without the object graph of TF2.
    tf.raw_ops.SaveV2(
        prefix=str(folder / _PREFIX),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )
