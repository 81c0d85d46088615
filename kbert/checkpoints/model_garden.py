"""The TensorFlow Model Garden's form: an object-based TF2 checkpoint of `official/nlp`, and its config.

The files are called as Google's TF1 ones are; what is in them goes by the Python attributes that led to it.
Read only: there is no one way in which Model Garden names a whole model.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from absl import logging

from kbert.checkpoints.checkpoint import Checkpoint, class_with, heads_in
from kbert.checkpoints.configs import UNREAD_KEYS, check_keys, config_from, read_json
from kbert.checkpoints.google import Tf1Tensors
from kbert.checkpoints.names import Stored
from kbert.checkpoints.tensor_views import Renamed, WithoutHeadAxis
from kbert.config import BertConfig
from kbert.errors import InputError

CONFIG_FILE = "bert_config.json"
PARAMS_FILE = "params.yaml"

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ENDING = "/.ATTRIBUTES/VARIABLE_VALUE"


def _encoder(*names: str) -> Stored:
    return Stored(tuple(f"encoder/{name}" for name in names))


def _block(*names: str) -> Stored:
    return _encoder(*(f"_transformer_layers/{{n}}/{name}" for name in names))


#: tensorflow/models, official/nlp: attributes of `BertEncoderV2`, `MaskedLM` and `ClassificationHead`. The
#: ending that all names have is left out here and in messages.
MODEL_GARDEN = {
    "bert/embeddings/token_embeddings": _encoder("_embedding_layer/embeddings"),
    "bert/embeddings/position_embeddings": _encoder("_position_embedding_layer/embeddings"),
    "bert/embeddings/segment_embeddings": _encoder("_type_embedding_layer/embeddings"),
    "bert/embeddings/layer_norm/gamma": _encoder("_embedding_norm_layer/gamma"),
    "bert/embeddings/layer_norm/beta": _encoder("_embedding_norm_layer/beta"),
    "bert/layer_{n}/attention/qkv/kernel": _block(
        "_attention_layer/_query_dense/kernel",
        "_attention_layer/_key_dense/kernel",
        "_attention_layer/_value_dense/kernel",
    ),
    "bert/layer_{n}/attention/qkv/bias": _block(
        "_attention_layer/_query_dense/bias",
        "_attention_layer/_key_dense/bias",
        "_attention_layer/_value_dense/bias",
    ),
    "bert/layer_{n}/attention/output/kernel": _block("_attention_layer/_output_dense/kernel"),
    "bert/layer_{n}/attention/output/bias": _block("_attention_layer/_output_dense/bias"),
    "bert/layer_{n}/attention_layer_norm/gamma": _block("_attention_layer_norm/gamma"),
    "bert/layer_{n}/attention_layer_norm/beta": _block("_attention_layer_norm/beta"),
    "bert/layer_{n}/intermediate/kernel": _block("_intermediate_dense/kernel"),
    "bert/layer_{n}/intermediate/bias": _block("_intermediate_dense/bias"),
    "bert/layer_{n}/output/kernel": _block("_output_dense/kernel"),
    "bert/layer_{n}/output/bias": _block("_output_dense/bias"),
    "bert/layer_{n}/output_layer_norm/gamma": _block("_output_layer_norm/gamma"),
    "bert/layer_{n}/output_layer_norm/beta": _block("_output_layer_norm/beta"),
    "bert/pooler/dense/kernel": _encoder("_pooler_layer/kernel"),
    "bert/pooler/dense/bias": _encoder("_pooler_layer/bias"),
    "mlm/transform/kernel": Stored(("masked_lm/dense/kernel",)),
    "mlm/transform/bias": Stored(("masked_lm/dense/bias",)),
    "mlm/layer_norm/gamma": Stored(("masked_lm/layer_norm/gamma",)),
    "mlm/layer_norm/beta": Stored(("masked_lm/layer_norm/beta",)),
    "mlm/bias": Stored(("masked_lm/bias",)),
    "nsp/kernel": Stored(("next_sentence/out_proj/kernel",)),
    "nsp/bias": Stored(("next_sentence/out_proj/bias",)),
}

#: The optimizer with its moments, and counters.
MODEL_GARDEN_IGNORED = ("optimizer/*", "*/.OPTIMIZER_SLOT/*", "save_counter", "global_step")

#: End of a name -> the axis of the heads, which that of the numbers of each head follows.
_HEAD_AXES = {
    **{f"/_{name}_dense/kernel": 1 for name in ("query", "key", "value")},
    **{f"/_{name}_dense/bias": 0 for name in ("query", "key", "value")},
    "_attention_layer/_output_dense/kernel": 0,
}

#: Where an older encoder has its parts, in the order in which `_newer_name` tries them: `BertEncoder` numbers
#: its layers, and in 2020 the last projection of the attention lay outside of it. A pretraining model reaches
#: the embedding table and the pooler by a shorter way, through its heads.
_OLDER_NAMES = (
    (r"encoder/layer_with_weights-0/", "encoder/_embedding_layer/"),
    (r"encoder/layer_with_weights-1/", "encoder/_position_embedding_layer/"),
    (r"encoder/layer_with_weights-2/", "encoder/_type_embedding_layer/"),
    (r"encoder/layer_with_weights-3/", "encoder/_embedding_norm_layer/"),
    (r"encoder/layer_with_weights-\d+/(kernel|bias)$", r"encoder/_pooler_layer/\1"),
    (r"/_attention_output_dense/", "/_attention_layer/_output_dense/"),
    (r"^model/masked_lm/", "masked_lm/"),
    (r"masked_lm/embedding_table$", "encoder/_embedding_layer/embeddings"),
    (r"masked_lm/output_bias\.Sbias$", "masked_lm/bias"),
    (r"next_sentence\.\.pooler_dense/", "encoder/_pooler_layer/"),
    (r"^model/classification_heads/0/dense/", "encoder/_pooler_layer/"),
    (r"^model/classification_heads/0/out_proj/", "next_sentence/out_proj/"),
)

#: What precedes the names of the encoder's parts, and the part that each has.
_POSITION_TABLE = re.compile(r"(.*?)(layer_with_weights-1|_position_embedding_layer)/embeddings")

#: "gelu" is the tanh approximation here, as in Google's form.
_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu", "swish": "silu"}

#: Key in params.yaml -> key in bert_config.json.
_PARAMS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "hidden_activation": "hidden_act",
    "max_position_embeddings": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "dropout_rate": "hidden_dropout_prob",
    "attention_dropout_rate": "attention_probs_dropout_prob",
    "initializer_range": "initializer_range",
}

_PARAMS_OF_HEAD = ("mlm_activation", "mlm_output_weights_use_proj")

#: Keys that add outputs, or choose among equal ways to compute them.
_OF_NO_CONCERN = UNREAD_KEYS | frozenset(
    """
    backward_compatible return_all_encoder_outputs return_attention_scores return_word_embeddings
    """.split()
)


def recognises(folder: Path) -> bool:
    """Whether a folder has a config and an object-based checkpoint; Google's TF1 form has no object graph."""
    if not any(folder.glob("*.index")):
        return False  # Others call files params.yaml too, such as DVC.
    if (folder / PARAMS_FILE).is_file():
        return True
    if not (folder / CONFIG_FILE).is_file():
        return False
    try:
        return _OBJECT_GRAPH in Tf1Tensors(folder).shapes
    except InputError:
        # Damaged or missing: the form with the same file names says so when it opens the checkpoint.
        return False


