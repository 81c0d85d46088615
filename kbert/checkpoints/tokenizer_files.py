"""Hugging Face's files of a tokenizer: `vocab.txt`, `tokenizer_config.json`, `tokenizer.json`."""

import unicodedata
from pathlib import Path
from typing import Any

from absl import logging

from kbert.checkpoints.configs import read_json, warn_once, write_json
from kbert.errors import InputError
from kbert.vocab_file import read_entries

CONFIG_FILE = "tokenizer_config.json"
FAST_FILE = "tokenizer.json"
VOCAB_FILE = "vocab.txt"
_MODEL_FILE = "config.json"

_SPECIAL = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}

#: Classes of transformers that do what `tokenizer.json` says, whatever else is said.
_BY_FAST_FILE = ("PreTrainedTokenizerFast", "TokenizersBackend")

#: Those that split as kbert does: BERT's relatives have its tokenizer under names of their own.
_OUR_CLASSES = (
    None,
    *(f"{name}Tokenizer{fast}" for name in ("Bert", "DistilBert", "Electra") for fast in ("", "Fast")),
    *_BY_FAST_FILE,
)

#: As in `kbert.text`: a longer word is [UNK].
_MAX_WORD_CHARS = 200


def read_lowercase(folder: Path) -> bool | None:
    """Whether the tokenizer of a folder lower-cases; None where neither of its files says so.

    What is split otherwise than by kbert is warned of, in one line for each file that says so.

    Raises:
        InputError: A file is damaged, or says something that is no yes or no.
    """
    options, fast = _read_if_there(folder / CONFIG_FILE), _read_if_there(folder / FAST_FILE)
    said, run = options.get("do_lower_case"), _part(fast, "normalizer").get("lowercase")
    if said is None or (run is not None and options.get("tokenizer_class") in _BY_FAST_FILE):
        said = run
    if said not in (True, False, None):
        raise InputError(f"{folder / CONFIG_FILE}: do_lower_case={said!r}; expected true or false")
    if other := _other_kind(folder / FAST_FILE, fast):
        warn_once(other)
    else:
        _warn_of_other_splitting(folder, options, fast, said)
        _warn_of_added_tokens(folder, options, fast)
    return said


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _part(fast: dict[str, Any], name: str) -> dict[str, Any]:
    """What `tokenizer.json` says of one of its stages: `normalizer`, `pre_tokenizer` or `model`."""
    part = fast.get(name)
    return part if isinstance(part, dict) else {}


def _vocab_in(fast: dict[str, Any]) -> dict[str, int] | None:
    """Token -> id, of a `tokenizer.json`; None where it holds another kind of vocabulary, or none."""
    vocab = _part(fast, "model").get("vocab")
    return vocab if isinstance(vocab, dict) else None


def _other_kind(path: Path, fast: dict[str, Any]) -> str | None:
    """What to say of a `tokenizer.json` that splits words by other means than WordPiece; None of ours."""
    kind = _part(fast, "model").get("type")
    if kind in (None, "WordPiece"):
        return None
    return (
        f"{path}: splits words by {kind}, but kbert by WordPiece alone; texts cannot be split here as this "
        f"model needs them"
    )


def _warn_of_other_splitting(
    folder: Path, options: dict[str, Any], fast: dict[str, Any], lowercase: bool | None
) -> None:
    """Names what the files say that kbert does not do.

    Args:
        folder: Of the files.
        options: The content of `tokenizer_config.json`.
        fast: That of `tokenizer.json`.
        lowercase: What they say of it.
    """
    ours = {
        "strip_accents": (None, lowercase),
        "tokenize_chinese_chars": (None, True),
        "do_basic_tokenize": (None, True),
        "word_tokenizer_type": (None, "basic"),
        "subword_tokenizer_type": (None, "wordpiece"),
        "tokenizer_class": _OUR_CLASSES,
        "normalizer": (None, "BertNormalizer"),
        "handle_chinese_chars": (None, True),
        "pre_tokenizer": (None, "BertPreTokenizer"),
        "continuing_subword_prefix": (None, "##"),
    }
    files = {CONFIG_FILE: options, FAST_FILE: _said_by(fast)}
    if options.get("tokenizer_class") is None:  # Else that of the model's config is not looked at.
        of_model = _read_if_there(folder / _MODEL_FILE)
        files[_MODEL_FILE] = {"tokenizer_class": of_model.get("tokenizer_class")}
    for file, values in files.items():
        other = {key: values[key] for key in ours if values.get(key) not in ours[key]}
        if other:
            warn_once(f"{folder / file}: says {other}, but kbert splits as Google's BERT does")


