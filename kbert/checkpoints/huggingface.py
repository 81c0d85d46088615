"""Hugging Face's form: `config.json` beside `model.safetensors`, whole or in shards."""

from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from kbert.checkpoints import tokenizer_files, vocabulary
from kbert.checkpoints.checkpoint import HEADS, Checkpoint, class_with, heads_in, output_size
from kbert.checkpoints.configs import (
    UNREAD_KEYS,
    check_keys,
    config_from,
    config_to,
    read_json,
    require_one_arithmetic,
    warn_once,
    write_json,
)
from kbert.checkpoints.names import HUGGINGFACE, HUGGINGFACE_IGNORED, foreign_arrays, only
from kbert.checkpoints.tensors import SafetensorsFile, SafetensorsShards, pickled, write_safetensors
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.models import require_merged
from kbert.vocab_file import read_entries

CONFIG_FILE = "config.json"
_WEIGHTS_FILE = "model.safetensors"
_INDEX_FILE = "model.safetensors.index.json"

#: transformers' names -> kbert's. Of names that mean one function the first is written.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}

#: Key -> the only values with which transformers computes what kbert does.
_SUPPORTED = {
    "model_type": ("bert",),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}

#: Keys that change no number of an encoder: what transformers (versions 2 to 5) keeps there for all models,
#: for text generation, for its own housekeeping, for training. `chunk_size_feed_forward` trades speed for
#: memory.
_OF_NO_CONCERN = UNREAD_KEYS | frozenset(
    """
    layer_norm_eps architectures id2label label2id num_labels _num_labels problem_type finetuning_task
    classifier_dropout xla_device
    _name_or_path _attn_implementation_autoset attn_implementation dtype torch_dtype torchscript
    transformers_version tf_legacy_loss use_bfloat16 use_cache gradient_checkpointing chunk_size_feed_forward
    output_attentions output_hidden_states output_past output_scores return_dict return_dict_in_generate
    tie_word_embeddings tokenizer_class task_specific_params language name
    pad_token_id bos_token_id eos_token_id eos_token_ids sep_token_id decoder_start_token_id
    bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id
    length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
    prefix remove_invalid_values repetition_penalty suppress_tokens temperature top_k top_p typical_p
    sentence_transformers sbert_ce_default_activation_function
    """.split()
)

#: kbert's class -> the one of transformers that has the same heads.
_CLASSES = {
    "Bert": "BertModel",
    "BertEmbedder": "BertModel",
    "BertPretrainer": "BertForPreTraining",
    "BertMaskedLM": "BertForMaskedLM",
    "BertClassifier": "BertForSequenceClassification",
    "BertTagger": "BertForTokenClassification",
    "BertSpanFinder": "BertForQuestionAnswering",
    "BertMultipleChoice": "BertForMultipleChoice",
}

#: Classes whose name does not settle their heads: bert-base-uncased says BertForMaskedLM, and has both.
_FAMILY = ("BertModel", "BertForPreTraining", "BertForMaskedLM")

#: Kind of a classifier -> transformers' name of it.
_KINDS = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}

#: Second names of one tensor: the output matrix is the embedding table. Left out where both are equal, and
#: taken for the first where that is missing.
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


class HuggingFaceTensors:
    """The tensors of `model.safetensors`, or of its shards, under today's names of a model with a head.

    Older files say `LayerNorm.gamma` and `.beta`, a bare encoder leaves out `bert.`; second copies of tied
    tensors carry nothing and are left out.

    Args:
        folder: Holds the files.

    Raises:
        InputError: A file is missing or damaged.
    """

    def __init__(self, folder: Path):
        if (folder / _WEIGHTS_FILE).exists():
            self._stored = SafetensorsFile(folder / _WEIGHTS_FILE)
        elif (folder / _INDEX_FILE).exists():
            self._stored = SafetensorsShards(folder / _INDEX_FILE)
        else:
            lacking = f"{folder}: has {CONFIG_FILE}, but no {_WEIGHTS_FILE}; copy or download that file too"
            raise pickled(folder) or InputError(lacking)
        self.file = self._stored.file
        self._in_file = {_name_today(name): name for name in self._stored.shapes}
        for second, first in _TIED.items():
            if second in self._in_file and first not in self._in_file:
                self._in_file[first] = self._in_file.pop(second)
            elif second in self._in_file and np.array_equal(self.read(first), self.read(second)):
                del self._in_file[second]
        self.shapes = {name: self._stored.shapes[there] for name, there in self._in_file.items()}
        self.types = {name: self._stored.types[there] for name, there in self._in_file.items()}

    def read(self, name: str) -> np.ndarray:
        """The array of that name, float32."""
        return self._stored.read(self._in_file[name])


