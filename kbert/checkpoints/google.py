"""Google's form: `bert_config.json` beside a TF1 checkpoint `bert_model.ckpt`."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from kbert.checkpoints.checkpoint import Checkpoint, head_class, num_classes
from kbert.checkpoints.configs import config_from, config_to, read_json, write_json
from kbert.checkpoints.names import GOOGLE, stored, weight_paths
from kbert.config import BertConfig
from kbert.errors import InputError

CONFIG_FILE = "bert_config.json"
_PREFIX = "bert_model.ckpt"

#: Google's modeling.py calls the tanh approximation "gelu".
_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu"}

#: What modeling.py does whatever its config says. A config that differs is written with these keys, kbert's
#: own names, which Google's code ignores and `read_config` reads back.
_FIXED = {"layer_norm_epsilon": 1e-12}

#: What TensorFlow raises on a damaged checkpoint; its reader turns some status codes into Python's errors.
_DAMAGE = (tf.errors.OpError, RuntimeError, ValueError, IndexError)


class Tf1Tensors:
    """The variables of a TF1 checkpoint, as `Tensors`, without the optimizer's and the step counter.

    Args:
        folder: Holds `bert_model.ckpt.*`, or another TF1 checkpoint, the latest of which is taken.

    Raises:
        InputError: There is none, or it is damaged.
    """

    def __init__(self, folder: Path):
        prefix = str(folder / _PREFIX)
        if not Path(f"{prefix}.index").is_file():
            prefix = tf.train.latest_checkpoint(str(folder))
        if prefix is None:
            raise InputError(
                f"{folder}: has {CONFIG_FILE}, but no {_PREFIX}.index; copy all files of the checkpoint"
            )
        self.file = prefix
        try:
            self._reader = tf.train.load_checkpoint(prefix)
        except _DAMAGE as error:
            raise self._damaged(error) from error
        shapes = self._reader.get_variable_to_shape_map()
        types = self._reader.get_variable_to_dtype_map()
        names = [
            name for name in shapes if not name.endswith(("/adam_m", "/adam_v")) and name != "global_step"
        ]
        self.shapes = {name: tuple(shapes[name]) for name in names}
        self.types = {name: types[name].name for name in names}

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


def read_config(folder: Path) -> BertConfig:
    """The config in `bert_config.json`.

    Raises:
        InputError: The file is missing or describes what kbert has not.
    """
    path = folder / CONFIG_FILE
    values = read_json(path)
    # modeling.py's own default where the key is absent; every released config says 2.
    config = config_from(path, values, _ACTIVATIONS, num_segments=16, **_FIXED)
    own = {field: values[field] for field in ("activation", *_FIXED) if field in values}
    return config.replace(**own)


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of this form.

    Raises:
        InputError: A file is missing, damaged or of another model.
    """
    config = read_config(folder)
    tensors = Tf1Tensors(folder)
    model = head_class(tensors, GOOGLE)
    head = {"num_classes": num_classes(tensors, "output_bias")} if model == "BertClassifier" else {}
    return Checkpoint(str(folder / CONFIG_FILE), config, model, tensors, GOOGLE, head)


def write(folder: Path, model) -> None:
    """Writes a model in this form, with the names and shapes that Google's TF1 code restores.

    Args:
        folder: Exists.
        model: A `Bert`, `BertPretrainer` or `BertClassifier`.

    Raises:
        InputError: Google's code lacks the activation.
    """
    config = model.config
    values = {"hidden_act": "relu" if config.activation == "relu" else "gelu", **config_to(config)}
    if config.activation not in ("gelu", *_ACTIVATIONS.values()):
        raise InputError(
            f"activation={config.activation!r} has no name in {CONFIG_FILE}; expected gelu, gelu_tanh or relu"
        )
    own = {"activation": config.activation} if config.activation == "gelu" else {}
    own |= {
        field: getattr(config, field) for field, fixed in _FIXED.items() if getattr(config, field) != fixed
    }
    if own:
        logging.warning("%s: kbert reads %s back, Google's own code computes otherwise", folder, own)
    write_json(folder / CONFIG_FILE, values | own)

    arrays = {}
    for path, weight in weight_paths(model).items():
        row = stored(GOOGLE, path)
        arrays |= zip(row.names, row.split(np.asarray(weight, np.float32)), strict=True)
    # The op beneath tf.compat.v1.train.Saver: variables by name, without the object graph of TF2.
    tf.raw_ops.SaveV2(
        prefix=str(folder / _PREFIX),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )
