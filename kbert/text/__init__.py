"""Strings to ids: the vocabulary, the tokenizer, and the packing of one or two texts into a sequence."""

from kbert.text.packing import pack as pack
from kbert.text.vocab import Vocab as Vocab
from kbert.text.vocab_trainer import train_vocab as train_vocab
from kbert.text.wordpiece import WordPieceTokenizer as WordPieceTokenizer

__all__ = ["Vocab", "WordPieceTokenizer", "pack", "train_vocab"]
