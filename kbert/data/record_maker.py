"""The second pass: documents of an `IdStore` become serialized records, each document by itself.

What becomes of a document depends on the settings, its number and the pass, and on nothing else: not on
who does it, when, or what else is done. So any number of processes or machines make the same records.
"""

import functools
import hashlib
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data import google_records, tfrecord
from kbert.data.id_store import IdStore
from kbert.data.record_settings import RecordSettings
from kbert.data.tokenizing import WORD_START
from kbert.data.work_pool import count_documents
from kbert.text import Vocab
from kbert.text.masking import TokenMasker
from kbert.text.sentence_pairs import SentencePair, sentence_pairs

_MASK_BATCH = 256


@dataclass(frozen=True)
class Instance:
    """A record before it is serialized.

    Args:
        token_ids: [CLS] A [SEP], or [CLS] A [SEP] B [SEP].
        segment_ids: 0 for the first, 1 for the second.
        label: Of the next-sentence task; None where there is no such task.
        word_starts: 1 where a word begins; None where words are not wanted.
        mask_seed: Two numbers that no other instance has.
    """

    token_ids: list[int]
    segment_ids: list[int]
    label: int | None
    word_starts: list[int] | None
    mask_seed: tuple[int, int]


def records_of_documents(
    store: IdStore, documents: Iterable[tuple[int, int]], settings: RecordSettings
) -> Iterator[bytes]:
    """The serialized records of some documents, in order.

    Args:
        store: The whole corpus, from which random next sentences are drawn.
        documents: (number of the pass, number of the document).
        settings: Of the records.
    """
    vocab = Vocab.read(settings.vocab)
    ends = (vocab.cls_id, vocab.sep_id)
    instances = (
        instance
        for pass_number, index in documents
        for instance in document_instances(store, index, pass_number, settings, ends)
    )
    if settings.static_masking is None:
        for instance in instances:
            yield tfrecord.serialize(
                instance.token_ids, instance.segment_ids, instance.label, instance.word_starts
            )
        return
    mask = _mask_function(settings, settings.vocab_stamp)
    while batch := list(itertools.islice(instances, _MASK_BATCH)):
        yield from _masked(batch, mask, settings.static_masking)


def document_instances(
    store: IdStore, index: int, pass_number: int, settings: RecordSettings, ends: tuple[int, int]
) -> Iterator[Instance]:
    """What becomes of one document in one pass; `ends` are the ids of [CLS] and [SEP]."""
    name = f"{settings.seed}/{pass_number}/{index}"
    # Of the masks: not from `rng`, whose draws are those of the reference.
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)
    rng = random.Random(name)  # noqa: S311 - reproducible, not secret
    pairs = sentence_pairs(
        store, index, max_length=settings.max_length, rng=rng, next_sentence=settings.next_sentence
    )
    for number, pair in enumerate(pairs):
        yield _instance(pair, (seed, number), settings, ends)
    count_documents()


def _instance(
    pair: SentencePair, mask_seed: tuple[int, int], settings: RecordSettings, ends: tuple[int, int]
) -> Instance:
    cls_id, sep_id = (special | WORD_START * settings.whole_words for special in ends)
    tokens = [cls_id, *pair.first, sep_id]
    segment_ids = [0] * len(tokens)
    if pair.second:
        tokens += [*pair.second, sep_id]
        segment_ids += [1] * (len(pair.second) + 1)
    label = None if settings.next_sentence == "none" else pair.label
    if not settings.whole_words:
        return Instance(tokens, segment_ids, label, None, mask_seed)
    starts = [int(token >= WORD_START) for token in tokens]
    return Instance([token % WORD_START for token in tokens], segment_ids, label, starts, mask_seed)


@functools.lru_cache(maxsize=1)
def _mask_function(settings: RecordSettings, vocab_stamp: int) -> Callable:
    """A graph that masks a batch of rows, each with its own seed."""
    vocab = Vocab.read(settings.vocab)
    masker = TokenMasker(
        vocab_size=len(vocab),
        mask_id=vocab.mask_id,
        special_ids=(vocab.pad_id, vocab.cls_id, vocab.sep_id),
        slots=settings.slots,
        rate=settings.mask_rate,
        max_span=settings.max_span,
    )

    def mask_row(row):
        token_ids, seed, starts = row
        masked = masker(token_ids, seed, starts) if settings.whole_words else masker(token_ids, seed)
        missing = settings.max_length - tf.size(token_ids)
        token_ids = tf.pad(masked[features.TOKEN_IDS], [[0, missing]])
        return masked | {features.TOKEN_IDS: tf.ensure_shape(token_ids, [settings.max_length])}

    signature = {
        features.TOKEN_IDS: tf.TensorSpec([settings.max_length], tf.int32),
        features.MASK_POSITIONS: tf.TensorSpec([settings.slots], tf.int32),
        features.MASK_IDS: tf.TensorSpec([settings.slots], tf.int32),
        features.MASK_WEIGHTS: tf.TensorSpec([settings.slots], tf.float32),
    }

    def mask_rows(values, lengths, seeds, starts):
        ids = tf.RaggedTensor.from_row_lengths(values, lengths)  # pyright: ignore[reportAttributeAccessIssue]
        rows = (ids, seeds, ids.with_values(starts))
        return tf.map_fn(mask_row, rows, fn_output_signature=signature)

    ints = tf.TensorSpec([None], tf.int32)
    return tf.function(
        mask_rows,
        input_signature=[ints, tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 2], tf.int64), ints],
    )


def _masked(batch: list[Instance], mask: Callable, form: str) -> Iterator[bytes]:
    values = np.concatenate([np.array(row.token_ids, np.int32) for row in batch])
    starts = np.concatenate([np.array(row.word_starts or row.token_ids, np.int32) for row in batch])
    lengths = np.array([len(row.token_ids) for row in batch])
    masked = mask(values, lengths, np.array([row.mask_seed for row in batch]), starts)
    columns = {name: column.numpy().tolist() for name, column in masked.items()}
    for number, row in enumerate(batch):
        yield google_records.serialize(
            {name: column[number] for name, column in columns.items()},
            row.segment_ids,
            row.label or 0,
            form=form,
        )
