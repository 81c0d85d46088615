"""The vocabulary beside a checkpoint: whether it fits the embedding table, and which case it is in."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from kbert.config import BertConfig

#: Share of entries with a capital letter from which on a vocabulary is one of cased text. Uncased ones have
#: hardly any, Google's cased English one 40 %, its multilingual cased one 30 %.
_CASED_SHARE = 0.05
#: Fewer entries in which it could show say nothing.
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

    In letters with case it shows by capitals; in others where lower-casing, which strips accents too, would
    take vowel signs away or Korean syllables apart. That counts where there are more of such entries.

    Example:
        >>> is_lowercase(["the", "##ing"] * 100), is_lowercase(["the", "The"] * 100), is_lowercase(["好"])
        (True, False, None)
        >>> is_lowercase(["한국", "##어"] * 100)
        False
    """
    words = [token for token in tokens if not token.startswith("[")]
    with_case = [word for word in words if word.lower() != word.upper()]
    capitals = sum(word.lower() != word for word in with_case)
    signs = sum(_without_accents(word) != word for word in words if word.lower() == word.upper())
    if len(with_case) + signs < _FEWEST:
        return None
    return capitals < _CASED_SHARE * len(with_case) and signs < len(with_case)


def _without_accents(word: str) -> str:
    decomposed = unicodedata.normalize("NFD", word)
    return "".join(char for char in decomposed if unicodedata.category(char) != "Mn")


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
        found = "has many entries that lower-casing would change"
        result = "texts lower-cased, so that those go unused"
    else:
        found = "has next to no capital letter"
        result = "texts left as they are, so that 'The' becomes [UNK]"
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
