"""The Beam pipelines make the records that one machine makes."""

import sys
from dataclasses import replace

import pytest
import tensorflow as tf

from kbert.data import RecordsDescription, pretraining, write_records
from kbert.data.corpus import slice_corpus
from kbert.data.record_settings import RecordSettings
from kbert.errors import InputError

RUNNER = ["--runner=DirectRunner"]


def shards(folder):
    return [
        list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        for path in sorted(folder.glob("*.tfrecord"))
    ]


@pytest.mark.filterwarnings("ignore")  # Beam's own; what is tested here is what comes out
@pytest.mark.parametrize("static", [None, "google"])
def test_the_records_are_those_of_the_local_run(static, corpus, tiny_vocab, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    monkeypatch.setattr(pretraining, "slice_corpus", lambda s, sizes: slice_corpus(s, sizes, smallest=500))
    monkeypatch.setattr("kbert.data.beam._DOCUMENTS", 7)
    settings = RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=3, passes=2, static_masking=static)
    local = write_records([corpus], tmp_path / "local", settings)
    made = write_records([corpus], tmp_path / "beam", settings, beam_options=RUNNER)
    found = [record for shard in shards(tmp_path / "beam") for record in shard]
    expected = [record for shard in shards(tmp_path / "local") for record in shard]
    assert sorted(found) == sorted(expected) and found != expected
    assert RecordsDescription.read(tmp_path / "beam") == made
    assert replace(made, shard_records=(), shard_bytes=()) == replace(local, shard_records=(), shard_bytes=())
    assert min(made.shard_records) > 0 and not list(tmp_path.glob(".*"))
    assert {path.name for path in (tmp_path / "beam").iterdir()} == {*made.shards, "records.json"}


def test_without_beam_the_extra_is_named(corpus, tiny_vocab, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    settings = RecordSettings(vocab=str(tiny_vocab), max_length=24)
    with pytest.raises(InputError, match=r'pip install "\.\[beam\]"'):
        write_records([corpus], tmp_path / "records", settings, beam_options=RUNNER)
    assert not list(tmp_path.glob(".*"))
