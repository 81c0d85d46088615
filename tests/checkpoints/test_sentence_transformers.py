"""How a folder of sentence-transformers makes one vector of a text."""

import json
import logging

import pytest

from kbert import InputError, checkpoints, models
from kbert.checkpoints import huggingface


@pytest.fixture
def folder(make_model, tmp_path):
    """(types of modules, modes of pooling) -> an encoder as sentence-transformers saves it."""

    def write(modules=("Transformer", "Pooling", "Normalize"), modes=("cls_token",), package="models"):
        huggingface.write(tmp_path, make_model("Bert"))
        listed = [
            {"idx": n, "path": n and f"{n}_{name}" or "", "type": f"sentence_transformers.{package}.{name}"}
            for n, name in enumerate(modules)
        ]
        (tmp_path / "modules.json").write_text(json.dumps(listed))
        (tmp_path / "1_Pooling").mkdir()
        known = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
        flags = {f"pooling_mode_{mode}": mode in modes for mode in known}
        config = {"word_embedding_dimension": 8, **flags, "include_prompt": True}
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("mode", "pooling"), [("cls_token", "first"), ("mean_tokens", "mean"), ("max_tokens", "max")]
)
def test_an_embedder_pools_as_the_folder_says(folder, caplog, mode, pooling):
    written = folder(modes=[mode])
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert checkpoints.read_pooling(written) == pooling
    assert not caplog.records
    if pooling == "first":
        assert checkpoints.load(written, models.BertEmbedder).pooling == "first"
        assert checkpoints.load(written, models.BertEmbedder, pooling="max").pooling == "max"
        assert type(checkpoints.load(written)).__name__ == "Bert"


def test_a_conversion_that_leaves_the_pooling_behind_says_so(folder, caplog):
    written = folder(modes=["max_tokens"])
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoints.convert(written, written / "out", "google")
    assert "out: leaves behind the pooling of sentence-transformers; give --pooling=max to" in caplog.text


def test_modules_that_kbert_has_not_are_warned_of(folder, caplog):
    written = folder(("Transformer", "Pooling", "Dense", "Normalize"), package="sentence_transformer.modules")
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert checkpoints.read_pooling(written) == "first"
    (record,) = caplog.records
    assert record.message.startswith(f"{written / 'modules.json'}: names Dense, which kbert has not")


@pytest.mark.parametrize(
    ("modes", "found"),
    [
        (["lasttoken"], "pooling_mode_lasttoken"),
        (["cls_token", "mean_tokens"], "pooling_mode_cls_token and pooling_mode_mean_tokens"),
        ([], "no mode of pooling"),
    ],
)
def test_another_pooling_is_warned_of(folder, caplog, modes, found):
    written = folder(modes=modes)
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert checkpoints.load(written, models.BertEmbedder).pooling == "mean"
    assert f"config.json: has {found}; kbert pools by one of mean, first, max" in caplog.text


def test_a_pooling_that_was_not_copied_is_warned_of(folder, caplog):
    written = folder()
    (written / "1_Pooling" / "config.json").unlink()
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert checkpoints.read_pooling(written) is None
    assert "config.json: has no mode of pooling" in caplog.text


def test_a_folder_that_says_nothing_has_none(make_model, tmp_path):
    huggingface.write(tmp_path, make_model("Bert"))
    assert checkpoints.read_pooling(tmp_path) is None
    checkpoints.save_folder(tmp_path / "ours", make_model("BertEmbedder", {"pooling": "max"}))
    assert checkpoints.read_pooling(tmp_path / "ours") == "max"


@pytest.mark.parametrize("text", ["{}", "["])
def test_damage_is_named(folder, text):
    written = folder()
    (written / "modules.json").write_text(text)
    with pytest.raises(InputError, match="modules.json"):
        checkpoints.read_pooling(written)
