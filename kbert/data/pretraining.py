"""A corpus becomes pretraining records."""

import hashlib
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from absl import logging

from kbert.data.corpus import read_documents
from kbert.data.tfrecord import RecordsDescription, serialize
from kbert.errors import InputError
from kbert.text import WordPieceTokenizer
from kbert.text.sentence_pairs import sentence_pairs

_CHUNK = 4096


def write_records(
    files: Sequence[Path],
    tokenizer: WordPieceTokenizer,
    vocab_path: str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    max_length: int = 128,
    shards: int = 4,
    passes: int = 1,
    seed: int = 12345,
) -> RecordsDescription:
    """Tokenizes the corpus, draws next-sentence pairs, and writes them as shuffled TFRecord shards.

    The folder appears when it is complete; an interrupted run leaves nothing of that name.

    Args:
        files: One sentence a line, an empty line between documents.
        tokenizer: Of the model's vocabulary.
        vocab_path: Its file; the checksum goes into the description.
        output_dir: Must not exist, or be a folder of records, which is replaced.
        max_length: Most pieces of [CLS] A [SEP] B [SEP].
        shards: Number of files.
        passes: How often the corpus is cut into pairs, each time differently.
        seed: Of pairs and order.

    Raises:
        InputError: No text, only one document, or `output_dir` holds something else.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and any(output_dir.iterdir()) and not (output_dir / "records.json").is_file():
        raise InputError(f"{output_dir}: exists and holds no records; choose another --output_dir")
    documents = _tokenized_documents(files, tokenizer)
    vocab = tokenizer.vocab
    records = []
    for number in range(passes):
        for pair in sentence_pairs(documents, max_length=max_length, seed=seed + number):
            token_ids = [vocab.cls_id, *pair.first, vocab.sep_id, *pair.second, vocab.sep_id]
            segment_ids = [0] * (len(pair.first) + 2) + [1] * (len(pair.second) + 1)
            records.append(serialize(token_ids, segment_ids, int(pair.is_random)))
        logging.info("pass %d of %d: %d records so far", number + 1, passes, len(records))
    random.Random(seed).shuffle(records)  # noqa: S311 - reproducible, not secret

    temporary = output_dir.parent / f".{output_dir.name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    names = tuple(f"records-{index:05d}-of-{shards:05d}.tfrecord" for index in range(shards))
    for index, name in enumerate(names):
        with tf.io.TFRecordWriter(str(temporary / name)) as writer:
            for record in records[index::shards]:
                writer.write(record)
    description = RecordsDescription(
        num_records=len(records),
        max_length=max_length,
        vocab_size=len(vocab),
        vocab_sha256=hashlib.sha256(Path(vocab_path).read_bytes()).hexdigest(),
        lowercase=tokenizer.lowercase,
        seed=seed,
        shards=names,
    )
    description.write(temporary)
    shutil.rmtree(output_dir, ignore_errors=True)
    temporary.rename(output_dir)
    return description


def _tokenized_documents(files, tokenizer) -> list[list[list[int]]]:
    """All documents as lists of sentences of ids; sentences without any token are left out."""
    sentences, borders = [], [0]
    for document in read_documents(files):
        sentences += document
        borders.append(len(sentences))
    tokenize = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    ids: list[list[int]] = []
    for first in range(0, len(sentences), _CHUNK):
        ids += tokenize(tf.constant(sentences[first : first + _CHUNK])).to_list()
    logging.info(
        "%d documents, %d sentences, %d tokens", len(borders) - 1, len(ids), sum(len(row) for row in ids)
    )
    documents = [
        [row for row in ids[begin:end] if row] for begin, end in zip(borders, borders[1:], strict=False)
    ]
    return [document for document in documents if document]