def read_config(folder: Path) -> BertConfig:
    """The config in `bert_config.json`, or else in `params.yaml`.

    Raises:
        InputError: The file is missing or describes what kbert has not.
    """
    if (folder / CONFIG_FILE).is_file():
        path, values = folder / CONFIG_FILE, read_json(folder / CONFIG_FILE)
    else:
        path, values = folder / PARAMS_FILE, _read_params(folder / PARAMS_FILE)
    supported = {
        "embedding_size": (None, values.get("hidden_size")),
        "norm_first": (False,),
        "output_range": (None,),
        # Of the masked-token head, whose table is that of the embeddings.
        "mlm_activation": (values.get("hidden_act"),),
        "mlm_output_weights_use_proj": (False,),
    }
    check_keys(path, values, supported, _OF_NO_CONCERN)
    return config_from(path, values, _ACTIVATIONS, num_segments=16, layer_norm_epsilon=1e-12)


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of this form; its variables say which heads of pretraining it has.

    Raises:
        InputError: A file is missing, damaged or of another model.
    """
    config = read_config(folder)
    stored = Tf1Tensors(folder)
    tensors = WithoutHeadAxis(Renamed(stored, _names(stored)), _HEAD_AXES, config.num_heads)
    model = class_with(heads_in(tensors, MODEL_GARDEN))
    path = folder / (CONFIG_FILE if (folder / CONFIG_FILE).is_file() else PARAMS_FILE)
    return Checkpoint(
        str(path), config, model, tensors, MODEL_GARDEN, ignored=MODEL_GARDEN_IGNORED, encoder=("encoder/",)
    )


def _names(tensors: Tf1Tensors) -> dict[str, str]:
    """Name in `MODEL_GARDEN` -> name in the file.

    Raises:
        InputError: There is no encoder, or more than one.
    """
    there = {name.removesuffix(_ENDING): name for name in tensors.shapes if name.endswith(_ENDING)}
    # By the position table: a pretraining model reaches the token table by another way.
    tables = [match for name in there if (match := _POSITION_TABLE.fullmatch(name))]
    if len(tables) != 1:
        raise InputError(
            f"{tensors.file}: holds {len(tables)} encoders of BERT; expected one, written by "
            f"tf.train.Checkpoint(encoder=...) or (model=...)"
        )
    encoder = re.compile(re.escape(tables[0][1]) + "(?=layer_with_weights-|_)")
    names: dict[str, str] = {}
    # Heads last: of two poolers, that of the encoder is the one which no head has trained.
    for name in sorted(there, key=lambda name: not encoder.match(name)):
        newer = _newer_name(encoder.sub("encoder/", name, count=1) if encoder.match(name) else name)
        if newer in names:
            logging.info("%s: %s is taken, not %s", tensors.file, there[name], names[newer])
        names[newer] = there[name]
    return names


def _newer_name(name: str) -> str:
    block = re.match(r"encoder/layer_with_weights-(\d+)/_", name)
    if block:
        name = name.replace(block[0], f"encoder/_transformer_layers/{int(block[1]) - 4}/_")
    for pattern, newer in _OLDER_NAMES:
        name = re.sub(pattern, newer, name)
    return name


def _read_params(path: Path) -> dict[str, Any]:
    """What `params.yaml` says of the encoder, with the keys of `bert_config.json`.

    Raises:
        InputError: The file is damaged, or describes no BERT.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        model = values["task"]["model"]
        kind = model["encoder"]["type"]
        described: dict[str, Any] = dict(model["encoder"][kind])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: has no task.model.encoder ({type(error).__name__}); expected the file that training in "
            f"official/nlp writes"
        ) from error
    if kind not in ("bert", "bert_v2"):
        raise InputError(f"{path}: describes an encoder of type {kind!r}; expected 'bert' or 'bert_v2'")
    described |= {key: value for key, value in model.items() if key in _PARAMS_OF_HEAD}
    return {_PARAMS.get(key, key): value for key, value in described.items()}
