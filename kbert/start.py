"""What a run starts from: sizes, vocabulary and casing, checked against each other."""

from dataclasses import dataclass
from pathlib import Path

from kbert.checkpoints import find_vocab, read_config, read_lowercase, read_tokens
from kbert.checkpoints.vocabulary import settle_case
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
    num_hidden_layers_used: int | None = None,
) -> StartingPoint:
    """Settles what the weights will look like, before any is made or loaded.

    Args:
        init: Folder or name of a checkpoint; or one of the next two for random weights.
        size: Name of a preset, `tiny` to `large`, with as many token embeddings as the vocabulary has.
        config: Path of a JSON file: `BertConfig`'s own, Google's or Hugging Face's.
        vocab: Path of a `vocab.txt`; None takes the one in `init`.
        lowercase: None takes what `init` says, else what the vocabulary looks like, else True. One that
            contradicts the vocabulary is warned of.
        num_hidden_layers_used: Of `init`, and of nothing else, only its first n layers; None for all.

    Raises:
        InputError: Not exactly one of `init`, `size` and `config`; no vocabulary, or one of another kind
            than WordPiece in `init`; more entries than the embedding table has rows; more layers wanted than
            there are.
    """
    given = [name for name, value in (("init", init), ("size", size), ("config", config)) if value]
    if len(given) != 1:
        came = " and ".join(f"--{name}" for name in given) or "none of them"
        raise InputError(f"give exactly one of --init and --size (pretrain.py: or --config); {came} came")
    if init:
        read_tokens(init)  # Refuses a tokenizer of another kind than WordPiece.
    vocab_path = vocab or (find_vocab(init) if init else None)
    if vocab_path is None:
        raise InputError(
            f"{init or 'random weights'}: no vocab.txt there; name one with --vocab (tf_scripts/"
            f"convert_checkpoint.py makes one of a tokenizer.json)"
        )
    vocabulary = Vocab.read(vocab_path)
    entries = len(vocabulary)
    if num_hidden_layers_used is not None and not init:
        raise InputError(
            "--num_hidden_layers_used takes layers of --init; leave it out, or choose a smaller size"
        )
    if size:
        settled = BertConfig.preset(size, vocab_size=entries)
    else:
        settled = read_config(init or config or "", num_hidden_layers_used)
    if entries > settled.vocab_size:
        raise InputError(
            f"{vocab_path}: {entries} entries, but the token embedding table has {settled.vocab_size} rows; "
            f"use the vocabulary the model was trained with"
        )
    known = read_lowercase(init) if init and lowercase is None else None  # Loading warns of it.
    lowercase = settle_case(vocab_path, vocabulary.tokens, lowercase) if known is None else known
    return StartingPoint(settled, Path(vocab_path), lowercase)