def _name_today(name: str) -> str:
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def recognises(folder: Path) -> bool:
    """Whether a folder has the file that marks this form."""
    return (folder / CONFIG_FILE).is_file()


def config_in(path: Path) -> BertConfig:
    """The config in a file of this form, whatever its name.

    Raises:
        InputError: The file is missing or describes what kbert has not, which the message names.
    """
    values = read_json(path)
    # Another width of the embeddings is ALBERT's and ELECTRA's; some configs of BERT state the same one.
    width = (values.get("hidden_size"),)
    supported = {**_SUPPORTED, "embedding_size": width, "emb_size": width}
    check_keys(path, values, supported, _OF_NO_CONCERN)
    return config_from(path, values, _ACTIVATIONS, layer_norm_epsilon=values.get("layer_norm_eps", 1e-12))


def read_config(folder: Path) -> BertConfig:
    """The config in `config.json`; errors as `config_in`."""
    return config_in(folder / CONFIG_FILE)


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of this form.

    Raises:
        InputError: A file is missing, damaged or of another model.
    """
    path, config, tensors = folder / CONFIG_FILE, read_config(folder), HuggingFaceTensors(folder)
    values = read_json(path)
    model = _class_of((values.get("architectures") or [None])[0], tensors)
    table = only(HUGGINGFACE, *HEADS.get(model, ("mlm", "nsp", "span")))
    head = _head_of(path, values, model, tensors)
    count = _number_of_labels(head)
    task = _task_of(folder, config, head, _labels(path, values, count)) if count else None
    if model == "BertClassifier":
        _warn_of_activation(path, values, head["kind"])
    return Checkpoint(str(path), config, model, tensors, table, head, HUGGINGFACE_IGNORED, task)


def _class_of(named: str | None, tensors: HuggingFaceTensors) -> str:
    """The class of kbert for a class of transformers; the latter's name where there is none."""
    of_theirs = {theirs: ours for ours, theirs in reversed(_CLASSES.items())}
    if named is None or named in _FAMILY:
        heads = heads_in(tensors, only(HUGGINGFACE, "mlm", "nsp", "span"))
        if named == "BertForPreTraining":
            return "BertPretrainer"
        if named is None and "classifier.weight" in tensors.shapes:
            # Three classes have such a matrix; those for tokens do without a pooler.
            return "BertClassifier" if "bert.pooler.dense.weight" in tensors.shapes else "BertTagger"
        return class_with(heads) if heads else of_theirs[named or "BertModel"]
    return of_theirs.get(named, named)


def _head_of(path: Path, values: dict[str, Any], model: str, tensors: HuggingFaceTensors) -> dict[str, Any]:
    """The constructor's arguments besides the config."""
    if model == "BertTagger":
        return {"num_tags": output_size(tensors, "classifier.bias")}
    if model != "BertClassifier":
        return {}
    count = output_size(tensors, "classifier.bias")
    named = values.get("problem_type") or _KINDS["regression" if count == 1 else "single"]
    kinds = {theirs: ours for ours, theirs in _KINDS.items()}
    if named not in kinds:
        raise InputError(
            f"{path}: problem_type={named!r} is not supported; expected one of {', '.join(kinds)}"
        )
    return {"num_classes": count, "kind": kinds[named]}


