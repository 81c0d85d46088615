"""`Records`: a folder of pretraining records, and the batches that are made of it."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from kbert import data, features
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.text import Vocab
from kbert.text.masking import TokenMasker, max_predictions

#: Of the masks of held-out records: the same in all runs, so that their figures can be compared.
_HELD_OUT_SEED = 20181011
_HELD_OUT_MOST = 4096
#: Records of a packed row; more fill rows of many short ones better.
_MOST_PARTS = 16
#: BERT's own; records that hold their masks have no use for others.
_MASK_RATE, _MAX_SPAN = 0.15, 1


class Records:
    """A folder of pretraining records, and the batches that are made of it.

    Args:
        folder: Made by `tf_scripts/build_pretraining_data.py`.
        vocab: Of the records.
        batch_size: Rows of a global batch.
        layout: `"pools"`: a row is a record, and rows of like length stand together. `"padded"`: a row is a
            record, in random order. `"packed"`: a row holds as many records as fit, each to itself.
        row_length: Pieces of a packed row, as many as the longest record has at least; None for just those.
        mask_rate: Share of tokens to predict. Whole words are hidden where the records say where they begin.
        max_span: Most words that are hidden together.

    Attributes:
        description: What the folder says of itself.

    Raises:
        InputError: The folder holds no records, or damaged ones, or such as the layout cannot be made of.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        vocab: Vocab,
        batch_size: int,
        *,
        layout: str = "pools",
        row_length: int | None = None,
        mask_rate: float = _MASK_RATE,
        max_span: int = _MAX_SPAN,
    ):
        self.folder = folder
        self.description = data.RecordsDescription.read(folder)
        self.batch_size = batch_size
        self.layout = layout
        self.row_length = row_length or self.description.max_length
        self._check_layout(row_length)
        if self.description.masks and (mask_rate, max_span) != (_MASK_RATE, _MAX_SPAN):
            logging.warning("%s: holds its masks, so the mask rate and span asked for do nothing", folder)
        self._masker = None
        if self.description.masks is None:
            self._masker = TokenMasker(
                vocab_size=len(vocab),
                mask_id=vocab.mask_id,
                special_ids=(vocab.pad_id, vocab.cls_id, vocab.sep_id),
                slots=max_predictions(self.description.max_length, mask_rate),
                rate=mask_rate,
                max_span=max_span,
            )

    def _check_layout(self, row_length: int | None) -> None:
        longest = self.description.max_length
        if self.layout != "packed":
            if row_length is not None:
                raise InputError(f"--row_length={row_length} is of packed rows; set --layout=packed")
            return
        if self.row_length < longest:
            raise InputError(
                f"{self.folder}: records of up to {longest} pieces do not fit into rows of --row_length="
                f"{self.row_length}; choose {longest} or more, or leave it out"
            )
        if self.description.masks:
            raise InputError(
                f"{self.folder}: records that hold their masks cannot be packed; leave out --layout=packed, "
                f"or build them without --static_masking"
            )

    def check(self, vocab_path: str | os.PathLike, config: BertConfig) -> None:
        """Refuses records of another vocabulary, longer than the model's positions, or of more segments.

        Raises:
            InputError: With the remedy.
        """
        longest = self.description.max_length
        if self.description.vocab_sha256 != hashlib.sha256(Path(vocab_path).read_bytes()).hexdigest():
            raise InputError(
                f"{self.folder}: the records were made with another vocabulary than {vocab_path}; build them "
                f"again, or name theirs"
            )
        if longest > config.longest_sequence:
            raise InputError(
                f"{self.folder}: records of up to {longest} pieces, but the model has "
                f"{config.longest_sequence} positions; build them with --max_length={config.longest_sequence}"
            )
        task = self.description.next_sentence
        if task != "none" and config.num_segments < 2:
            raise InputError(
                f"{self.folder}: records of two segments ({task}), but the model has num_segments="
                f"{config.num_segments} (type_vocab_size); build them with --next_sentence=none"
            )

    def training_batches(self, seed: int) -> Callable[[int], tf.data.Dataset]:
        """An endless stream, as `kbert.training.fit` takes it: from any batch on.

        Args:
            seed: Of order and masks.

        Returns:
            Function from the number of batches to leave out to a `tf.data.Dataset` of (inputs, targets).
        """

        def batches(first: int) -> tf.data.Dataset:
            if self.layout == "padded":
                return data.pretraining_batches(
                    self.folder, self._masker, self.batch_size, seed, first_batch=first
                )
            if self.layout == "packed":
                if first:
                    logging.info("%s: reading the rows of %d earlier batches again", self.folder, first)
                # How many records are in a row is only known when all before it are packed.
                rows = self._packed(data.masked_records(self.folder, self._masker, seed))
                return data.masked_batches(rows, self.batch_size).skip(first)
            # A pool is this many batches, and depends on no other.
            pools, within = divmod(first, data.POOL_BATCHES)
            before = pools * data.POOL_BATCHES * self.batch_size
            records = data.masked_records(self.folder, self._masker, seed, first=before)
            return data.masked_batches(self._pooled(records), self.batch_size).skip(within)

        return batches

    def held_out_batches(self) -> tf.data.Dataset:
        """Each record once (4,096 at most, from all over the files), always under the same masks."""
        total = self.description.num_records
        count = min(_HELD_OUT_MOST, total)
        # By number: TensorFlow's own orders also depend on the seed of the run.
        is_chosen = np.zeros(total, bool)
        is_chosen[np.arange(count) * total // count] = True
        chosen = data.masked_records(self.folder, self._masker, _HELD_OUT_SEED, shuffle_buffer=1).filter(
            lambda record: tf.gather(is_chosen, record[features.RECORD_NUMBER])
        )
        return data.masked_batches(self._pooled(chosen.take(count).cache()), self.batch_size)

    def _pooled(self, records):
        return data.pools_by_length(records, self.batch_size)

    def _packed(self, records):
        each = records.element_spec[features.MASK_WEIGHTS].shape[0]
        # As many in proportion, and room for what half of the records round up.
        slots = max(each, each * self.row_length // self.description.max_length + _MOST_PARTS // 2)
        return data.pack_rows(records, max_length=self.row_length, slots=slots, max_parts=_MOST_PARTS)
