"""Sizes, vocabulary and casing of a run are settled together."""

import json
import logging
from pathlib import Path

import pytest

from kbert import BertConfig, InputError
from kbert.checkpoints import save_folder
from kbert.models import Bert, BertEmbedder
from kbert.start import refuse_start_as_target, starting_point, task_options


@pytest.fixture
def init(tiny_config, tiny_vocab, tmp_path):
    save_folder(tmp_path / "init", Bert(tiny_config), {"lowercase": False}, tiny_vocab)
    return str(tmp_path / "init")


def vocab_of(tmp_path, *words):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path = tmp_path / "words.txt"
    path.write_text("\n".join([*special, *(f"{word}{n}" for word in words for n in range(120))]) + "\n")
    return str(path)


def test_a_checkpoint_says_all(init, tiny_config):
    start = starting_point(init=init)
    assert (start.config, start.vocab_path.parent.name, start.lowercase) == (tiny_config, "init", False)
    assert starting_point(init=init, num_hidden_layers_used=1).config == tiny_config.replace(num_layers=1)
    with pytest.raises(InputError, match="num_hidden_layers_used=3, but it has 2 layers"):
        starting_point(init=init, num_hidden_layers_used=3)


def test_a_size_has_as_many_embeddings_as_the_vocabulary(tmp_path):
    start = starting_point(size="tiny", vocab=vocab_of(tmp_path, "a"))
    assert start.config == BertConfig.preset("tiny", vocab_size=125)


@pytest.mark.parametrize("name", ["mine.json", "config.json", "bert_config.json"])
def test_a_config_may_be_of_any_kind(tmp_path, name):
    own = {"vocab_size": 125, "hidden_dim": 8, "num_heads": 2, "activation": "relu"}
    theirs = {"vocab_size": 125, "hidden_size": 8, "num_attention_heads": 2, "hidden_act": "relu"}
    theirs["type_vocab_size"] = 2
    (tmp_path / name).write_text(json.dumps(own if name == "mine.json" else theirs))
    start = starting_point(config=str(tmp_path / name), vocab=vocab_of(tmp_path, "a"))
    assert start.config == BertConfig.from_dict(own)


@pytest.mark.parametrize(("words", "expected"), [(["word", "Word"], False), (["word"], True), (["好"], True)])
def test_where_nobody_says_it_the_vocabulary_tells_the_case(tmp_path, words, expected):
    assert starting_point(size="tiny", vocab=vocab_of(tmp_path, *words)).lowercase is expected


def test_a_case_against_the_vocabulary_is_taken_and_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert starting_point(size="tiny", vocab=vocab_of(tmp_path, "Word"), lowercase=True).lowercase is True
    assert caplog.text.count("many entries that lower-casing would change, but lowercase=True") == 1


@pytest.mark.parametrize("given", [False, True])
def test_a_checkpoint_with_a_tokenizer_of_another_kind_is_refused(tiny_config, tmp_path, given):
    save_folder(tmp_path, Bert(tiny_config))
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": [["<s>", 0.0]]}}')
    with pytest.raises(InputError, match="tokenizer.json: splits words by Unigram"):
        starting_point(init=str(tmp_path), vocab=vocab_of(tmp_path, "a") if given else None)


def test_a_vocabulary_that_is_not_the_checkpoint_s_is_refused(tiny_config, tmp_path):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

    def write(name, *words):
        (tmp_path / name).write_text("\n".join([*special, *words]) + "\n")
        return str(tmp_path / name)

    own = write("own.txt", "[unused0]", "a", "b", "c")
    save_folder(tmp_path / "init", Bert(tiny_config), None, own)
    init = str(tmp_path / "init")
    other = write("other.txt", "[unused0]", "b", "a", "c")
    message = "other.txt:7: 'b' stands where .*init has learned 'a'; 2 of 9 entries are others; leave"
    with pytest.raises(InputError, match=message):
        starting_point(init=init, vocab=other)
    for words in (["new", "a", "b", "c"], ["[unused0]", "a", "b", "c", "d"], ["[unused0]", "a", "b"]):
        vocab = write("more.txt", *words)
        assert starting_point(init=init, vocab=vocab).vocab_path.name == "more.txt"


def test_a_task_pools_as_the_checkpoint_unless_it_is_told_otherwise(tiny_config, tmp_path, caplog):
    save_folder(tmp_path, BertEmbedder(tiny_config, pooling="max"))
    known = ("pooling", "normalize")
    with caplog.at_level(logging.INFO, logger="absl"):
        assert task_options({"pooling": "mean"}, known, str(tmp_path)) == {"pooling": "mean"}
        assert task_options({"crf": True}, ["crf"], str(tmp_path)) == {"crf": True}
        assert task_options({}, known, None) == {}
        assert "pools by" not in caplog.text
        options = task_options({"normalize": False}, known, str(tmp_path))
    assert options == {"normalize": False, "pooling": "max"}
    assert f"{tmp_path}: pools by max, and so does this task" in caplog.text


def test_what_does_not_go_together_is_refused(init, tmp_path):
    # Of the scripts that start from random weights only pretrain.py has --config.
    choices = r"exactly one of --init and --size \(pretrain.py: or --config\); none of them came"
    with pytest.raises(InputError, match=choices):
        starting_point()
    with pytest.raises(InputError, match="--init and --size came"):
        starting_point(init=init, size="tiny")
    with pytest.raises(InputError, match="--num_hidden_layers_used takes layers of --init"):
        starting_point(size="tiny", vocab=vocab_of(tmp_path, "a"), num_hidden_layers_used=1)
    with pytest.raises(InputError, match="random weights: no vocab.txt there"):
        starting_point(size="tiny")
    with pytest.raises(InputError, match=r"words.txt: 125 entries, but .* has 101 rows"):
        starting_point(init=init, vocab=vocab_of(tmp_path, "a"))


def test_the_start_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for init in ("runs/mine/", str(tmp_path / "runs/mine")):
        with pytest.raises(InputError, match="--init and --model_dir are one folder, runs/mine: the start"):
            refuse_start_as_target(init, Path("runs/mine"))
    for init in (None, "runs", "bert-base"):
        refuse_start_as_target(init, Path("runs/mine"))
