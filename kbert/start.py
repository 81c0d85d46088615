"""What a run starts from: sizes, vocabulary and casing, checked against each other."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from kbert.checkpoints import find_vocab, read_config, read_lowercase, read_pooling, read_tokens
from kbert.checkpoints.vocabulary import settle_case
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.text import Vocab

#: Entries that no text is split into: what a model has learned of them is nothing.
_UNUSED = re.compile(r"\[unused\d+\]")


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
        vocab: Path of a `vocab.txt`; None takes the one in `init`. A given one has the same entries, but
            for those over `[unusedN]` and those behind its end.
        lowercase: None takes what `init` says, else what the vocabulary looks like, else True. One that
            contradicts the vocabulary is warned of.
        num_hidden_layers_used: Of `init`, and of nothing else, only its first n layers; None for all.

    Raises:
        InputError: Not exactly one of `init`, `size` and `config`; no vocabulary, one of another kind than
            WordPiece in `init`, or another one than there; more entries than the embedding table has rows;
            more layers wanted than there are.
    """
    given = [name for name, value in (("init", init), ("size", size), ("config", config)) if value]
    if len(given) != 1:
        came = " and ".join(f"--{name}" for name in given) or "none of them"
        raise InputError(f"give exactly one of --init and --size (pretrain.py: or --config); {came} came")
    learned = read_tokens(init) if init else None  # Refuses a tokenizer of another kind than WordPiece.
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
    _check_same(vocab_path, vocabulary.tokens, init, learned or ())
    known = read_lowercase(init) if init and lowercase is None else None  # Loading warns of it.
    lowercase = settle_case(vocab_path, vocabulary.tokens, lowercase) if known is None else known
    return StartingPoint(settled, Path(vocab_path), lowercase)


def refuse_start_as_target(init: str | None, model_dir: str | os.PathLike) -> None:
    """Refuses to write the model over the one it starts from: a run stopped after that could not go on.

    Args:
        init: The checkpoint, if any.
        model_dir: Of the model.

    Raises:
        InputError: They are one folder.
    """
    if init is not None and Path(init).resolve() == Path(model_dir).resolve():
        raise InputError(
            f"--init and --model_dir are one folder, {model_dir}: the start would be overwritten; name "
            f"another --model_dir"
        )


def _check_same(
    vocab_path: str | Path, tokens: Sequence[str], init: str | None, learned: Sequence[str]
) -> None:
    """Refuses a vocabulary whose ids mean other tokens than those that a checkpoint has learned.

    Args:
        vocab_path: The vocabulary, for the error.
        tokens: Its entries.
        init: The checkpoint, for the error.
        learned: The entries of its own.

    Raises:
        InputError: An entry is another one, and neither of the two is `[unusedN]`.
    """
    other = [
        number
        for number, (token, own) in enumerate(zip(tokens, learned, strict=False))
        if token != own and not _UNUSED.fullmatch(token) and not _UNUSED.fullmatch(own)
    ]
    if other:
        first = other[0]
        raise InputError(
            f"{vocab_path}:{first + 1}: {tokens[first]!r} stands where {init} has learned "
            f"{learned[first]!r}; {len(other)} of {len(tokens)} entries are others; leave --vocab out, or "
            f"replace the vocabulary in that folder if it is the wrong one"
        )


def task_options(given: Mapping[str, Any], known: Collection[str], init: str | None) -> dict[str, Any]:
    """The options of a task: those that are given, and what a checkpoint says of others, which is logged.

    Args:
        given: Name -> value.
        known: Names of all that the task has.
        init: Folder or name of the checkpoint; None for random weights.

    Raises:
        InputError: As for `kbert.load`.
    """
    said = read_pooling(init) if init and "pooling" in known else None
    if said is None or "pooling" in given:
        return dict(given)
    logging.info("%s: pools by %s, and so does this task, without --pooling", init, said)
    return {**given, "pooling": said}
