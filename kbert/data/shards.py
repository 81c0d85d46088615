"""Writes shards: all records of some documents, shuffled as a whole without being in memory as a whole."""

import errno
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import tensorflow as tf

from kbert.data.id_store import IdStore
from kbert.data.record_maker import records_of_documents
from kbert.data.record_settings import RecordSettings

#: Bytes of records that are shuffled in memory at a time, and how many a token takes at most, about.
_BUCKET_BYTES = 32 << 20
_TOKEN_BYTES = 8
_MOST_BUCKETS = 256


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Args:
        name: Of the file.
        records: Instances.
        size: Bytes.
        sha256: Of the bytes.
    """

    name: str
    records: int
    size: int
    sha256: str


@dataclass(frozen=True)
class ShardTask:
    """One shard to write, as it is sent to a process.

    Args:
        store: The whole corpus.
        settings: Of the records.
        index: Number of the shard.
        folder: Where the shard goes.
        notes: Where a note of each finished shard goes.
    """

    store: IdStore
    settings: RecordSettings
    index: int
    folder: Path
    notes: Path

    @property
    def name(self) -> str:
        """Of the file."""
        return shard_name(self.index, self.settings.shards)


def shard_name(index: int, shards: int) -> str:
    """The file name of a shard."""
    return f"records-{index:05d}-of-{shards:05d}.tfrecord"


def write_shard(task: ShardTask) -> Shard:
    """Writes a shard, unless it is there already; it appears complete, and then a note that says so.

    Document i goes to shard i modulo their number, in the next pass to the next shard, so that its
    instances are spread. Each record goes to a random one of several temporary files, each of which is then
    shuffled in memory: together that is a shuffle of the whole, in as much memory as one of them takes.

    Raises:
        OSError: The disk is full; TensorFlow has another error for that.
    """
    done = finished_shard(task)
    if done is not None:
        return done
    settings = task.settings
    size = task.store.num_tokens * settings.passes * _TOKEN_BYTES // settings.shards
    buckets = min(_MOST_BUCKETS, 1 + size // _BUCKET_BYTES)
    rng = random.Random(f"{settings.seed}/shard {task.index}")  # noqa: S311 - reproducible, not secret
    # With the number of the process: one that was given up for dead may still be writing.
    temporary = task.folder / f".{task.name}.{os.getpid()}"
    temporary.mkdir()
    try:
        records = records_of_documents(task.store, documents_of_shard(task), settings)
        _scatter(records, temporary, buckets, rng)
        count = 0
        with tf.io.TFRecordWriter(str(temporary / "shard")) as writer:
            for number in range(buckets):
                bucket = list(_read_bucket(temporary / str(number)))
                (temporary / str(number)).unlink()  # Else the disk would hold each record twice in the end.
                rng.shuffle(bucket)
                count += len(bucket)
                for record in bucket:
                    writer.write(record)
        os.replace(temporary / "shard", task.folder / task.name)
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(task.folder / task.name)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    size, digest = size_and_digest(task.folder / task.name)
    done = Shard(task.name, count, size, digest)
    note = task.notes / f"{task.name}.json"
    note.with_suffix(".new").write_text(json.dumps(asdict(done)), encoding="utf-8")
    os.replace(note.with_suffix(".new"), note)
    return done


def finished_shard(task: ShardTask) -> Shard | None:
    """What the note of a finished shard says, if there is one and the file is as it says."""
    try:
        shard = Shard(**json.loads((task.notes / f"{task.name}.json").read_text(encoding="utf-8")))
        intact = (shard.size, shard.sha256) == size_and_digest(task.folder / task.name)
    except (OSError, ValueError, TypeError):
        return None
    return shard if intact else None


def documents_of_shard(task: ShardTask) -> Iterator[tuple[int, int]]:
    """(Number of the pass, number of the document)."""
    shards = task.settings.shards
    for pass_number in range(task.settings.passes):
        for index in range((task.index - pass_number) % shards, len(task.store), shards):
            yield pass_number, index


def _scatter(records: Iterable[bytes], folder: Path, buckets: int, rng: random.Random) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context((folder / str(number)).open("wb")) for number in range(buckets)]
        for record in records:
            file = files[rng.randrange(buckets)]
            file.write(len(record).to_bytes(4, "little"))
            file.write(record)


def _read_bucket(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := file.read(4):
            yield file.read(int.from_bytes(head, "little"))


def size_and_digest(path: Path) -> tuple[int, str]:
    """Bytes of a file, and their SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        return file.tell(), digest.hexdigest()
