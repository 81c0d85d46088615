"""What a run starts from: sizes, vocabulary and casing, checked against each other."""

from dataclasses import dataclass
from pathlib import Path

from kbert.checkpoints import find_vocab, read_config, read_lowercase
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.text import Vocab


@dataclass(frozen=True)
class StartingPoint:
    """The parts of a new run that belong together.

    Args:
        config: Of the encoder.
        vocab_path: Its `vocab.txt`.
        lowercase: How that vocabulary wants its text.
    """

    config: BertConfig
    vocab_path: Path
    lowercase: bool


def starting_point(
    *,
    init: str | None = None,
    size: str | None = None,
    config: str | None = None,
    vocab: str | None = None,
    lowercase: bool | None = None,
) -> StartingPoint:
    """Settles what the weights will look like, before any is made or loaded.

    Args:
        init: Folder of a checkpoint; or one of the next two for random weights.
        size: Name of a preset, `tiny` to `large`, with as many token embeddings as the vocabulary has.
        config: Path of a JSON file of `BertConfig`.
        vocab: Path of a `vocab.txt`; None takes the one in `init`.
        lowercase: None takes what `init` says, else True.

    Raises:
        InputError: Not exactly one of `init`, `size` and `config`; no vocabulary; more entries than the
            embedding table has rows.
    """
    given = [name for name, value in (("init", init), ("size", size), ("config", config)) if value]
    if len(given) != 1:
        came = " and ".join(f"--{name}" for name in given) or "none of them"
        raise InputError(f"give exactly one of --init, --size and --config; {came} came")
    read = read_config(init) if init else None
    vocab_path = vocab or (find_vocab(init) if init else None)
    if vocab_path is None:
        raise InputError(f"{init or 'random weights'}: no vocab.txt there; name one with --vocab")
    entries = len(Vocab.read(vocab_path))
    if config:
        settled = BertConfig.from_json(config)
    else:
        settled = read or BertConfig.preset(size or "", vocab_size=entries)
    if entries > settled.vocab_size:
        raise InputError(
            f"{vocab_path}: {entries} entries, but the token embedding table has {settled.vocab_size} rows; "
            f"use the vocabulary the model was trained with"
        )
    if lowercase is None:
        lowercase = read_lowercase(init) if init else None
    return StartingPoint(settled, Path(vocab_path), True if lowercase is None else lowercase)
