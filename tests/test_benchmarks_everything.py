"""benchmarks/everything.py: it knows every benchmark, and those that no other test runs do run."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kbert import BertConfig, checkpoints
from kbert.errors import InputError
from kbert.models import Bert
from tests.test_benchmarks_chinese import write_data

ROOT = Path(__file__).resolve().parent.parent
WORDS = "the film was not good but a play in the park made all of them happy".split()
#: Those that need nothing but what kbert installs, and tokenization, which needs one package more; run.py,
#: memory.py and others have tests of their own.
TRIED = (
    "records,classifier,export,chinese_corpus,chinese_vocab,chinese_records,chinese_pairs,chinese_masks,"
    "chinese_pretrained,start,load,remat,tokenization,layouts,serving_load,padding"
).split(",")


def run(*flags):
    """Of everything.py."""
    return subprocess.run(
        [sys.executable, "benchmarks/everything.py", *flags],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    """Flags: a small encoder, and a little of the data that the benchmarks below read."""
    data = tmp_path / "data"
    for name in ("vocab", "sst2", "corpora"):
        (data / name).mkdir(parents=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = data / "vocab/bert-base-uncased.txt"
    vocab.write_text("\n".join([*special, *sorted(set(WORDS)), "."]) + "\n", encoding="utf-8")
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 30))) for _ in range(64)]
    rows = "\n".join(["sentence\tlabel", *(f"{text}\t{i % 2}" for i, text in enumerate(texts))]) + "\n"
    for split in ("train", "dev"):
        (data / f"sst2/{split}.tsv").write_text(rows, encoding="utf-8")
    # Tokenization is timed by the thousand lines.
    documents = "\n\n".join(" .\n".join(texts[i : i + 8]) for i in range(0, 64, 8) for _ in range(16)) + "\n"
    (data / "corpora/brown.train.txt").write_text(documents, encoding="utf-8")
    write_data(data)
    model = Bert(BertConfig.preset("tiny", vocab_size=len(vocab.read_text().split())))
    model.build()
    checkpoints.save_folder(tmp_path / "kbert", model, vocab_path=vocab)
    checkpoints.convert(tmp_path / "kbert", tmp_path / "encoder", "huggingface")
    return f"--init={tmp_path}/encoder", f"--data={data}", f"--output={tmp_path}/results"


def test_every_benchmark_is_in_it():
    done = run("--init=encoder", "--data=data", "--output=results", "--list")
    assert done.returncode == 0, done.stderr
    programs = {
        path.name for path in (ROOT / "benchmarks").glob("*.py") if "entry.run(main" in path.read_text()
    }
    run_by_it = {Path(word).name for word in done.stdout.split() if "/benchmarks/" in word}
    assert run_by_it == programs - {"everything.py"}
    assert not (ROOT / "results").exists()


def test_commands_of_the_readme_have_the_flags_that_are_required():
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    commands = re.findall(r"python benchmarks/([a-z_]+\.py)( --[^`\n]*)?", text)
    assert len(commands) > 40
    for script, flags in commands:
        if flags.endswith("..."):
            continue
        source = (ROOT / "benchmarks" / script).read_text(encoding="utf-8")
        required = re.findall(r'DEFINE_\w+\(\s*"(\w+)"[^\n]*required=True', source)
        missing = [flag for flag in required if f"--{flag}=" not in flags]
        assert not missing, f"{script}{flags}"


def test_an_unknown_name_is_one_line():
    done = run("--init=encoder", "--data=data", "--output=results", "--only=records,nothing")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --only=nothing is not known; choose of records, ")


def test_what_is_of_a_trial_or_of_another_encoder_is_not_done(load_benchmark, tmp_path, monkeypatch):
    everything, ran = load_benchmark("everything"), []

    def run(name, command, folder):
        ran.append(folder)
        (folder / f"{name}.txt").write_text("figures")
        return 0

    def start(*flags):
        everything.FLAGS.unparse_flags()
        everything.FLAGS(["everything", "--data=data", f"--output={tmp_path}", "--only=load", *flags])
        everything.main()

    monkeypatch.setattr(everything, "run", run)
    start("--init=one", "--trial")
    start("--init=one", "--notrial")
    start("--init=one")
    assert ran == [tmp_path / "trial", tmp_path]
    with pytest.raises(InputError, match="settings.json has results of another run .init .*one, not"):
        start("--init=other")


def test_weak_scaling_trains_on_records_that_fit_into_its_rows(load_benchmark):
    of_it = load_benchmark("everything").BENCHMARKS["weak_scaling"]
    given = dict(flag.lstrip("-").split("=", 1) for flag in (*of_it.flags, *of_it.trial))
    length = int(given.get("row_length", load_benchmark("weak_scaling").FLAGS["row_length"].default))
    assert given["data_dir"] == "{output}/pretraining_mini/records-train"
    assert length >= load_benchmark("pretraining_data").LENGTH


def test_too_few_lines_are_told(tmp_path):
    (tmp_path / "short.txt").write_text("a line\n\n" * 999)
    done = subprocess.run(
        [sys.executable, "benchmarks/tokenization.py", "--vocab=v.txt", f"--text={tmp_path}/short.txt"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}/short.txt: 999 lines; at least 1000 are needed\n"


@pytest.mark.slow
def test_each_for_a_moment_and_none_twice(folders, tmp_path):
    output = tmp_path / "results/trial"
    done = run(*folders, "--trial", f"--only={','.join(TRIED)}")
    assert done.returncode == 0, done.stderr[-3000:]
    left_out = set() if importlib.util.find_spec("tokenizers") else {"tokenization"}
    assert {path.stem for path in output.glob("*.txt") if path.stem in TRIED} == set(TRIED) - left_out
    assert "errors" in (output / "serving_load.txt").read_text()
    (output / "layouts.txt").unlink()
    (output / "records/records-00000-of-00004.tfrecord").write_bytes(b"no record")
    done = run(*folders, "--trial", "--only=records,layouts")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: layouts failed")
    assert not (output / "layouts.txt").exists()
