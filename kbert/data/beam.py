"""The making of records as Apache Beam pipelines, for a cluster: Flink, Spark, Dataflow.

What a document becomes is computed by the same functions as on one machine (`tokenize_part`,
`records_of_documents`) and depends on its number alone, so the records are the same; only which shard they
are in, and their order, is Beam's.

A random next sentence comes from any document of the corpus. No worker holds the corpus in memory: the first
pipeline tokenizes it into an `IdStore`, files of plain integers, and the workers of the second read from
those what they draw. So the workers must see three things under the same paths as the machine that starts the
pipelines: the inputs, the vocabulary, and the folder of the output, in which the store is. A network file
system (NFS, Lustre, Filestore, a mounted bucket) does. `DirectRunner` runs on one machine and needs nothing.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from kbert.data.id_store import IdStore
from kbert.data.record_maker import records_of_documents
from kbert.data.record_settings import RecordSettings
from kbert.data.record_stream import count_records
from kbert.data.shards import Shard, shard_name, size_and_digest
from kbert.errors import InputError

#: Documents of one element of the second pipeline: enough to be worth sending, few enough to spread.
_DOCUMENTS = 256
#: Groups in which the records of a shard are shuffled, so that no group is large.
_GROUPS_PER_SHARD = 16


def tokenize_parts(tasks: Sequence[Callable[[], None]], options: Sequence[str]) -> None:
    """The first pipeline: each part of the corpus becomes a file of the store.

    Args:
        tasks: One for each part; each writes its file.
        options: Of Beam, such as `["--runner=FlinkRunner", "--flink_master=host:8081"]`.

    Raises:
        InputError: Beam is not installed.
    """
    beam = _beam()
    with _pipeline(beam, options) as pipeline:
        _ = (
            pipeline
            | "Parts" >> beam.Create(list(tasks))
            | "SpreadParts" >> beam.Reshuffle()
            | "Tokenize" >> beam.Map(_call)
        )


def write_shards(
    store: IdStore, settings: RecordSettings, folder: Path, options: Sequence[str]
) -> list[Shard]:
    """The second pipeline: the documents of the store become TFRecord shards.

    Args:
        store: The whole corpus.
        settings: Of the records.
        folder: Where the shards go.
        options: Of Beam.

    Raises:
        InputError: Beam is not installed.
    """
    beam = _beam()
    ranges = [
        (pass_number, begin, min(begin + _DOCUMENTS, len(store)))
        for pass_number in range(settings.passes)
        for begin in range(0, len(store), _DOCUMENTS)
    ]
    shutil.rmtree(folder)  # of a run that was interrupted
    folder.mkdir()
    with _pipeline(beam, options) as pipeline:
        _ = (
            pipeline
            | "Ranges" >> beam.Create(ranges)
            | "SpreadRanges" >> beam.Reshuffle()
            | "Records" >> beam.FlatMap(_records_of_range, store, settings)
            | "Groups" >> beam.Map(_keyed, settings.shards * _GROUPS_PER_SHARD, settings.seed)
            | "Gather" >> beam.GroupByKey()
            | "Shuffle" >> beam.FlatMap(_shuffled)
            | "Write"
            >> beam.io.WriteToTFRecord(
                str(folder / "records"),
                file_name_suffix=".tfrecord",
                num_shards=settings.shards,
                coder=beam.coders.BytesCoder(),
            )
        )
    paths = [folder / shard_name(index, settings.shards) for index in range(settings.shards)]
    return [Shard(path.name, count_records(path), *size_and_digest(path)) for path in paths]


def _beam():
    try:
        import apache_beam  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            'apache_beam is missing, which --runner needs; pip install ".[beam]" brings it; or leave out '
            "--runner and set --workers"
        ) from error
    return apache_beam


def _pipeline(beam, options: Sequence[str]):
    return beam.Pipeline(options=beam.options.pipeline_options.PipelineOptions(list(options)))


def _call(task: Callable[[], None]) -> None:
    task()


def _records_of_range(
    part: tuple[int, int, int], store: IdStore, settings: RecordSettings
) -> Iterator[bytes]:
    pass_number, begin, end = part
    return records_of_documents(store, ((pass_number, index) for index in range(begin, end)), settings)


def _keyed(record: bytes, groups: int, seed: int) -> tuple[int, tuple[bytes, bytes]]:
    """A random group and a random place in it, but the same whenever the record is made again."""
    place = hashlib.sha256(b"%d/" % seed + record).digest()
    return int.from_bytes(place[:8], "little") % groups, (place, record)


def _shuffled(group: tuple[int, Iterable[tuple[bytes, bytes]]]) -> Iterator[bytes]:
    return (record for _, record in sorted(group[1]))