def _said_by(fast: dict[str, Any]) -> dict[str, Any]:
    """How a `tokenizer.json` splits, by one name for each choice; empty where there is none."""
    if not fast:
        return {}
    normalizer = _part(fast, "normalizer")
    return {
        "normalizer": normalizer.get("type", "none"),
        "strip_accents": normalizer.get("strip_accents"),
        "handle_chinese_chars": normalizer.get("handle_chinese_chars"),
        "pre_tokenizer": _part(fast, "pre_tokenizer").get("type", "none"),
        "continuing_subword_prefix": _part(fast, "model").get("continuing_subword_prefix"),
    }


def _warn_of_added_tokens(folder: Path, options: dict[str, Any], fast: dict[str, Any]) -> None:
    """Names tokens that the files keep whole and kbert splits like any text.

    Args:
        folder: Of the files.
        options: The content of `tokenizer_config.json`.
        fast: That of `tokenizer.json`.
    """
    listed = [token.get("content") for token in fast.get("added_tokens") or () if isinstance(token, dict)]
    never = options.get("never_split")
    listed += never if isinstance(never, list) else []
    vocab = folder / VOCAB_FILE
    known = {*(_vocab_in(fast) or ()), *(read_entries(vocab) if vocab.is_file() else ())}
    kept = [token for token in dict.fromkeys(listed) if isinstance(token, str)]
    split = [token for token in kept if token not in _SPECIAL.values()]
    split = [token for token in split if token not in known or _is_parted(token)]
    if split:
        warn_once(
            f"{folder}: its tokenizer keeps tokens whole ({', '.join(split[:5])}"
            f"{', ...' if len(split) > 5 else ''}) that kbert splits like any text"
        )


def _is_parted(token: str) -> bool:
    """Whether kbert parts a word even if it is in the vocabulary: at marks, white space, Chinese characters.

    Example:
        >>> [_is_parted(token) for token in ("covid", "<user>", "[unused1]", "!", "电影")]
        [False, True, True, False, True]
    """
    return len(token) > 1 and any(
        char.isspace()
        or (char.isascii() and not char.isalnum())
        or unicodedata.category(char).startswith("P")
        or "\u3400" <= char <= "\u9fff"
        for char in token
    )


def read_max_length(folder: Path, limit: int) -> int:
    """Most pieces of a text that the tokenizer of a folder gives, at most `limit`."""
    path = folder / CONFIG_FILE
    said = read_json(path).get("model_max_length") if path.is_file() else None
    # Files without a limit hold 1e30.
    return min(int(said), limit) if isinstance(said, (int, float)) and said >= 1 else limit


def read_fast_tokens(folder: Path) -> list[str] | None:
    """The vocabulary in `tokenizer.json`, in the order of the ids; None where there is none.

    Raises:
        InputError: The file is damaged, or of another kind than WordPiece.
    """
    path = folder / FAST_FILE
    if not path.is_file():
        return None
    fast = read_json(path)
    if other := _other_kind(path, fast):
        raise InputError(other)
    ids = _vocab_in(fast)
    if ids is None or _part(fast, "model").get("type") != "WordPiece":
        raise InputError(f"{path}: holds no WordPiece vocabulary; copy the {VOCAB_FILE} of the model there")
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(f"{path}: the ids of its vocabulary have gaps; copy or download the file again")
    return sorted(ids, key=lambda token: ids[token])


def write_tokenizer(folder: Path, tokens: list[str], lowercase: bool, max_length: int) -> None:
    """Writes the three files, with which transformers tokenises as kbert does.

    Args:
        folder: Exists.
        tokens: The vocabulary.
        lowercase: Whether texts are lower-cased, and accents stripped.
        max_length: Positions of the model.
    """
    (folder / VOCAB_FILE).write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8", newline="")
    options = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": lowercase,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": max_length,
        **_SPECIAL,
    }
    write_json(folder / CONFIG_FILE, options)
    missing = [token for token in _SPECIAL.values() if token not in tokens]
    if missing:
        logging.warning("%s: %s not in the vocabulary; no %s", folder, ", ".join(missing), FAST_FILE)
        return
    write_json(folder / FAST_FILE, _fast_tokenizer(tokens, lowercase))


def _fast_tokenizer(tokens: list[str], lowercase: bool) -> dict[str, Any]:
    """The content of `tokenizer.json`.

    Reference:
        huggingface/tokenizers, `BertNormalizer`, `BertPreTokenizer`, `WordPiece`, `TemplateProcessing`.
    """
    ids = {token: number for number, token in enumerate(tokens)}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = sorted(_SPECIAL.values(), key=lambda token: ids[token])

    def mark(token: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": segment}}

    def text(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [mark("[CLS]", 0), text("A", 0), mark("[SEP]", 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[token], "content": token, **added} for token in special],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, text("B", 1), mark("[SEP]", 1)],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": _MAX_WORD_CHARS,
            "vocab": ids,
        },
    }
