"""From a corpus to records: the same bytes however they are made, and nothing half-made."""

import errno
import multiprocessing.synchronize
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf

from kbert.data import RecordsDescription, pretraining, shards, write_records
from kbert.data.corpus import slice_corpus
from kbert.data.record_settings import RecordSettings
from kbert.data.work_pool import WorkPool
from kbert.errors import InputError
from kbert.text import Vocab

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tiny_vocab):
    return RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=3)


@pytest.fixture
def many_parts(monkeypatch):
    """As a large corpus: several parts."""
    monkeypatch.setattr(
        pretraining, "slice_corpus", lambda sources, sizes: slice_corpus(sources, sizes, smallest=400)
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def records(folder):
    """Every record of a folder, in any order, as (name -> values)."""
    files = [str(path) for path in Path(folder).glob("*.tfrecord")]
    found = []
    for serialized in tf.data.TFRecordDataset(files).as_numpy_iterator():
        columns = tf.train.Example.FromString(serialized).features.feature
        found.append({name: list(column.int64_list.value) for name, column in columns.items()})
    return sorted(found, key=lambda record: (record["token_ids"], record["segment_ids"]))


@pytest.mark.slow
@pytest.mark.parametrize("static", [None, "google"])
def test_workers_and_parts_change_no_byte(static, corpus, settings, tmp_path, many_parts):
    chosen = replace(settings, static_masking=static, passes=2)
    write_records([corpus], tmp_path / "one", chosen)
    write_records([corpus], tmp_path / "three", chosen, workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    assert not list(tmp_path.glob(".*"))


def test_one_part_or_many_are_the_same_corpus(corpus, settings, tmp_path, monkeypatch):
    write_records([corpus], tmp_path / "whole", settings)
    for smallest in (100, 1000):
        monkeypatch.setattr(
            pretraining, "slice_corpus", lambda s, sizes, n=smallest: slice_corpus(s, sizes, smallest=n)
        )
        write_records([corpus], tmp_path / "parts", settings)
        assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_the_seed_decides(corpus, settings, tmp_path):
    write_records([corpus], tmp_path / "a", settings)
    write_records([corpus], tmp_path / "b", replace(settings, seed=1))
    assert records(tmp_path / "a") != records(tmp_path / "b")


def test_records_are_whole_pairs_spread_over_shards_in_random_order(corpus, settings, tmp_path):
    description = write_records([corpus], tmp_path / "records", replace(settings, passes=3))
    vocab = Vocab.read(settings.vocab)
    found = records(tmp_path / "records")
    assert len(found) == description.num_records == sum(description.shard_records)
    assert len({str(record) for record in found}) > 0.8 * len(found), "a second pass cuts otherwise"
    for record in found:
        ids, segments = record["token_ids"], record["segment_ids"]
        assert len(ids) == len(segments) <= 24
        assert ids[0] == vocab.cls_id and ids[-1] == vocab.sep_id and ids.count(vocab.sep_id) == 2
        assert segments == [0] * (ids.index(vocab.sep_id) + 1) + [1] * (
            len(ids) - ids.index(vocab.sep_id) - 1
        )
    assert 0.3 < sum(record["next_sentence_label"][0] for record in found) / len(found) < 0.8
    assert min(description.shard_records) > 0.6 * max(description.shard_records)


def test_shuffling_through_several_files_keeps_every_record(corpus, settings, tmp_path, monkeypatch):
    write_records([corpus], tmp_path / "one", settings)
    monkeypatch.setattr("kbert.data.shards._BUCKET_BYTES", 500)
    write_records([corpus], tmp_path / "many", settings)
    assert records(tmp_path / "one") == records(tmp_path / "many")
    assert contents(tmp_path / "one") != contents(tmp_path / "many")


def test_a_file_to_shuffle_is_gone_when_the_next_is_read(corpus, settings, tmp_path, monkeypatch):
    """Or the disk would have to hold a shard twice."""
    left, real = [], shards._read_bucket

    def read(path):
        left.append(len(list(path.parent.glob("[0-9]*"))))
        return real(path)

    monkeypatch.setattr(shards, "_BUCKET_BYTES", 500)
    monkeypatch.setattr(shards, "_read_bucket", read)
    write_records([corpus], tmp_path / "records", replace(settings, shards=1))
    assert left == list(range(len(left), 0, -1)) and len(left) > 2


def test_workers_that_have_no_shard_to_write_are_told(corpus, settings, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(pretraining, "WorkPool", lambda workers: WorkPool(1))
    for workers in (3, 4):
        write_records([corpus], tmp_path / "records", settings, workers=workers)
    told = [record.getMessage() for record in caplog.records if "--shards" in record.getMessage()]
    assert told == ["--shards=3 are written by as many processes; --shards=4 would let all --workers=4 write"]


def test_one_worker_needs_nothing_that_processes_share(corpus, settings, tmp_path, monkeypatch):
    """As in a container without /dev/shm."""

    def refuse(*_, **__):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", refuse)
    with pytest.raises(InputError, match="for want of /dev/shm .*set --workers=1"):
        write_records([corpus], tmp_path / "records", settings, workers=2)
    assert not list(tmp_path.glob("*records*"))
    assert write_records([corpus], tmp_path / "records", settings).num_records


@pytest.mark.parametrize("whole_words", [False, True])
def test_many_words_that_the_vocabulary_cannot_spell_are_told(
    whole_words, corpus, settings, tmp_path, caplog
):
    """As where Korean is lower-cased, and so taken apart, for a vocabulary of whole syllables."""
    chosen = replace(settings, whole_words=whole_words)
    corpus.write_text(corpus.read_text("utf-8").replace("是", "好"), "utf-8")
    with caplog.at_level("INFO", logger="absl"):
        write_records([corpus], tmp_path / "records", chosen)
    assert "tokens, 0.00% of them [UNK]" in caplog.text and "lost to the model" not in caplog.text
    path = Path(settings.vocab)
    path.write_text(path.read_text("utf-8").replace("film", "filn"), "utf-8")
    write_records([corpus], tmp_path / "records", chosen)
    assert "of the tokens are [UNK], words that are lost to the model" in caplog.text


def test_without_next_sentence_every_token_is_there_once(corpus, settings, tmp_path):
    one = tmp_path / "one.txt"  # one document is enough here
    one.write_text(corpus.read_text("utf-8").replace("\n\n", "\n"), encoding="utf-8")
    description = write_records([one], tmp_path / "records", replace(settings, next_sentence="none"))
    found = records(tmp_path / "records")
    assert description.next_sentence == "none"
    assert all(
        set(record) == {"token_ids", "segment_ids"} and not any(record["segment_ids"]) for record in found
    )
    vocab = Vocab.read(settings.vocab)
    counts = [sum(record["token_ids"].count(vocab.id(word)) for record in found) for word in ("film", "喜")]
    assert counts == [60, 60]


def test_whole_words_are_marked_where_they_begin(corpus, settings, tmp_path):
    corpus.write_text("unable film\nbad\n\nplaying 喜欢\nfilms\n", encoding="utf-8")
    write_records([corpus], tmp_path / "plain", settings)
    description = write_records([corpus], tmp_path / "records", replace(settings, whole_words=True))
    vocab = Vocab.read(settings.vocab)
    found = records(tmp_path / "records")
    assert description.word_starts
    for record in found:
        expected = [int(not vocab.tokens[i].startswith("##")) for i in record["token_ids"]]
        assert record.pop("word_starts") == expected
    assert found == records(tmp_path / "plain")
    with pytest.raises(InputError, match="--whole_words"):
        replace(settings, segmenter="jieba")


@pytest.mark.parametrize("rate", [0.0, 1.5])
def test_a_share_of_masks_that_cannot_be_is_refused_before_the_corpus_is_read(settings, rate):
    with pytest.raises(InputError, match=f"mask_rate={rate}; expected a share above 0"):
        replace(settings, static_masking="google", mask_rate=rate)


@pytest.mark.parametrize("change", [{"predictions": 5}, {"mask_rate": 0.3}, {"max_span": 3}])
def test_masks_that_nothing_stores_are_refused(settings, change):
    with pytest.raises(InputError, match="=.* is for masks that are stored, .* add --static_masking"):
        replace(settings, **change)
    assert replace(settings, static_masking="google", **change)


def test_a_segmenter_finds_chinese_words(corpus, settings, tmp_path):
    pytest.importorskip("jieba")
    chosen = replace(settings, whole_words=True, segmenter="jieba")
    write_records([corpus], tmp_path / "records", chosen)
    vocab = Vocab.read(settings.vocab)
    first, second = vocab.id("喜"), vocab.id("欢")
    starts = {
        record["word_starts"][place + 1]
        for record in records(tmp_path / "records")
        for place, token in enumerate(record["token_ids"][:-1])
        if (token, record["token_ids"][place + 1]) == (first, second)
    }
    assert starts == {0}


def test_nothing_half_written_and_nothing_foreign_replaced(corpus, settings, tmp_path):
    one = tmp_path / "one.txt"
    one.write_text("good film\nbad film\n", encoding="utf-8")
    with pytest.raises(InputError, match="1 document"):
        write_records([one], tmp_path / "records", settings)
    for text in ("\n\n", ""):
        one.write_text(text)
        with pytest.raises(InputError, match="one.txt: no text"):
            write_records([one], tmp_path / "records", settings)
    assert not (tmp_path / "records").exists() and not list(tmp_path.glob(".*"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError, match="thesis: exists and holds no records"):
        write_records([corpus], tmp_path / "thesis", settings)
    assert (tmp_path / "thesis" / "chapter.txt").exists()
    write_records([corpus], tmp_path / "records", settings)
    replaced = write_records([corpus], tmp_path / "records", replace(settings, shards=1))
    assert len(list((tmp_path / "records").glob("*.tfrecord"))) == 1 == len(replaced.shards)
    assert RecordsDescription.read(tmp_path / "records") == replaced


def interrupted(corpus, folder, settings, monkeypatch, after):
    """A run that is stopped while it writes shard number `after`."""

    def stop(task):
        if task.index == after:
            raise KeyboardInterrupt
        return real(task)

    real = pretraining.write_shard
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretraining, "write_shard", stop)
        write_records([corpus], folder, settings)
    assert not folder.exists()
    return folder.parent / f".{folder.name}.partial"


def inodes(folder, pattern):
    return {path.name: path.stat().st_ino for path in folder.glob(pattern)}


def test_a_run_goes_on_with_what_is_missing(corpus, settings, tmp_path, many_parts, monkeypatch):
    write_records([corpus], tmp_path / "whole", settings)
    partial = interrupted(corpus, tmp_path / "records", settings, monkeypatch, after=2)
    (partial / "store/part-00001").unlink()
    (partial / "records/.left").mkdir()
    spoiled = partial / "records/records-00001-of-00003.tfrecord"
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"x")
    before = inodes(partial / "records", "*.tfrecord")
    tokenized = []
    real = pretraining.tokenize_part
    monkeypatch.setattr(
        pretraining, "tokenize_part", lambda *task: (tokenized.append(task[1].name), real(*task))
    )
    write_records([corpus], tmp_path / "records", settings)
    after = inodes(tmp_path / "records", "*.tfrecord")
    assert tokenized == ["part-00001"]
    assert after["records-00000-of-00003.tfrecord"] == before["records-00000-of-00003.tfrecord"]
    assert contents(tmp_path / "whole") == contents(tmp_path / "records")


def test_what_is_missing_costs_no_finished_work(corpus, settings, tmp_path, monkeypatch):
    """As a corpus that is not mounted, or a package, when the command is given again."""
    partial = interrupted(corpus, tmp_path / "records", settings, monkeypatch, after=2)
    kept = inodes(partial, "*/[!.]*")
    with pytest.raises(InputError, match="gone.txt: no such file"):
        write_records([tmp_path / "gone.txt"], tmp_path / "records", settings)

    def without(pool, tasks):
        raise InputError("a package is missing")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="package"):
        patch.setattr(pretraining, "_tokenize_parts", without)
        write_records([corpus], tmp_path / "records", settings)
    assert len(kept) > 3 and inodes(partial, "*/[!.]*") == kept
    write_records([corpus], tmp_path / "records", settings)
    assert RecordsDescription.read(tmp_path / "records").num_records and not partial.exists()


def test_a_link_stays_and_what_cannot_be_replaced_is_refused(corpus, settings, tmp_path, monkeypatch):
    (tmp_path / "large disk").mkdir()
    os.symlink(tmp_path / "large disk", tmp_path / "link")
    for seed in (1, 2):  # The second time there is something to replace.
        written = write_records([corpus], tmp_path / "link", replace(settings, seed=seed))
        assert RecordsDescription.read(tmp_path / "large disk") == written
    assert (tmp_path / "link").is_symlink() and not list(tmp_path.glob("**/.*"))
    monkeypatch.chdir(tmp_path / "link")
    with pytest.raises(InputError, match="^.: is a mount point or the current folder.*name a folder in it"):
        write_records([corpus], ".", settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(InputError, match="link: is a mount point"):
        write_records([corpus], tmp_path / "link", settings)
    with pytest.raises(InputError, match="corpus.txt: is a file"):
        write_records([corpus], corpus, settings)
    assert RecordsDescription.read(tmp_path / "link") == written


def test_a_run_that_was_killed_as_it_tidied_up_is_no_obstacle(corpus, settings, tmp_path, monkeypatch):
    rmtree = shutil.rmtree

    def killed(path, **options):
        rmtree(path / "records" if path.name.endswith(".partial") else path, ignore_errors=True)
        if path.name.endswith(".partial") and (path.parent / "records").exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        write_records([corpus], tmp_path / "records", settings)
    first = contents(tmp_path / "records")
    write_records([corpus], tmp_path / "records", settings)
    assert contents(tmp_path / "records") == first and not list(tmp_path.glob(".*"))


def test_a_full_disk_is_told_and_what_is_finished_is_kept(corpus, settings, tmp_path, monkeypatch):
    """TensorFlow writes the shards, and has an error of its own for that."""

    def full(path):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="the disk is full"):
        patch.setattr(tf.io, "TFRecordWriter", full)
        write_records([corpus], tmp_path / "records", settings)
    assert list(tmp_path.glob(".records.partial/store/part-*"))


@pytest.mark.parametrize("what", ["flag", "input", "vocabulary"])
def test_a_change_starts_anew(what, corpus, settings, tmp_path, monkeypatch):
    interrupted(corpus, tmp_path / "records", settings, monkeypatch, after=2)
    if what == "flag":
        settings = replace(settings, seed=5)
    elif what == "input":
        corpus.write_text(corpus.read_text("utf-8").replace("film", "play"), "utf-8")
    else:
        path = Path(settings.vocab)
        path.write_text(path.read_text("utf-8").replace("film", "filn"), "utf-8")
        unknown = Vocab.read(path).unk_id
    write_records([corpus], tmp_path / "records", settings)
    write_records([corpus], tmp_path / "fresh", settings)
    assert contents(tmp_path / "records") == contents(tmp_path / "fresh")
    if what == "vocabulary":
        assert any(unknown in record["token_ids"] for record in records(tmp_path / "records"))


RUN = """
import sys
from kbert.data import pretraining, write_records
from kbert.data.corpus import slice_corpus
from kbert.data.record_settings import RecordSettings
pretraining.slice_corpus = lambda sources, sizes: slice_corpus(sources, sizes, smallest=20_000)
if __name__ == "__main__":
    corpus, vocab, folder, workers = sys.argv[1:]
    settings = RecordSettings(vocab=vocab, max_length=24, shards=8, passes=4)
    write_records([corpus], folder, settings, workers=int(workers))
"""


@pytest.mark.slow
def test_killed_at_random_moments_it_gives_the_same_bytes(corpus, tiny_vocab, tmp_path):
    corpus.write_text("\n\n".join([corpus.read_text("utf-8")] * 40), "utf-8")
    (tmp_path / "run.py").write_text(RUN)

    def start(folder, workers=1):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, tmp_path / "run.py", corpus, tiny_vocab, tmp_path / folder, workers]
        return subprocess.Popen([str(word) for word in command], env=environment)

    assert start("whole").wait(timeout=300) == 0
    rng = random.Random(11)
    partial = tmp_path / ".records.partial"
    for part, workers in (
        ("store/part-*", 1),
        ("records/.records-*", 1),
        ("notes/*.json", 2),
        ("notes/*.json", 1),
    ):
        process = start("records", workers)
        known = set(partial.glob(part))
        while set(partial.glob(part)) <= known and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "records").exists(), "too late to be killed"
    kept = inodes(partial / "records", "*.tfrecord")
    noted = {path.stem for path in (partial / "notes").glob("*.json")}
    assert noted
    assert start("records").wait(timeout=300) == 0
    assert contents(tmp_path / "whole") == contents(tmp_path / "records")
    after = inodes(tmp_path / "records", "*.tfrecord")
    assert {name: after[name] for name in noted} == {name: kept[name] for name in noted}
    assert not partial.exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(shared, tmp_path):
    """Four times the text, in one process: the peak, TensorFlow included, stays within 15 %."""
    text = (shared / "data/corpora/brown.dev.txt").read_text("utf-8") + "\n\n"
    peaks = []
    for times in (15, 60):
        corpus = tmp_path / f"{times}.txt"
        corpus.write_text(text * times, "utf-8")
        code = (
            "import resource, sys\n"
            "from kbert.data import write_records\n"
            "from kbert.data.record_settings import RecordSettings\n"
            "write_records([sys.argv[1]], sys.argv[2], RecordSettings(vocab=sys.argv[3], shards=2))\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        vocab = shared / "data/vocab/bert-base-uncased.txt"
        done = subprocess.run(
            [sys.executable, "-c", code, str(corpus), str(tmp_path / f"out{times}"), str(vocab)],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < 1.15 * peaks[0], peaks