def _warn_of_activation(path: Path, values: dict[str, Any], kind: str) -> None:
    """Says what sentence-transformers makes of the logits of a cross-encoder, as kbert does not."""
    of_theirs = values.get("sentence_transformers")
    newer = of_theirs.get("activation_fn") if isinstance(of_theirs, dict) else None
    named = newer or values.get("sbert_ce_default_activation_function")
    if named and not str(named).endswith(".Identity"):
        ours = "the logits themselves" if kind == "regression" else "probabilities, as its other classifiers"
        warn_once(f"{path}: sentence-transformers gives {named} of the logits; kbert gives {ours}")


def _number_of_labels(head: dict[str, Any]) -> int | None:
    return head.get("num_classes", head.get("num_tags"))


def _made_up_labels(count: int) -> list[str]:
    """What transformers calls classes without names."""
    return [f"LABEL_{number}" for number in range(count)]


def _labels(path: Path, values: dict[str, Any], count: int) -> list[str]:
    """The labels in order; those that transformers makes up where a config has none."""
    if "id2label" not in values:
        return _made_up_labels(count)
    labels, expected = values["id2label"], [str(number) for number in range(count)]
    if not isinstance(labels, dict) or sorted(labels, key=lambda key: (len(key), key)) != expected:
        raise InputError(
            f"{path}: id2label={labels!r} does not name the {count} classes of the weights; expected the "
            f"keys {', '.join(expected)}"
        )
    return [str(labels[number]) for number in expected]


def _task_of(folder: Path, config: BertConfig, head: dict[str, Any], labels: list[str]) -> dict[str, Any]:
    lowercase = tokenizer_files.read_lowercase(folder)
    if lowercase is None:
        lowercase = vocabulary.is_lowercase(_tokens(folder)) is not False
    common = {
        "max_length": tokenizer_files.read_max_length(folder, config.max_length),
        "lowercase": lowercase,
    }
    if "num_tags" in head:
        return {"name": "tagging", "tags": labels, **common}
    names = {"single": "classification", "multi": "multi_label", "regression": "regression"}
    # Whether texts came in pairs is written nowhere.
    return {"name": names[head["kind"]], "labels": labels, "pair": False, **common}


def _tokens(folder: Path) -> list[str]:
    """The vocabulary, or none where it is of another kind: the weights can be had all the same."""
    vocab = folder / tokenizer_files.VOCAB_FILE
    if vocab.is_file():
        return read_entries(vocab)
    try:
        return tokenizer_files.read_fast_tokens(folder) or []
    except InputError:
        return []


def write(folder: Path, model, labels: list[str] | None = None, *, pad_id: int = 0) -> None:
    """Writes a model in this form, for `from_pretrained` of the class it names.

    Args:
        folder: Exists.
        model: One of kbert's, with heads that transformers has.
        labels: Of a classifier, or the tags of a tagger, in order.
        pad_id: Of `[PAD]`: what transformers trains no row of the embedding table for.

    Raises:
        InputError: transformers has no such head; or the model has LoRA adapters.
    """
    require_merged(model)
    require_one_arithmetic(model, "Hugging Face's form")
    config, class_name = model.config, _CLASSES[type(model).__name__]
    arrays = foreign_arrays(HUGGINGFACE, model, "Hugging Face's form")
    if class_name == "BertModel":
        arrays = {name.removeprefix("bert."): array for name, array in arrays.items()}
        if "pooler.dense.weight" not in arrays:
            logging.warning("%s: has no pooler; AutoModel will make one at random unless told not to", folder)
    names = {own: theirs for theirs, own in reversed(_ACTIVATIONS.items())}
    values = {
        "architectures": [class_name],
        "model_type": "bert",
        **config_to(config),
        "hidden_act": names[config.activation],
        "layer_norm_eps": config.layer_norm_epsilon,
        "pad_token_id": pad_id,
        "position_embedding_type": "absolute",
    }
    head = model.get_config()
    if "kind" in head:
        values["problem_type"] = _KINDS[head["kind"]]
    if count := _number_of_labels(head):
        labels = labels or _made_up_labels(count)
        values["id2label"] = {str(number): label for number, label in enumerate(labels)}
        values["label2id"] = {label: number for number, label in enumerate(labels)}
    write_json(folder / CONFIG_FILE, values)
    write_safetensors(folder / _WEIGHTS_FILE, arrays)
