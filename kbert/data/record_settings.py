"""`RecordSettings`: everything that decides what pretraining records are made of a corpus."""

import os
from dataclasses import dataclass

from kbert.errors import InputError
from kbert.text.masking import max_predictions
from kbert.text.sentence_pairs import NEXT_SENTENCE_KINDS

#: Whose names the features of records with masks have.
MASK_FORMS = ("google", "model_garden")


@dataclass(frozen=True)
class RecordSettings:
    """How a corpus becomes records; together with the corpus it decides every byte of them.

    Args:
        vocab: Path of the vocabulary.
        lowercase: Whether to lower-case and strip accents; must fit the vocabulary.
        max_length: Most pieces of a record, special tokens included, at least 8.
        next_sentence: "nsp" (B follows A, or is from another document), "sop" (A and B in order, or
            swapped) or "none" (one run of whole sentences).
        passes: How often the corpus is cut, each time differently; Google's dupe_factor.
        shards: Number of files.
        seed: Of all random choices.
        split_sentences: Whether lines are paragraphs, to be split into sentences.
        text_field: Where JSON rows and `tfds:` datasets have the text.
        tfds_split: Of `tfds:` datasets.
        whole_words: Whether records say where words begin; with `static_masking`, whether masks hide
            whole words.
        segmenter: "jieba", or None; finds Chinese words.
        static_masking: None (masks are drawn when records are read), or whose names the features of
            records with masks have, "google" or "model_garden".
        predictions: Most masked tokens of a record with masks; None is what `max_length` needs.
        mask_rate: Share of the tokens of a record with masks.
        max_span: Most words (pieces, without `whole_words`) that a record with masks hides in a row.

    Raises:
        InputError: Options contradict each other.
    """

    vocab: str
    lowercase: bool = True
    max_length: int = 128
    next_sentence: str = "nsp"
    passes: int = 1
    shards: int = 4
    seed: int = 12345
    split_sentences: bool = False
    text_field: str = "text"
    tfds_split: str = "train"
    whole_words: bool = False
    segmenter: str | None = None
    static_masking: str | None = None
    predictions: int | None = None
    mask_rate: float = 0.15
    max_span: int = 1

    def __post_init__(self):
        if self.max_length < 8:
            raise InputError(f"max_length={self.max_length} is too short; expected at least 8 pieces")
        if self.next_sentence not in NEXT_SENTENCE_KINDS:
            raise InputError(f"next_sentence={self.next_sentence!r}; expected one of {NEXT_SENTENCE_KINDS}")
        if self.static_masking not in (None, *MASK_FORMS):
            raise InputError(f"static_masking={self.static_masking!r}; expected one of {MASK_FORMS} or none")
        if self.segmenter not in (None, "jieba"):
            raise InputError(f"segmenter={self.segmenter!r}; expected jieba or none")
        if self.segmenter and not self.whole_words:
            raise InputError("a segmenter finds whole words, which were not asked for; add --whole_words")
        if not 0 < self.mask_rate <= 1:
            raise InputError(f"mask_rate={self.mask_rate}; expected a share above 0, at most 1, such as 0.15")
        for name in ("predictions", "mask_rate", "max_span"):
            value = getattr(self, name)
            if self.static_masking is None and value != getattr(RecordSettings, name):
                raise InputError(
                    f"{name}={value} is for masks that are stored, but here pretrain.py draws them; add "
                    f"--static_masking, or give --mask_rate and --max_span to that script"
                )

    @property
    def vocab_stamp(self) -> int:
        """Another number when the file of the vocabulary is another; for caches of what is made of it."""
        return os.stat(self.vocab).st_mtime_ns

    @property
    def slots(self) -> int:
        """P of records with masks."""
        return self.predictions or max_predictions(self.max_length, self.mask_rate)
