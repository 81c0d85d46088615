"""The tokenizer of a Keras Hub preset: `tokenizer.json` and `assets/tokenizer/vocabulary.txt`."""

from pathlib import Path
from typing import Any

from absl import logging

from kbert.checkpoints.configs import read_json, write_json
from kbert.checkpoints.keras_hub import TASK_FILE, described
from kbert.errors import InputError

TOKENIZER_FILE = "tokenizer.json"
VOCAB_FILE = "assets/tokenizer/vocabulary.txt"

#: Without these in its vocabulary Keras Hub's `BertTokenizer` cannot be made.
_SPECIAL = ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]")


def read_lowercase(folder: Path) -> bool | None:
    """Whether the tokenizer of a preset lower-cases; None where there is no file that says it.

    Raises:
        InputError: The file is damaged, or says something that is no yes or no.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        return None
    options = read_json(path).get("config")
    if not isinstance(options, dict) or options.get("lowercase", False) not in (True, False):
        raise InputError(f"{path}: has no config with lowercase true or false; copy the file again")
    lowercase = options.get("lowercase", False)
    if options.get("strip_accents", False) != lowercase:
        # Its presets were made from models that had seen texts without accents, as kbert makes them.
        logging.info("%s: says strip_accents=%s; kbert splits as Google's BERT does", path, not lowercase)
    return lowercase


def write_tokenizer(folder: Path, tokens: list[str], lowercase: bool, max_length: int) -> None:
    """Writes the two files, with which Keras Hub tokenises as kbert does, and makes a task take raw texts.

    Args:
        folder: A preset that is complete otherwise.
        tokens: The vocabulary.
        lowercase: Whether texts are lower-cased, and accents stripped.
        max_length: Pieces to which a task pads and truncates.
    """
    (folder / VOCAB_FILE).parent.mkdir(parents=True)
    (folder / VOCAB_FILE).write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8", newline="")
    missing = [token for token in _SPECIAL if token not in tokens]
    if missing:
        logging.warning("%s: %s not in the vocabulary; no %s", folder, ", ".join(missing), TOKENIZER_FILE)
        return
    options = {"name": "bert_tokenizer", "lowercase": lowercase, "strip_accents": lowercase}
    tokenizer = described("BertTokenizer", {**options, "config_file": TOKENIZER_FILE})
    write_json(folder / TOKENIZER_FILE, tokenizer)
    if (folder / TASK_FILE).is_file():
        task: dict[str, Any] = read_json(folder / TASK_FILE)
        arguments = {"tokenizer": tokenizer, "sequence_length": max_length}
        task["config"]["preprocessor"] = described(f"{task['class_name']}Preprocessor", arguments)
        write_json(folder / TASK_FILE, task)
