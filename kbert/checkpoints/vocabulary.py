"""The vocabulary beside a checkpoint: whether it fits the embedding table, and which case it is in."""

import os
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from kbert.config import BertConfig

#: Share of entries with a capital letter from which on a vocabulary is one of cased text. Uncased ones have
#: hardly any, Google's cased English one 40 %, its multilingual cased one 30 %.
_CASED_SHARE = 0.05
#: Fewer entries with letters that have a case say nothing.
_FEWEST = 100


def misfit(path: Path, tokens: Sequence[str], config: BertConfig) -> str | None:
    """What is wrong with a vocabulary that has ids beyond the embedding table: on a GPU they give NaN."""
    if len(tokens) <= config.vocab_size:
        return None
    return (
        f"{path}:{config.vocab_size + 1}: has {len(tokens)} entries, but the embedding table has "
        f"vocab_size={config.vocab_size} rows (take the vocabulary that the checkpoint was trained with)"
    )


def is_lowercase(tokens: Sequence[str]) -> bool | None:
    """Whether a vocabulary was made from lower-cased text; None where it has too few letters to tell.

    Example:
        >>> is_lowercase(["the", "##ing"] * 100), is_lowercase(["the", "The"] * 100), is_lowercase(["好"])
        (True, False, None)
    """
    words = [token for token in tokens if not token.startswith("[")]
    with_case = sum(word.lower() != word.upper() for word in words)
    if with_case < _FEWEST:
        return None
    return sum(word.lower() != word for word in words) < _CASED_SHARE * with_case


def warn_of_case(path: str | os.PathLike, tokens: Sequence[str], lowercase: bool) -> None:
    """Logs one line if texts are to be lower-cased for a cased vocabulary, or the reverse.

    Reference:
        google-research/bert, tokenization.py, `validate_case_matches_checkpoint`, which goes by the name of
        the checkpoint.
    """
    looks = is_lowercase(tokens)
    if looks is None or looks == lowercase:
        return
    if lowercase:
        found, result = "has many entries with capital letters", "texts lower-cased, so that those go unused"
    else:
        found, result = "has next to no capital letter", "texts left as they are, so that 'The' becomes [UNK]"
    logging.warning("%s: %s, but lowercase=%s: %s; is that intended?", path, found, lowercase, result)


def settle_case(path: str | os.PathLike, tokens: Sequence[str], lowercase: bool | None) -> bool:
    """Whether texts are lower-cased: as asked for, with a warning if the vocabulary looks otherwise.

    Args:
        path: The vocabulary, for the warning.
        tokens: Its entries.
        lowercase: None takes what it looks like; one with too few letters to tell has lower case.
    """
    if lowercase is None:
        return is_lowercase(tokens) is not False
    warn_of_case(path, tokens, lowercase)
    return lowercase
