"""From a corpus to masked batches."""

import numpy as np
import pytest

from kbert.data import RecordsDescription, pretraining_batches, read_documents, write_records
from kbert.data.corpus import expand_files
from kbert.errors import InputError
from kbert.text import WordPieceTokenizer
from kbert.text.masking import TokenMasker, max_predictions


@pytest.fixture
def corpus(tmp_path):
    words = ["the film", "a play was good", "not bad!", "very un ##able", "我们 很 喜欢", "是 b d e"]
    documents = ["\n".join(words[(d + s) % 6] + " " + "bdei"[s % 4] for s in range(12)) for d in range(10)]
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path


def make(corpus, vocab, folder, **options):
    tokenizer = WordPieceTokenizer(str(vocab))
    return write_records([corpus], tokenizer, vocab, folder, **{"max_length": 24, "shards": 3, **options})


def test_files_begin_documents_and_blank_lines_part_them(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\n\n  \nthree", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\ufefffour\n", encoding="utf-8")
    files = expand_files([str(tmp_path / "*.txt"), str(tmp_path / "a.txt")])
    assert [path.name for path in files] == ["a.txt", "b.txt"]
    assert list(read_documents(files)) == [["one", "two"], ["three"], ["four"]]


def test_empty_missing_or_foreign_corpus_is_named(tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(InputError, match="empty.txt: no text"):
        list(read_documents([tmp_path / "empty.txt"]))
    with pytest.raises(InputError, match="none.txt: no such file"):
        expand_files([str(tmp_path / "none.txt")])
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match="latin.txt: is not UTF-8"):
        list(read_documents([tmp_path / "latin.txt"]))


def batches_of(folder, vocab, seed=3, count=8, batch_size=16):
    masker = TokenMasker(
        vocab_size=len(vocab), mask_id=vocab.mask_id, special_ids=(0, vocab.cls_id, vocab.sep_id),
        slots=max_predictions(24),
    )  # fmt: skip
    return list(pretraining_batches(folder, masker, batch_size, seed).take(count).as_numpy_iterator())


def test_batches_hold_whole_pairs_with_masks(corpus, tiny_vocab, tmp_path):
    description = make(corpus, tiny_vocab, tmp_path / "records")
    vocab = WordPieceTokenizer(str(tiny_vocab)).vocab
    labels = []
    for inputs, targets in batches_of(tmp_path / "records", vocab):
        mask = inputs["padding_mask"]
        assert inputs["token_ids"].shape[1] % 8 == 0 and mask.sum(1).max() <= description.max_length
        assert (inputs["token_ids"][:, 0] == vocab.cls_id).all()
        last = mask.sum(1) - 1
        rows = np.arange(len(mask))
        assert (inputs["token_ids"][rows, last] == vocab.sep_id).all()
        assert (inputs["segment_ids"][rows, last] == 1).all()
        # Where a weight is 1 a real token stood, and where it is 0 the slot is empty.
        used = targets["mask_weights"] > 0
        assert used.any(1).all() and not targets["mask_ids"][~used].any()
        restored = inputs["token_ids"].copy()
        restored[np.nonzero(used)[0], inputs["mask_positions"][used]] = targets["mask_ids"][used]
        assert not (restored == vocab.mask_id).any()
        labels += targets["next_sentence_label"].tolist()
    assert 0.2 < np.mean(labels) < 0.8


def test_a_second_pass_hides_other_words_and_a_seed_repeats(corpus, tiny_vocab, tmp_path):
    description = make(corpus, tiny_vocab, tmp_path / "records")
    vocab = WordPieceTokenizer(str(tiny_vocab)).vocab
    everything = dict(count=2, batch_size=description.num_records)
    (first, _), (second, _) = batches_of(tmp_path / "records", vocab, **everything)
    assert sorted(first["padding_mask"].sum(1)) == sorted(second["padding_mask"].sum(1))
    assert sorted(map(tuple, first["token_ids"])) != sorted(map(tuple, second["token_ids"]))
    again = batches_of(tmp_path / "records", vocab, **everything)
    np.testing.assert_array_equal(again[1][0]["token_ids"], second["token_ids"])


def test_same_seed_same_bytes(corpus, tiny_vocab, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(corpus, tiny_vocab, tmp_path / name, seed=seed)
    read = {n: [p.read_bytes() for p in sorted((tmp_path / n).glob("*.tfrecord"))] for n in "abc"}
    assert len(read["a"]) == 3 and read["a"] == read["b"] != read["c"]


def test_nothing_half_written_and_nothing_foreign_replaced(corpus, tiny_vocab, tmp_path):
    one = tmp_path / "one.txt"
    one.write_text("good film\nbad film\n", encoding="utf-8")
    with pytest.raises(InputError, match="1 document"):
        make(one, tiny_vocab, tmp_path / "records")
    assert not (tmp_path / "records").exists() and not list(tmp_path.glob(".*"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError, match="thesis: exists and holds no records"):
        make(corpus, tiny_vocab, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").exists()
    make(corpus, tiny_vocab, tmp_path / "records")
    replaced = make(corpus, tiny_vocab, tmp_path / "records", shards=1)
    assert len(list((tmp_path / "records").glob("*.tfrecord"))) == 1 == len(replaced.shards)


def test_missing_shards_are_named(corpus, tiny_vocab, tmp_path):
    with pytest.raises(InputError, match="records.json: is missing"):
        RecordsDescription.read(tmp_path)
    description = make(corpus, tiny_vocab, tmp_path / "records")
    assert RecordsDescription.read(tmp_path / "records") == description
    (tmp_path / "records" / description.shards[1]).unlink()
    with pytest.raises(InputError, match=description.shards[1]):
        RecordsDescription.read(tmp_path / "records")
