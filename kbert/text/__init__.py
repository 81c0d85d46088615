"""Strings to ids: the vocabulary, the tokenizer, and the packing of one or two texts into a sequence.

The names below are loaded on first use, so that `kbert.text.reference` needs no TensorFlow.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kbert.text.normalization import ends_with_accents as ends_with_accents
    from kbert.text.packing import pack as pack
    from kbert.text.packing import pad as pad
    from kbert.text.vocab import Vocab as Vocab
    from kbert.text.vocab_extension import extend_vocab as extend_vocab
    from kbert.text.vocab_trainer import train_vocab as train_vocab
    from kbert.text.windows import Windows as Windows
    from kbert.text.windows import cut_windows as cut_windows
    from kbert.text.word_counts import count_words as count_words
    from kbert.text.wordpiece import WordPieceTokenizer as WordPieceTokenizer

#: tensorflow-text has no wheel for some systems; there the twin in plain Python gives the same ids.
_TOKENIZER = "wordpiece" if importlib.util.find_spec("tensorflow_text") else "python_ops"
_PUBLIC = {
    "Vocab": "vocab",
    "Windows": "windows",
    "WordPieceTokenizer": _TOKENIZER,
    "count_words": "word_counts",
    "cut_windows": "windows",
    "ends_with_accents": "normalization",
    "extend_vocab": "vocab_extension",
    "pack": "packing",
    "pad": "packing",
    "train_vocab": "vocab_trainer",
}

__all__ = [
    "Vocab",
    "Windows",
    "WordPieceTokenizer",
    "count_words",
    "cut_windows",
    "ends_with_accents",
    "extend_vocab",
    "pack",
    "pad",
    "train_vocab",
]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kbert.text' has no attribute {name!r}")
    return getattr(importlib.import_module(f"kbert.text.{_PUBLIC[name]}"), name)
