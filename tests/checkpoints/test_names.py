import numpy as np
import pytest

from kbert import InputError
from kbert.checkpoints.names import (
    GOOGLE,
    HUGGINGFACE,
    Stored,
    foreign_arrays,
    only,
    part,
    stored,
)
from kbert.models.paths import weight_paths

GOOGLE_CLASSES = (
    "Bert",
    "BertPretrainer",
    "BertMaskedLM",
    "BertClassifier",
    "BertSpanFinder",
    "BertEmbedder",
)
TABLES = pytest.mark.parametrize(
    ("table", "classes"),
    [(GOOGLE, GOOGLE_CLASSES), (HUGGINGFACE, (*GOOGLE_CLASSES, "BertTagger", "BertMultipleChoice"))],
    ids=["google", "huggingface"],
)


@TABLES
def test_every_weight_has_its_own_foreign_names(make_model, table, classes):
    for name in classes:
        paths = weight_paths(make_model(name))
        names = [name for path in paths for name in stored(table, path).names]
        assert len(names) == len(set(names))
        assert not any("{" in name for name in names)


@TABLES
def test_every_row_of_a_table_is_used(make_model, table, classes):
    paths = {
        path.replace("layer_0", "layer_{n}").replace("layer_1", "layer_{n}")
        for name in classes
        for path in weight_paths(make_model(name))
    }
    assert paths == set(table)


def test_a_head_without_a_place_in_the_form_is_refused(make_model):
    tagger = make_model("BertTagger", {"num_tags": 3, "crf": True})
    with pytest.raises(InputError, match="Theirs has no place for crf;"):
        foreign_arrays(HUGGINGFACE, tagger, "Theirs")
    with pytest.raises(InputError, match="has no place for crf, tagger;"):
        foreign_arrays(GOOGLE, tagger, "Google's form")


def test_a_table_is_cut_to_the_heads_of_a_class():
    rows = only(HUGGINGFACE, "tagger")
    assert {part(path) for path in rows} == {"bert", "bert/pooler", "tagger"}
    assert rows["tagger/bias"].names == ("classifier.bias",)


def test_encoder_has_the_same_names_alone_and_under_a_head(make_model):
    alone = set(weight_paths(make_model("Bert")))
    assert alone == {path for path in weight_paths(make_model("BertClassifier")) if path.startswith("bert/")}


def test_block_number_is_filled_in():
    row = stored(HUGGINGFACE, "bert/layer_11/attention/qkv/bias")
    assert row.names == tuple(
        f"bert.encoder.layer.11.attention.self.{part}.bias" for part in ("query", "key", "value")
    )


def test_join_puts_query_key_value_side_by_side_and_turns_them():
    parts = [np.full((2, 2), number, "float32") for number in range(3)]
    parts[1][0, 1] = 7  # stored (out, in): in kbert's (in, out) it is row 1, column 0 of the key part
    joined = Stored(("q", "k", "v"), turned=True).join(parts)
    np.testing.assert_array_equal(joined, [[0, 0, 1, 1, 2, 2], [0, 0, 7, 1, 2, 2]])


@pytest.mark.parametrize("row", [Stored(("a",)), Stored(("a",), True), Stored(("q", "k", "v"), True)])
def test_split_is_the_inverse_of_join(row):
    array = np.arange(24, dtype="float32").reshape(4, 6)
    parts = row.split(array)
    assert [part.shape for part in parts] == [row.part_shape(array.shape)] * len(row.names)
    assert all(part.flags.c_contiguous for part in parts)
    np.testing.assert_array_equal(row.join(parts), array)
