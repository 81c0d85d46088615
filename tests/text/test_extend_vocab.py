"""`tf_scripts/extend_vocab.py`, run as a user runs it."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import kbert
from kbert.checkpoints import convert, read_spec, save_folder
from kbert.export import MaskFiller
from kbert.inference import read_spec_and_tokenizer
from kbert.models import BertPretrainer
from kbert.text import Vocab
from tests.conftest import TINY_VOCAB

SCRIPT = pathlib.Path(__file__).parents[2] / "tf_scripts" / "extend_vocab.py"
CORPUS = "Playing and un-played plays.\n\n" * 6 + "电影院\nplayers bad\n" * 5


def run(*flags):
    command = [sys.executable, str(SCRIPT), *flags]
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(CORPUS, encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_model_has_rows_for_the_words_and_trains_on(corpus, tiny_vocab, tiny_config, tmp_path):
    model = BertPretrainer(tiny_config.replace(vocab_size=len(TINY_VOCAB)))
    model.build()
    task = {"name": "pretraining", "lowercase": True, "max_length": 40}
    save_folder(tmp_path / "old", model, task=task, vocab_path=tiny_vocab)
    done = run(f"--input={corpus}", f"--init={tmp_path}/old", "--num_words=4", f"--output={tmp_path}/new")
    assert done.returncode == 0, done.stderr
    vocab = Vocab.read(tmp_path / "new/vocab.txt")
    # 5 times 3 tokens to save, 6 times 2, and 6 times 1, of which the unknown "-" comes first.
    assert vocab.tokens == (*TINY_VOCAB, "players", "and", "-", "played")
    resized = kbert.load(tmp_path / "new")
    assert type(resized) is BertPretrainer and resized.config.vocab_size == len(vocab)
    table, old = (
        keras.ops.convert_to_numpy(one.bert.embeddings.token_embeddings) for one in (resized, model)
    )
    np.testing.assert_array_equal(table[: len(old)], old)
    pieces = [vocab.id("play"), vocab.id("##ed")]
    np.testing.assert_allclose(table[vocab.id("played")], old[pieces].mean(0), atol=1e-6)
    assert read_spec(tmp_path / "new")["task"] == task
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures == json.loads((tmp_path / "new/manifest.json").read_text())["metrics"]
    assert (figures["words_added"], figures["vocab_size"]) == (4, len(vocab))
    # The first line, of 7 words, is there 6 times, the other two, of 3 and 2 words, 5 times.
    assert figures["tokens_per_word_before"] == pytest.approx((6 * 12 + 5 * 8) / (6 * 7 + 5 * 5), abs=1e-4)
    assert figures["unknown_share_before"] == pytest.approx((6 + 5) / (6 * 12 + 5 * 8), abs=1e-4)
    assert figures["unknown_share_after"] == pytest.approx(5 / (6 * 9 + 5 * 5), abs=1e-4)
    assert "play ##ed" in done.stdout
    # Inputs with the new words go through the model.
    ids = np.array([[vocab.cls_id, vocab.id("players"), vocab.id("played"), vocab.sep_id]])
    logits = resized({"token_ids": ids})["mlm_logits"]
    assert logits.shape[-1] == len(vocab) and np.isfinite(logits).all()


@pytest.mark.slow
def test_a_checkpoint_that_names_no_task_becomes_one_to_export(corpus, tiny_vocab, tiny_config, tmp_path):
    model = BertPretrainer(tiny_config.replace(vocab_size=len(TINY_VOCAB), activation="gelu_tanh"))
    save_folder(tmp_path / "old", model, vocab_path=tiny_vocab)
    convert(tmp_path / "old", tmp_path / "google", "google")
    done = run(f"--input={corpus}", f"--init={tmp_path}/google", "--num_words=4", f"--output={tmp_path}/new")
    assert done.returncode == 0, done.stderr
    spec, tokenizer = read_spec_and_tokenizer(tmp_path / "new")
    assert spec == {"name": "pretraining", "max_length": tiny_config.max_length, "lowercase": True}
    MaskFiller(spec, tokenizer, kbert.load(tmp_path / "new"))


@pytest.mark.slow
def test_a_vocabulary_alone_with_its_unused_places(corpus, tmp_path):
    tokens = [*TINY_VOCAB[:5], "[unused0]", *TINY_VOCAB[5:], "[unused1]"]
    Vocab(tokens).write(tmp_path / "vocab.txt")
    output = tmp_path / "new" / "vocab.txt"
    lines = corpus.read_text(encoding="utf-8").splitlines()
    rows = "".join(json.dumps({"body": line}) + "\n" for line in lines if line)
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    done = run(
        f"--input={tmp_path}/rows.jsonl", "--text_field=body", f"--vocab={tmp_path}/vocab.txt",
        "--mode=unused", "--lowercase", f"--output={output}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Vocab.read(output).tokens == (*TINY_VOCAB[:5], "players", *TINY_VOCAB[5:], "and")
    assert "has 2 [unusedN] entries" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--output={tmp}/out", "nothing to extend; give --init"),
        ("--vocab={vocab} --output={tmp}", "is a folder"),
        ("--vocab={vocab} --output={vocab}/out", "cannot be written to (Not a directory)"),
        ("--vocab={vocab} --mode=unused --output={tmp}/out", "no [unusedN]"),
        ("--init={tmp} --output={tmp}", "already holds something"),
    ],
)
def test_nonsense_is_one_line(flags, message, corpus, tiny_vocab, tmp_path):
    done = run(f"--input={corpus}", *flags.format(tmp=tmp_path, vocab=tiny_vocab).split())
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(errors)) == (2, 1), done.stderr
    assert message in errors[0] and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
