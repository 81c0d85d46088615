"""JSON files of checkpoints; Google's and Hugging Face's configs, which share their keys, as `BertConfig`."""

import functools
import json
from pathlib import Path
from typing import Any

from absl import logging

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

#: Google's Chinese and multilingual configs have these, wherever they were copied to; no code reads them.
UNREAD_KEYS = frozenset(
    """
    directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head
    pooler_type
    """.split()
)

#: Field of BertConfig that no other code has and that changes no weight: where it is set, it is written under
#: its own name, which other code ignores.
_OWN_FIELD = "extended_length"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: The file is missing, or holds something else.
    """
    values = _parsed(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds a {type(values).__name__}; expected one JSON object")
    return values


def read_json_list(path: Path) -> list[Any]:
    """The JSON list in a file; errors as `read_json`."""
    values = _parsed(path)
    if not isinstance(values, list):
        raise InputError(f"{path}: holds a {type(values).__name__}; expected a JSON list")
    return values


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # Editors on Windows put a mark in front.
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a JSON file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no UTF-8 text ({error.reason}); save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: is no JSON ({error.msg}); copy the file again") from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a JSON object, indented, its non-ASCII characters as they are; half ones as their escapes."""
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    path.write_bytes(text.encode("utf-8", errors="backslashreplace"))


@functools.cache
def warn_once(text: str) -> None:
    """Logs a warning; what is said again, as by a file that is opened twice, is not logged again."""
    logging.warning("%s", text)


def check_keys(
    path: Path, values: dict[str, Any], supported: dict[str, tuple], of_no_concern: frozenset[str]
) -> None:
    """Refuses what a config says and kbert would not do.

    Args:
        path: Of the config, for errors.
        values: Key -> value.
        supported: Key -> the only values with which the form's own code computes what kbert does.
        of_no_concern: Keys, besides those of `KEYS` and `hidden_act`, that change no number of the model.

    Raises:
        InputError: A value is not supported, or a key is unknown; the message names it.
    """
    for key, expected in supported.items():
        if key in values and values[key] not in expected:
            raise InputError(f"{path}: {key}={values[key]!r} is not supported; expected {expected[0]!r}")
    unknown = sorted(
        set(values) - {*KEYS.values(), "hidden_act", _OWN_FIELD} - set(supported) - of_no_concern
    )
    if unknown:
        raise InputError(
            f"{path}: unknown keys {', '.join(unknown)}; they may change what the model computes; "
            f"remove those that do not"
        )


def config_from(
    path: Path, values: dict[str, Any], activations: dict[str, str], **other_fields: Any
) -> BertConfig:
    """The config that foreign values describe.

    Args:
        path: Their file, for errors.
        values: Key -> value; keys that are not in `KEYS` are ignored (`check_keys` knows them).
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
    keys = {**KEYS, _OWN_FIELD: _OWN_FIELD}
    fields |= {field: values[key] for field, key in keys.items() if key in values}
    try:
        return BertConfig(**fields)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def config_to(config: BertConfig) -> dict[str, Any]:
    """Foreign key -> value, of the fields in `KEYS`, and `extended_length` where it is set."""
    own = {} if config.extended_length is None else {_OWN_FIELD: config.extended_length}
    return {key: getattr(config, field) for field, key in KEYS.items()} | own


def require_one_arithmetic(model, form: str) -> None:
    """Refuses a masked-token head that computes otherwise than its encoder: the form has one config for both.

    Args:
        model: Any of kbert's.
        form: Named in errors.

    Raises:
        InputError: The head has another activation or epsilon.
    """
    head = getattr(model, "mlm", None)
    if head is None:
        return
    of_head = (head.activation, head.layer_norm_epsilon)
    of_encoder = (model.config.activation, model.config.layer_norm_epsilon)
    if of_head != of_encoder:
        raise InputError(
            f"the masked-token head computes with {of_head}, the encoder with {of_encoder}; {form} has one "
            f"config for both; write kbert's own form, or Keras Hub's"
        )
