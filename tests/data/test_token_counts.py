"""Counts of tokens, against those of the parsed records."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import token_counts, write_records
from kbert.data.record_settings import RecordSettings
from kbert.errors import InputError
from kbert.text import Vocab


@pytest.fixture
def num_documents():
    return 12


def features_of(folder, name):
    """What all records hold under a name, one list each."""
    for file in sorted(folder.glob("*.tfrecord*")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature[name]
            yield list(feature.int64_list.value or feature.float_list.value)


def test_every_token_counts_but_the_special_ones(corpus, tmp_path, tiny_vocab):
    vocab = Vocab.read(tiny_vocab)
    write_records(
        [corpus], tmp_path / "r", RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=3, passes=3)
    )
    ids = np.concatenate(list(features_of(tmp_path / "r", "token_ids")))
    expected = np.bincount(ids, minlength=len(vocab))
    expected[[vocab.cls_id, vocab.sep_id]] = 0
    np.testing.assert_array_equal(token_counts(tmp_path / "r", (vocab.cls_id, vocab.sep_id)), expected)
    few = token_counts(tmp_path / "r", (vocab.cls_id, vocab.sep_id), most_records=6)
    assert 0 < few.sum() < expected.sum() and (few <= expected).all()


def test_of_stored_masks_what_they_hide_counts(corpus, tmp_path, tiny_vocab):
    settings = RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=2, static_masking="google")
    write_records([corpus], tmp_path / "r", settings)
    hidden = zip(
        features_of(tmp_path / "r", "masked_lm_ids"),
        features_of(tmp_path / "r", "masked_lm_weights"),
        strict=True,
    )
    ids = [number for row, weights in hidden for number, weight in zip(row, weights, strict=True) if weight]
    expected = np.bincount(ids, minlength=len(Vocab.read(tiny_vocab)))
    np.testing.assert_array_equal(token_counts(tmp_path / "r", ()), expected)


def test_damage_is_named(corpus, tmp_path, tiny_vocab):
    write_records([corpus], tmp_path / "r", RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=1))
    (file,) = tmp_path.glob("r/*.tfrecord*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(bytes(content))
    with pytest.raises(InputError, match="record [0-9]+ .*damaged"):
        token_counts(tmp_path / "r", ())
