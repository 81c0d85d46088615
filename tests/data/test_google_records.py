"""Records with masks: Google's layout to the byte count, both ways, in both sets of names."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import pretraining_batches, write_records
from kbert.data.google_records import google_batches
from kbert.data.record_settings import RecordSettings
from kbert.errors import InputError
from kbert.text import Vocab

#: Name -> (kind of list, length), for max_length 24 and 5 predictions.
GOOGLE = {
    "input_ids": ("int64_list", 24),
    "input_mask": ("int64_list", 24),
    "segment_ids": ("int64_list", 24),
    "masked_lm_positions": ("int64_list", 5),
    "masked_lm_ids": ("int64_list", 5),
    "masked_lm_weights": ("float_list", 5),
    "next_sentence_labels": ("int64_list", 1),
}
V2 = {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"}


@pytest.fixture
def num_documents():
    return 12


@pytest.fixture
def settings(tiny_vocab):
    return RecordSettings(
        vocab=str(tiny_vocab), max_length=24, shards=2, static_masking="google", predictions=5, passes=2
    )


def examples(folder):
    files = sorted(str(path) for path in folder.glob("*.tfrecord"))
    for serialized in tf.data.TFRecordDataset(files).as_numpy_iterator():
        yield tf.train.Example.FromString(serialized).features.feature


def values(columns, names=None):
    names = names or {}
    return {
        name: list(getattr(columns[names.get(name, name)], kind).value) for name, (kind, _) in GOOGLE.items()
    }


@pytest.mark.parametrize("form, names", [("google", {}), ("model_garden", V2)])
def test_the_layout_is_googles(form, names, corpus, settings, tmp_path):
    description = write_records([corpus], tmp_path / "records", replace(settings, static_masking=form))
    assert description.masks == form
    vocab = Vocab.read(settings.vocab)
    hidden = []
    for columns in examples(tmp_path / "records"):
        assert set(columns) == {names.get(name, name) for name in GOOGLE}
        for name, (kind, length) in GOOGLE.items():
            assert columns[names.get(name, name)].WhichOneof("kind") == kind
            assert len(getattr(columns[names.get(name, name)], kind).value) == length
        row = values(columns, names)
        length = sum(row["input_mask"])
        assert row["input_mask"] == [1] * length + [0] * (24 - length)
        assert not any(row["input_ids"][length:]) and not any(row["segment_ids"][length:])
        assert row["input_ids"][0] == vocab.cls_id and row["input_ids"][length - 1] == vocab.sep_id
        first = row["input_ids"].index(vocab.sep_id) + 1
        assert row["segment_ids"][:length] == [0] * first + [1] * (length - first)
        used = int(sum(row["masked_lm_weights"]))
        assert used == min(5, max(1, round(0.15 * length)))
        assert row["masked_lm_weights"] == [1.0] * used + [0.0] * (5 - used)
        positions = row["masked_lm_positions"][:used]
        assert positions == sorted(set(positions)) and not any(row["masked_lm_positions"][used:])
        assert not any(row["masked_lm_ids"][used:])
        assert not {0, first - 1, length - 1} & set(positions)
        hidden += [row["input_ids"][position] == vocab.mask_id for position in positions]
        assert row["input_ids"].count(vocab.mask_id) <= used
    assert 0.7 < np.mean(hidden) < 0.9


def test_masks_hide_what_drawn_masks_would_find(corpus, settings, tmp_path):
    """With the masked tokens put back they are the records without masks."""
    write_records([corpus], tmp_path / "stored", settings)
    write_records([corpus], tmp_path / "plain", replace(settings, static_masking=None, predictions=None))
    restored = []
    for columns in examples(tmp_path / "stored"):
        row = values(columns)
        for position, token, weight in zip(
            row["masked_lm_positions"], row["masked_lm_ids"], row["masked_lm_weights"], strict=True
        ):
            if weight:
                row["input_ids"][position] = token
        restored.append((row["input_ids"][: sum(row["input_mask"])], row["next_sentence_labels"]))
    plain = [
        (list(columns["token_ids"].int64_list.value), list(columns["next_sentence_label"].int64_list.value))
        for columns in examples(tmp_path / "plain")
    ]
    assert sorted(restored) == sorted(plain)


def test_whole_words_are_hidden_whole(corpus, settings, tmp_path):
    write_records([corpus], tmp_path / "records", replace(settings, whole_words=True, mask_rate=0.3))
    vocab = Vocab.read(settings.vocab)
    un, able = vocab.id("un"), vocab.id("##able")
    both = 0
    for columns in examples(tmp_path / "records"):
        row = values(columns)
        targets = dict(zip(row["masked_lm_positions"], row["masked_lm_ids"], strict=True))
        for position, token in targets.items():
            if token == un:
                # A word is cut only where the row was truncated.
                assert targets.get(position + 1) == able or row["input_ids"][position + 1] == vocab.sep_id
                both += targets.get(position + 1) == able
    assert both > 3


def rows_of(batches, count):
    found = []
    for inputs, targets in batches.take(count).as_numpy_iterator():
        columns = {**inputs, **targets}
        for number in range(len(columns["token_ids"])):
            length = columns["padding_mask"][number].sum()
            found.append(
                (
                    columns["token_ids"][number][:length].tolist(),
                    columns["segment_ids"][number][:length].tolist(),
                    columns["mask_positions"][number].tolist(),
                    columns["mask_ids"][number].tolist(),
                    columns["mask_weights"][number].tolist(),
                    [columns["next_sentence_label"][number]],
                )
            )
    return sorted(found)


@pytest.mark.parametrize("form, names", [("google", {}), ("model_garden", V2)])
def test_what_is_stored_is_what_is_read(form, names, corpus, settings, tmp_path):
    description = write_records([corpus], tmp_path / "records", replace(settings, static_masking=form))
    stored = []
    for columns in examples(tmp_path / "records"):
        row = values(columns, names)
        length = sum(row.pop("input_mask"))
        row["input_ids"], row["segment_ids"] = row["input_ids"][:length], row["segment_ids"][:length]
        stored.append(tuple(row.values()))
    files = sorted((tmp_path / "records").glob("*.tfrecord"))
    everything = description.num_records
    foreign = google_batches(files, everything, seed=1)
    own = pretraining_batches(tmp_path / "records", None, everything, seed=1)
    assert rows_of(foreign, 1) == rows_of(own, 1) == sorted(stored)
    inputs, targets = next(foreign.as_numpy_iterator())
    assert inputs["token_ids"].shape[1] % 8 == 0
    kinds = {name: str(value.dtype) for name, value in {**inputs, **targets}.items()}
    assert kinds.pop("mask_weights") == "float32" and set(kinds.values()) == {"int32"}


def test_the_first_file_may_be_empty(corpus, settings, tmp_path):
    description = write_records([corpus], tmp_path / "records", settings)
    (tmp_path / "records/empty").touch()
    files = [tmp_path / "records/empty", *sorted((tmp_path / "records").glob("*.tfrecord"))]
    everything = description.num_records
    assert rows_of(google_batches(files, everything, seed=1), 1) == rows_of(
        google_batches(files[1:], everything, seed=1), 1
    )


def test_records_without_a_label_are_read_and_strange_ones_named(tmp_path):
    def write(name, columns):
        feature = {
            key: tf.train.Feature(float_list=tf.train.FloatList(value=value))
            if key.endswith("weights")
            else tf.train.Feature(int64_list=tf.train.Int64List(value=value))
            for key, value in columns.items()
        }
        with tf.io.TFRecordWriter(str(tmp_path / name)) as writer:
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        return tmp_path / name

    row = {
        "input_word_ids": [2, 4, 9, 3, 0, 0], "input_mask": [1, 1, 1, 1, 0, 0],
        "input_type_ids": [0] * 6, "masked_lm_positions": [1, 0], "masked_lm_ids": [7, 0],
        "masked_lm_weights": [1.0, 0.0],
    }  # fmt: skip
    inputs, targets = next(google_batches([write("a", row)], 2, seed=1).as_numpy_iterator())
    assert inputs["token_ids"].tolist() == [[2, 4, 9, 3, 0, 0, 0, 0]] * 2
    assert targets["mask_ids"].tolist() == [[7, 0]] * 2 and set(targets) == {"mask_ids", "mask_weights"}
    with pytest.raises(InputError, match="b: its records have the features label, text; expected.*input_ids"):
        google_batches([write("b", {"text": [1], "label": [1]})], 2, seed=1)
