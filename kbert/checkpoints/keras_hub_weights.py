"""The weights of a Keras Hub preset: which array is which in its two HDF5 files."""

from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np

from kbert.checkpoints.hdf5 import Hdf5Files
from kbert.checkpoints.names import Stored
from kbert.checkpoints.tensor_views import Renamed, WithoutHeadAxis, head_axis, with_head_axis

BACKBONE_FILE = "model.weights.h5"
TASK_FILE = "task.weights.h5"


def _encoder(*names: str) -> Stored:
    return Stored(tuple(f"{BACKBONE_FILE}/layers/{name}" for name in names))


def _block(*names: str) -> Stored:
    return _encoder(*(f"transformer_encoder_{{n}}/{name}" for name in names))


def _head(name: str) -> Stored:
    return Stored((f"{TASK_FILE}/layers/{name}",))


#: keras-team/keras-hub, bert_backbone.py, masked_lm_head.py, bert_text_classifier.py: file/path in it, as
#: Keras 3 saves a functional model: layers go by their class, and their variables by numbers.
KERAS_HUB = {
    "bert/embeddings/token_embeddings": _encoder("reversible_embedding/vars/0"),
    "bert/embeddings/position_embeddings": _encoder("position_embedding/vars/0"),
    "bert/embeddings/segment_embeddings": _encoder("embedding/vars/0"),
    "bert/embeddings/layer_norm/gamma": _encoder("layer_normalization/vars/0"),
    "bert/embeddings/layer_norm/beta": _encoder("layer_normalization/vars/1"),
    "bert/layer_{n}/attention/qkv/kernel": _block(
        "_self_attention_layer/query_dense/vars/0",
        "_self_attention_layer/key_dense/vars/0",
        "_self_attention_layer/value_dense/vars/0",
    ),
    "bert/layer_{n}/attention/qkv/bias": _block(
        "_self_attention_layer/query_dense/vars/1",
        "_self_attention_layer/key_dense/vars/1",
        "_self_attention_layer/value_dense/vars/1",
    ),
    "bert/layer_{n}/attention/output/kernel": _block("_self_attention_layer/output_dense/vars/0"),
    "bert/layer_{n}/attention/output/bias": _block("_self_attention_layer/output_dense/vars/1"),
    "bert/layer_{n}/attention_layer_norm/gamma": _block("_self_attention_layer_norm/vars/0"),
    "bert/layer_{n}/attention_layer_norm/beta": _block("_self_attention_layer_norm/vars/1"),
    "bert/layer_{n}/intermediate/kernel": _block("_feedforward_intermediate_dense/vars/0"),
    "bert/layer_{n}/intermediate/bias": _block("_feedforward_intermediate_dense/vars/1"),
    "bert/layer_{n}/output/kernel": _block("_feedforward_output_dense/vars/0"),
    "bert/layer_{n}/output/bias": _block("_feedforward_output_dense/vars/1"),
    "bert/layer_{n}/output_layer_norm/gamma": _block("_feedforward_layer_norm/vars/0"),
    "bert/layer_{n}/output_layer_norm/beta": _block("_feedforward_layer_norm/vars/1"),
    "bert/pooler/dense/kernel": _encoder("dense/vars/0"),
    "bert/pooler/dense/bias": _encoder("dense/vars/1"),
    "mlm/transform/kernel": _head("masked_lm_head/_intermediate_dense/vars/0"),
    "mlm/transform/bias": _head("masked_lm_head/_intermediate_dense/vars/1"),
    "mlm/layer_norm/gamma": _head("masked_lm_head/_intermediate_layer_norm/vars/0"),
    "mlm/layer_norm/beta": _head("masked_lm_head/_intermediate_layer_norm/vars/1"),
    "mlm/bias": _head("masked_lm_head/vars/0"),
    "classifier/kernel": _head("dense/vars/0"),
    "classifier/bias": _head("dense/vars/1"),
}

#: Optimizer and step counter of a compiled task; and the encoder once more beside the head, as Keras Hub 0.25
#: writes it with Keras 3.12 (what Python 3.10 has), and itself takes it from its own file.
KERAS_HUB_IGNORED = ("*/optimizer/*", f"{TASK_FILE}/layers/bert_backbone/*")

#: Step and learning rate of the optimizer with which Keras Hub compiles a task that it loads; it warns if a
#: file has none.
_OPTIMIZER = {"optimizer/vars/0": np.int64(0), "optimizer/vars/1": np.float32(5e-5)}

#: End of a name -> the axis of the heads, which that of the numbers of each head follows.
_HEAD_AXES = {
    **{f"/{name}_dense/vars/0": 1 for name in ("query", "key", "value")},
    **{f"/{name}_dense/vars/1": 0 for name in ("query", "key", "value")},
    "/output_dense/vars/0": 0,
}


def read_weights(folder: Path, num_heads: int, left_out: Collection[str] = ()) -> WithoutHeadAxis:
    """The arrays of a preset under the names in `KERAS_HUB`.

    Args:
        folder: Holds `model.weights.h5` and, for a task with weights of its own, `task.weights.h5`.
        num_heads: Of the config.
        left_out: Names in `KERAS_HUB` of arrays that stand for nothing.

    Raises:
        InputError: A file is missing or damaged.
    """
    files = [BACKBONE_FILE, *(file.name for file in folder.glob(TASK_FILE))]
    tensors = Hdf5Files(folder, files)
    names = {_with_number(name): name for name in tensors.shapes if name not in left_out}
    return WithoutHeadAxis(Renamed(tensors, names), _HEAD_AXES, num_heads)


def write_weights(folder: Path, arrays: dict[str, np.ndarray], num_heads: int) -> None:
    """Writes the two files; the second only if there is something to be in it.

    Args:
        folder: Exists.
        arrays: Under the names in `KERAS_HUB`.
        num_heads: Of the config.
    """
    for file in (BACKBONE_FILE, TASK_FILE):
        inside = {name: array for name, array in arrays.items() if name.startswith(f"{file}/")}
        if not inside:
            continue
        with h5py.File(folder / file, "w") as opened:
            for name, array in inside.items():
                stored = with_head_axis(array, head_axis(name, _HEAD_AXES), num_heads)
                opened[_without_number(name).removeprefix(f"{file}/")] = stored
            if file == TASK_FILE:
                opened.update(_OPTIMIZER)


def _with_number(name: str) -> str:
    """Keras numbers equal layers from the second one on."""
    return name.replace("/transformer_encoder/", "/transformer_encoder_0/")


def _without_number(name: str) -> str:
    return name.replace("/transformer_encoder_0/", "/transformer_encoder/")
