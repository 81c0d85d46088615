"""Reading a corpus: forms, borders, slices that cut no document, and errors with file and line."""

import gzip
import json
import random

import pytest

from kbert.data.corpus import CorpusSlice, expand_sources, read_lines, slice_corpus, source_stamp
from kbert.errors import InputError


def documents_of(parts, **options):
    documents, document = [], []
    for part in parts:
        for piece in part:
            for line in [*read_lines(piece, **options), ""]:
                if line:
                    document.append(line)
                elif document:
                    documents.append(document)
                    document = []
    return documents


def whole(path):
    return [[CorpusSlice(str(path), 0, path.stat().st_size)]]


def test_slices_of_any_size_hold_the_same_documents(tmp_path):
    rng = random.Random(3)
    texts = []
    for number in range(60):
        lines = [f"{number} " + rng.choice("aé我") * rng.randint(0, 30) for _ in range(rng.randint(1, 6))]
        texts.append("\r\n".join(lines) + rng.choice(["\n\n", "\n \t\n", "\n\n\n\n", "\r\n\u3000\r\n"]))
    path = tmp_path / "a.txt"
    path.write_bytes("".join(texts).encode())
    expected = documents_of(whole(path))
    assert len(expected) == 60
    for smallest in (1, 7, 50, 333, 10_000):
        parts = slice_corpus([str(path)], [path.stat().st_size], slices=10_000, smallest=smallest)
        assert documents_of(parts) == expected
        pieces = [piece for part in parts for piece in part]
        assert [piece.begin for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
        assert len(parts) > 30 or smallest > 50


def test_parts_join_small_files_and_part_large_ones(tmp_path):
    for name, size in (("a", 100), ("b", 100), ("c", 5000), ("d", 10)):
        (tmp_path / f"{name}.txt").write_text("word\n\n" * (size // 6))
    sources = expand_sources([f"{tmp_path}/*.txt"])
    sizes = [source_stamp(source)[0] for source in sources]
    parts = slice_corpus(sources, sizes, slices=4, smallest=1000)
    assert [sorted({piece.source[-5] for piece in part}) for part in parts[:1]] == [["a", "b", "c"]]
    assert 3 <= len(parts) <= 5 and sum(map(len, documents_of(parts))) == sum(
        size // 6 for size in (100, 100, 5000, 10)
    )


def test_compressed_text_and_json_lines(tmp_path):
    with gzip.open(tmp_path / "a.txt.gz", "wb") as file:
        file.write("\ufeffone\ntwo\n\nthree".encode())
    assert documents_of(whole(tmp_path / "a.txt.gz")) == [["one", "two"], ["three"]]
    rows = [{"body": "one\n\ntwo"}, {"body": "三\ud83d", "id": 7}]  # Half a pair, as crawled JSON has it.
    content = "\n".join(json.dumps(row) for row in rows).encode() + b"\n\n"
    (tmp_path / "b.jsonl").write_bytes(content)
    with gzip.open(tmp_path / "b.jsonl.gz", "wb") as file:
        file.write(content)
    for name in ("b.jsonl", "b.jsonl.gz"):
        # A row is a document, with empty lines in it too.
        assert documents_of(whole(tmp_path / name), text_field="body") == [["one", "two"], ["三\ufffd"]]
    parts = slice_corpus([str(tmp_path / "b.jsonl")], [len(content)], slices=100, smallest=1)
    assert len(parts) > 1 and documents_of(parts, text_field="body") == [["one", "two"], ["三\ufffd"]]


def test_gzip_is_told_by_its_content(tmp_path):
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"one\n\ntwo\n"))
    (tmp_path / "b.txt.gz").write_bytes(b"one\n\ntwo\n")  # A browser has unpacked it.
    for name in ("a.txt", "b.txt.gz"):
        source = str(tmp_path / name)
        parts = slice_corpus([source], [source_stamp(source)[0]], slices=9, smallest=1)
        assert documents_of(parts) == [["one"], ["two"]]


def test_errors_name_file_and_line_also_within_a_later_slice(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"one\n\ntwo\n\nthree\ncaf\xe9\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n{"body": "c"}\nno json\n')
    with pytest.raises(InputError, match=r"bad.txt:6: is not UTF-8"):
        documents_of(slice_corpus([str(bad)], [21], slices=100, smallest=1))
    with pytest.raises(InputError, match=r"rows.jsonl:3: has no text in 'text' \(it has: body\)"):
        documents_of(whole(tmp_path / "rows.jsonl"))
    with pytest.raises(InputError, match=r"rows.jsonl:4: is no JSON"):
        documents_of([[CorpusSlice(str(tmp_path / "rows.jsonl"), 42, 60)]])
    cut = gzip.compress(random.Random(1).randbytes(5000))[:3000]
    (tmp_path / "cut.txt.gz").write_bytes(cut)
    with pytest.raises(InputError, match="cut.txt.gz: is no complete gzip file|is not UTF-8"):
        documents_of(whole(tmp_path / "cut.txt.gz"))


def test_a_stamp_changes_with_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    size, stamp = source_stamp(str(path))
    assert size == 3 and source_stamp(str(path))[1] == stamp
    path.write_text("four")
    assert source_stamp(str(path))[1] != stamp


def test_tfds_by_name_offline(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyCorpus(tfds.core.GeneratorBasedBuilder):
        """Rows, made here."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict({"body": tfds.features.Text()})
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield from ((number, {"body": f"{number}\nschön"}) for number in range(5))

    TinyCorpus(data_dir=str(tmp_path)).download_and_prepare()
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    (source,) = expand_sources(["tfds:tiny_corpus"])
    rows, stamp = source_stamp(source)
    assert rows == 5 and "tiny_corpus/1.0.0" in stamp
    found = documents_of(slice_corpus([source], [rows]), text_field="body")
    assert sorted(found) == [[str(number), "schön"] for number in range(5)]
    with pytest.raises(InputError, match="no split 'test'.*train"):
        source_stamp(source, tfds_split="test")
    with pytest.raises(InputError, match="no feature 'text'.*body"):
        documents_of([[CorpusSlice(source, 0, 5)]])
    with pytest.raises(InputError, match="tfds:no_such_thing"):
        source_stamp("tfds:no_such_thing")
