"""Hugging Face's form: `config.json` beside `model.safetensors`."""

from pathlib import Path

import numpy as np

from kbert.checkpoints.checkpoint import Checkpoint, head_class, num_classes
from kbert.checkpoints.configs import config_from, config_to, read_json, write_json
from kbert.checkpoints.names import HUGGINGFACE, stored, weight_paths
from kbert.checkpoints.tensors import SafetensorsFile, write_safetensors
from kbert.config import BertConfig
from kbert.errors import InputError

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer_config.json"
_WEIGHTS_FILE = "model.safetensors"

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}

#: Key -> the only values with which transformers computes what kbert does.
_REQUIRED = {
    "model_type": ("bert",),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
}

#: kbert's class -> the one of transformers that has the same heads.
_CLASSES = {
    "Bert": "BertModel",
    "BertPretrainer": "BertForPreTraining",
    "BertClassifier": "BertForSequenceClassification",
}

#: The masked-language-model class is read too: bert-base-uncased names it, and has both heads.
_READABLE = {*_CLASSES.values(), "BertForMaskedLM"}

#: Second names of one tensor: the output matrix is the embedding table. Left out where both are equal.
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


class HuggingFaceTensors:
    """The tensors of `model.safetensors`, as `Tensors`, under today's names of a model with a head.

    Older files say `LayerNorm.gamma` and `.beta`, a bare encoder leaves out `bert.`; position numbers
    and second copies of tied tensors carry nothing and are left out.

    Args:
        folder: Holds the file.

    Raises:
        InputError: The file is missing or damaged.
    """

    def __init__(self, folder: Path):
        if not (folder / _WEIGHTS_FILE).exists():
            raise _no_weights(folder)
        self._safetensors = SafetensorsFile(folder / _WEIGHTS_FILE)
        self.file = self._safetensors.file
        self._in_file = {
            _name_today(name): name
            for name in self._safetensors.shapes
            if not name.endswith("embeddings.position_ids")
        }
        for second, first in _TIED.items():
            if {first, second} <= set(self._in_file) and np.array_equal(self.read(first), self.read(second)):
                del self._in_file[second]
        self.shapes = {name: self._safetensors.shapes[there] for name, there in self._in_file.items()}
        self.types = {name: self._safetensors.types[there] for name, there in self._in_file.items()}

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32."""
        return self._safetensors.read(self._in_file[name])


def _name_today(name: str) -> str:
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def _no_weights(folder: Path) -> InputError:
    if (folder / "pytorch_model.bin").exists():
        return InputError(
            f"{folder / 'pytorch_model.bin'}: is pickled, which can run any code; load it with transformers "
            f"and write {_WEIGHTS_FILE}: model.save_pretrained(FOLDER, safe_serialization=True)"
        )
    return InputError(f"{folder}: has {CONFIG_FILE}, but no {_WEIGHTS_FILE}; copy or download that file too")


def read_config(folder: Path) -> BertConfig:
    """The config in `config.json`.

    Raises:
        InputError: The file is missing or describes what kbert has not, which the message names.
    """
    path = folder / CONFIG_FILE
    values = read_json(path)
    for key, supported in _REQUIRED.items():
        if key in values and values[key] not in supported:
            raise InputError(f"{path}: {key}={values[key]!r} is not supported; expected {supported[0]!r}")
    return config_from(path, values, _ACTIVATIONS, layer_norm_epsilon=values.get("layer_norm_eps", 1e-12))


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of this form.

    Raises:
        InputError: A file is missing, damaged or of another model.
    """
    config = read_config(folder)
    tensors = HuggingFaceTensors(folder)
    model = head_class(tensors, HUGGINGFACE)
    head = {"num_classes": num_classes(tensors, "classifier.bias")} if model == "BertClassifier" else {}
    named = read_json(folder / CONFIG_FILE).get("architectures") or [_CLASSES[model]]
    if named[0] not in _READABLE:
        model = named[0]
    # Classes that do not use the pooler do not store it either.
    may_lack = ("bert/pooler/",) if model not in ("BertPretrainer", "BertClassifier") else ()
    return Checkpoint(str(folder / CONFIG_FILE), config, model, tensors, HUGGINGFACE, head, may_lack)


def write(folder: Path, model, labels: list[str] | None = None) -> None:
    """Writes a model in this form, for `from_pretrained` of the class it names.

    Args:
        folder: Exists.
        model: A `Bert`, `BertPretrainer` or `BertClassifier`.
        labels: Of a classifier, in order.
    """
    config, class_name = model.config, _CLASSES[type(model).__name__]
    names = {own: theirs for theirs, own in reversed(_ACTIVATIONS.items())}
    values = {
        "architectures": [class_name],
        "model_type": "bert",
        **config_to(config),
        "hidden_act": names[config.activation],
        "layer_norm_eps": config.layer_norm_epsilon,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
    }
    if labels:
        values["id2label"] = {str(number): label for number, label in enumerate(labels)}
        values["label2id"] = {label: number for number, label in enumerate(labels)}
    elif class_name == _CLASSES["BertClassifier"]:
        values["num_labels"] = model.num_classes
    write_json(folder / CONFIG_FILE, values)

    arrays = {}
    for path, weight in weight_paths(model).items():
        row = stored(HUGGINGFACE, path)
        names = row.names if hasattr(model, "bert") else [name.removeprefix("bert.") for name in row.names]
        arrays |= zip(names, row.split(np.asarray(weight, np.float32)), strict=True)
    write_safetensors(folder / _WEIGHTS_FILE, arrays)
