"""A corpus of any size becomes pretraining records.

Two passes: the corpus is tokenized, part by part, into an `IdStore` on disk; then each shard is made from
the store, reading a sentence at a time. Both passes are many independent tasks, done by any number of
processes (or by Apache Beam, see `kbert.data.beam`), and each result is a file that appears when it is
complete. So a run that was interrupted goes on with the tasks whose files are missing.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from absl import logging

from kbert.data import beam
from kbert.data.corpus import CorpusSlice, expand_sources, slice_corpus, source_stamp
from kbert.data.id_store import IdStore, read_counts
from kbert.data.record_settings import RecordSettings
from kbert.data.shards import Shard, ShardTask, write_shard
from kbert.data.tfrecord import RecordsDescription
from kbert.data.tokenizing import WORD_START, tokenize_part
from kbert.data.work_pool import WorkerKilled, WorkPool
from kbert.errors import InputError
from kbert.text import Vocab
from kbert.whole_files import check_local, write_whole

_FORMAT = 1
#: Share of the tokens from which on [UNK] is warned of; as in `CorpusReport`.
_MANY_UNKNOWN = 0.01


def write_records(
    inputs: Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    settings: RecordSettings,
    *,
    workers: int = 1,
    beam_options: Sequence[str] | None = None,
) -> RecordsDescription:
    """Tokenizes the corpus, cuts it into instances, and writes them as shuffled TFRecord shards.

    The folder appears when it is complete. Until then everything is in a hidden folder beside it, from which
    the same call goes on after an interruption; if the inputs or the settings have changed, it starts anew.
    A symbolic link stays, and what it leads to is replaced. The records are the same, byte for byte, whatever
    the number of workers.

    Args:
        inputs: Files, globs, or `tfds:` names; see `kbert.data.corpus` for their forms.
        output_dir: Must not exist, or be a folder of records, which is replaced.
        settings: Of the records.
        workers: Number of processes; of more than there are shards the others only tokenize.
        beam_options: If given, Apache Beam does the work, with these options, such as
            `["--runner=DirectRunner"]`: the same records, in other shards and another order.

    Raises:
        InputError: No text, only one document, an unreadable input, or `output_dir` holds something else or
            cannot be replaced.
    """
    output_dir = _replaceable(output_dir)
    if beam_options is None and workers > settings.shards:
        logging.warning(
            "--shards=%d are written by as many processes; --shards=%d would let all --workers=%d write",
            *(settings.shards, workers, workers),
        )
    inputs = [os.fspath(name) for name in inputs]
    work = _Work(output_dir.parent / f".{output_dir.name}.partial", inputs, settings)
    goes_on = work.prepare()
    try:
        if beam_options is not None:
            store = work.tokenize(partial(beam.tokenize_parts, options=beam_options))
            shards = beam.write_shards(store, settings, work.records, beam_options)
        else:
            with WorkPool(workers) as pool:
                store = work.tokenize(partial(_tokenize_parts, pool))
                shards = _write_shards(pool, store, settings, work)
        store.close()
        description = work.describe(shards)
    except WorkerKilled:
        raise
    except InputError:
        if not goes_on:  # Else what is missing may be put right, and hours of work are in there.
            shutil.rmtree(work.folder, ignore_errors=True)
        raise
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InputError(
            f"{work.folder}: the disk is full; free some space and run the command again: what is finished "
            f"is kept"
        ) from error
    work.publish(output_dir)
    return description


def _replaceable(output_dir: str | os.PathLike) -> Path:
    """The folder itself, which can be replaced as a whole, and with nothing in it but records."""
    check_local(output_dir)
    folder = Path(output_dir).resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{output_dir}: is a file; choose another --output_dir")
    if folder.exists() and any(folder.iterdir()) and not (folder / "records.json").is_file():
        raise InputError(f"{output_dir}: exists and holds no records; choose another --output_dir")
    if os.path.ismount(folder) or folder == Path.cwd():
        raise InputError(
            f"{output_dir}: is a mount point or the current folder, which cannot be replaced as a whole; "
            f"name a folder in it"
        )
    return folder


@dataclass
class _Work:
    """The hidden folder in which records are made.

    Args:
        folder: Has `plan.json` (what is being made of what), `store/`, `notes/` and `records/`.
        inputs: As given.
        settings: Of the records.
    """

    folder: Path
    inputs: Sequence[str]
    settings: RecordSettings

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def records(self) -> Path:
        return self.folder / "records"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def prepare(self) -> bool:
        """Makes the folder, or takes up one that was left with the same plan, and says whether it did.

        Raises:
            InputError: An input is missing; nothing was touched.
        """
        sources = expand_sources(self.inputs)
        stamps = [source_stamp(source, tfds_split=self.settings.tfds_split) for source in sources]
        self.vocab_bytes = Path(self.settings.vocab).read_bytes()
        self.vocab = Vocab.read(self.settings.vocab)
        self.parts = slice_corpus(sources, [size for size, _ in stamps])
        plan = {
            "format": _FORMAT,
            "settings": asdict(self.settings),
            "vocab_sha256": hashlib.sha256(self.vocab_bytes).hexdigest(),
            "inputs": [stamp for _, stamp in stamps],
        }
        text = json.dumps(plan, indent=2)
        if self.plan.is_file():
            if self.plan.read_text(encoding="utf-8") == text:
                logging.info("%s: going on where an earlier run was interrupted", self.folder)
                _remove(self.folder.glob("*/.*"))  # what killed workers were writing
                self._make_folders()
                return True
            logging.info("%s: is of other inputs or flags; starting anew", self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._make_folders()
        # Last, so that a folder with a plan has everything else.
        write_whole(self.plan, text)
        return False

    def _make_folders(self):
        for folder in (self.folder / "store", self.notes, self.records):
            folder.mkdir(parents=True, exist_ok=True)

    def publish(self, output_dir: Path) -> None:
        """Puts the finished records in the place of older ones, and removes everything else."""
        replaced = self.folder / "replaced"
        shutil.rmtree(replaced, ignore_errors=True)
        if output_dir.exists():
            output_dir.rename(replaced)
        self.records.rename(output_dir)
        self.plan.unlink()  # First: what is left without a plan is not taken up.
        shutil.rmtree(self.folder)

    def tokenize(self, run: Callable[[list["_PartTask"]], None]) -> IdStore:
        """The first pass; `run` does the tasks whose results are missing."""
        names = [f"part-{number:05d}" for number in range(len(self.parts))]
        tasks = [
            _PartTask(tuple(slices), self.folder / "store" / name, self.settings)
            for slices, name in zip(self.parts, names, strict=True)
        ]
        run([task for task in tasks if not _is_complete(task.path)])
        store = IdStore([task.path for task in tasks])
        self._check(store)
        return store

    def _check(self, store: IdStore) -> None:
        documents = len(store)
        unknown = store.share([self.vocab.unk_id, self.vocab.unk_id | WORD_START])
        logging.info(
            "%d documents, %d sentences, %d tokens, %.2f%% of them [UNK]",
            *(documents, store.num_sentences, store.num_tokens, 100 * unknown),
        )
        if not documents:
            raise InputError(f"{', '.join(self.inputs)}: no text; expected one sentence a line")
        if documents < 2 and self.settings.next_sentence != "none":
            raise InputError(
                f"the corpus has {documents} document(s); next-sentence pairs need at least 2, or every "
                f"'random' sentence would come from the same text; put an empty line between documents, or "
                f"set --next_sentence=none"
            )
        if unknown > _MANY_UNKNOWN:
            logging.warning(
                "%.1f%% of the tokens are [UNK], words that are lost to the model; tf_scripts/"
                "inspect_corpus.py tells why", 100 * unknown,
            )  # fmt: skip
        if store.num_sentences < 1.5 * documents and self.settings.next_sentence != "none":
            logging.warning(
                "most documents have one sentence: B will nearly always be random, and the next-sentence "
                "task easy; if lines are paragraphs, set --split_sentences"
            )

    def describe(self, shards: Sequence[Shard]) -> RecordsDescription:
        """Writes `records.json` beside the finished shards."""
        settings = self.settings
        description = RecordsDescription(
            num_records=sum(shard.records for shard in shards),
            max_length=settings.max_length,
            vocab_size=len(self.vocab),
            vocab_sha256=hashlib.sha256(self.vocab_bytes).hexdigest(),
            lowercase=settings.lowercase,
            seed=settings.seed,
            shards=tuple(shard.name for shard in shards),
            shard_records=tuple(shard.records for shard in shards),
            shard_bytes=tuple(shard.size for shard in shards),
            next_sentence=settings.next_sentence,
            word_starts=settings.whole_words and settings.static_masking is None,
            masks=settings.static_masking,
        )
        _remove(path for path in self.records.iterdir() if path.name not in description.shards)
        description.write(self.records)
        return description


@dataclass(frozen=True)
class _PartTask:
    slices: tuple[CorpusSlice, ...]
    path: Path
    settings: RecordSettings

    def __call__(self) -> None:
        tokenize_part(list(self.slices), self.path, self.settings)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_complete(path: Path) -> bool:
    try:
        read_counts(path)
    except (FileNotFoundError, InputError):
        return False
    return True


def _tokenize_parts(pool: WorkPool, tasks: list[_PartTask]) -> None:
    for _ in pool.map(_PartTask.__call__, tasks, title="tokenizing"):
        pass


def _write_shards(pool: WorkPool, store: IdStore, settings: RecordSettings, work: _Work) -> list[Shard]:
    tasks = [ShardTask(store, settings, index, work.records, work.notes) for index in range(settings.shards)]
    total = len(store) * settings.passes
    done = {task.index: shard for task, shard in pool.map(write_shard, tasks, title="writing", total=total)}
    return [done[index] for index in range(settings.shards)]
