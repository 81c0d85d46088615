"""JSON files of checkpoints; Google's and Hugging Face's configs, which share their keys, as `BertConfig`."""

import json
from pathlib import Path
from typing import Any

from kbert.config import BertConfig
from kbert.errors import InputError

#: Field of BertConfig -> key in `bert_config.json` and `config.json`.
KEYS = {
    "vocab_size": "vocab_size",
    "hidden_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_dim": "intermediate_size",
    "max_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "initializer_range": "initializer_range",
}


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: The file is missing, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a JSON file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no UTF-8 text ({error}); expected a JSON file") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: is no JSON ({error.msg}); copy the file again") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds a {type(values).__name__}; expected one JSON object")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a JSON object, indented, its non-ASCII characters as they are."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def config_from(
    path: Path, values: dict[str, Any], activations: dict[str, str], **other_fields: Any
) -> BertConfig:
    """The config that foreign values describe.

    Args:
        path: Their file, for errors.
        values: Key -> value; keys of no concern are ignored.
        activations: The form's name of an activation -> kbert's.
        **other_fields: Fields of `BertConfig` that the form states differently or implies; a value from
            `KEYS` takes precedence.

    Raises:
        InputError: `vocab_size` is missing, a value is out of range, or the activation is unknown.
    """
    if "vocab_size" not in values:
        raise InputError(f"{path}: has no vocab_size; expected the config of a BERT model")
    name = values.get("hidden_act", "gelu")
    if name not in activations:
        raise InputError(
            f"{path}: hidden_act={name!r} is not supported; expected one of {', '.join(activations)}"
        )
    fields = {"activation": activations[name], **other_fields}
    fields |= {field: values[key] for field, key in KEYS.items() if key in values}
    try:
        return BertConfig(**fields)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def config_to(config: BertConfig) -> dict[str, Any]:
    """Foreign key -> value, of the fields in `KEYS`."""
    return {key: getattr(config, field) for field, key in KEYS.items()}
