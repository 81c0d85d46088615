"""benchmarks/run.py, start.py and chinese.py: the arithmetic, and each case for three steps."""

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from kbert import BertConfig, checkpoints
from kbert.errors import InputError
from kbert.models import Bert

ROOT = Path(__file__).resolve().parent.parent
WORDS = "the film was not good but a play in the park made all of them happy".split()
TRAINING_CASES = [
    "train-minilm-128",
    "train-base-128",
    "train-sst2",
    "train-chnsenticorp",
    "train-squad",
    "train-base-512",
]

INFERENCE_CASES = ["infer-minilm-128", "infer-one-20", "infer-sst2"]


@pytest.fixture(scope="module")
def speed():
    """The package of the parts, imported as run.py does."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from speed import cases, limits, report, turns

    yield {"cases": cases, "limits": limits, "report": report, "turns": turns}
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize(
    ("size", "length", "megaflop"),
    [("tiny", 128, 6.3), ("mini", 512, 32.3), ("base", 128, 545), ("large", 128, 1879), ("large", 512, 1992)],
)
def test_arithmetic_of_a_token(speed, size, length, megaflop):
    """The published sizes, full rows, 15 % guessed: worked out by hand beside the formula's source."""
    flop = speed["limits"].training_flop(BertConfig.preset(size), [length] * 3, 0.15)
    assert flop / 1e6 == pytest.approx(megaflop, rel=0.01)


def test_rows_of_several_lengths_meet_more_than_their_mean(speed):
    flop, config = speed["limits"].training_flop, BertConfig.preset("tiny")
    apart = flop(config, [10, 30], 0) - flop(config, [0.001], 0)
    assert apart == pytest.approx(3 * 4 * 2 * 128 * (100 + 900) / 40, rel=1e-3)


def test_hidden_places_can_be_put_back(speed):
    cases = speed["cases"]
    rows = cases.rows_of(cases.TRAINING["train-minilm-128"], "", steps=2)
    assert len(rows) == 32 and {len(row) for row in rows} == {128}
    found = cases.masked(rows)
    assert found["mask_positions"].shape == (32, 19)
    hidden = np.take_along_axis(found["token_ids"], found["mask_positions"], 1)
    assert (hidden == cases.MASK).all() and (found["token_ids"] == cases.MASK).sum() == 32 * 19
    np.put_along_axis(found["token_ids"], found["mask_positions"], found["mask_ids"], 1)
    np.testing.assert_array_equal(found["token_ids"], np.stack(rows))


def test_a_candidate_that_fails_is_named_with_its_last_words(speed, tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('the model is missing')"]
    with (
        pytest.raises(InputError, match="torch ended: the model is missing"),
        speed["turns"].Candidates({"torch": command}, str(tmp_path)),
    ):
        pass


def test_turns_alternate_and_the_first_ones_are_left_out(speed, tmp_path):
    code = (
        "from speed.turns import Turns; import time; t = Turns(); print('a library says hello'); "
        "t.introduce(compared=[1]); n = 0\n"
        "while True:\n  n += 1; open(FILE, 'a').write(NAME); t.end(number=n)"
    )
    order = tmp_path / "order"
    commands = {
        name: [sys.executable, "-c", code.replace("FILE", repr(str(order))).replace("NAME", repr(name))]
        for name in "ab"
    }
    environment = {"PYTHONPATH": f"{ROOT}/benchmarks:{ROOT}"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment["PYTHONPATH"])
        with speed["turns"].Candidates(commands, str(tmp_path)) as running:
            assert running.introductions == {"a": {"compared": [1]}, "b": {"compared": [1]}}
            answers = running.rounds(2, warmup=1)
    assert order.read_text() == "ababab"
    assert [answer["number"] for answer in answers["b"]] == [2, 3]
    assert all(0 <= answer["seconds"] < 10 and answer["peak_mib"] > 1 for answer in answers["a"])


def test_a_case_is_put_beside_those_of_earlier_runs(speed, tmp_path, monkeypatch):
    report, machine = speed["report"], speed["report"].machine()
    monkeypatch.setattr(report, "_draw", lambda *_: None)
    row = {"real_tokens_per_second": 2.0, "slowest": 1.0, "fastest": 3.0, "share_of_peak": 0.5, "peak_mib": 9}
    rows = {"peak": {"float32_gflops": 1.0}, "kbert float32": row}
    report.add(tmp_path, "train-sst2", rows, machine | {"rounds": 5})
    report.add(tmp_path, "infer-sst2", rows, machine | {"rounds": 7})
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["cases"]) == ["train-sst2", "infer-sst2"]
    assert [measured["rounds"] for measured in results["measured"].values()] == [5, 7]
    assert (tmp_path / "table.txt").read_text().count("kbert float32") == 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", machine["date"])  # Python 3.10 has another name for UTC.


def test_the_classifier_takes_no_folder_of_others(load_benchmark, monkeypatch, tmp_path):
    run = load_benchmark("run")
    run.FLAGS(["run", "--init=i", "--data=d", f"--output={tmp_path}"])
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving/mine").write_text("kept")
    monkeypatch.setattr(run.subprocess, "run", lambda *_, **__: None)
    run.write_classifier()
    assert (tmp_path / "serving/mine").exists()


def test_onnx_runtime_is_left_out_where_a_package_is_missing(load_benchmark, monkeypatch):
    run = load_benchmark("run")
    there = {"torch", "transformers", "onnxruntime", "keras_hub"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found" if name in there else None)
    monkeypatch.setattr(run.limits, "torch_bfloat16_slowdown", lambda: 1)
    run.FLAGS(["run", "--init=i", "--data=d", "--output=o"])
    chosen = run.chosen("infer-sst2")
    assert "ONNX Runtime" not in chosen and {"SavedModel", "transformers"} <= set(chosen)
    assert run.lacking(run.ONNX) == ["onnx"]  # So its files are not written either.


@pytest.mark.parametrize("slowdown, left_out", [(0.5, False), (300, True)])
def test_torch_is_not_timed_in_bfloat16_where_it_takes_days(load_benchmark, monkeypatch, slowdown, left_out):
    run = load_benchmark("run")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found")
    monkeypatch.setattr(run.limits, "torch_bfloat16_slowdown", lambda: slowdown)
    run.too_slow.cache_clear()
    run.FLAGS(["run", "--init=i", "--data=d", "--output=o"])
    for case in ("train-sst2", "infer-sst2"):
        assert set(run.CASES[case].candidates) - set(run.chosen(case)) == (
            {"transformers bfloat16"} if left_out else set()
        )
    run.FLAGS(["run", "--init=i", "--data=d", "--output=o", "--candidates=transformers bfloat16"])
    assert run.chosen("train-sst2") == ["transformers bfloat16"]  # Who asks for it has it.
    run.too_slow.cache_clear()


def test_a_candidate_that_dies_between_its_turns_is_named(speed, tmp_path):
    code = "import sys; print('{}', flush=True); input(); print('{}', flush=True); sys.exit('killed')"
    command = [sys.executable, "-c", code]
    with (
        pytest.raises(InputError, match="torch ended: killed"),
        speed["turns"].Candidates({"torch": command}, str(tmp_path)) as running,
    ):
        running.turn("torch")
        running.processes["torch"].wait()
        running.turn("torch")


def test_memory_is_told_without_proc(speed, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert 0 < speed["turns"].peak_mib() < 1e6


def test_one_thread_has_a_core_that_is_allowed(load_benchmark, monkeypatch):
    tokenization, chosen = load_benchmark("tokenization"), []

    def run(command, preexec_fn, **_):
        preexec_fn()
        return types.SimpleNamespace(stdout="1.5")

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {4, 5}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: chosen.append(cores), raising=False)
    monkeypatch.setattr(subprocess, "run", run)
    assert tokenization.one_run("kbert", 1) == 1.5 and chosen == [{4}]


def test_a_table_without_sentences_is_told(speed, tmp_path):
    (tmp_path / "dev.tsv").write_text("text\tlabel\ngood\t1\n")
    with pytest.raises(InputError, match=r"dev.tsv:1: columns text, label; expected one called sentence"):
        speed["cases"].sentences_of(tmp_path / "dev.tsv")


@pytest.fixture
def folders(tmp_path):
    """A small encoder as a Hugging Face folder, and data in the forms of the benchmarks."""
    data = tmp_path / "data"
    for name in ("vocab", "sst2", "chnsenticorp", "squad-v1.1"):
        (data / name).mkdir(parents=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = "\n".join([*special, *sorted(set(WORDS)), "好", "不"]) + "\n"
    (tmp_path / "vocab.txt").write_text(vocab, encoding="utf-8")
    for name in ("uncased", "chinese"):
        (data / f"vocab/bert-base-{name}.txt").write_text(vocab, encoding="utf-8")
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 30))) for _ in range(100)]
    for name, column in (("sst2", "sentence"), ("chnsenticorp", "text_a")):
        lines = [f"{column}\tlabel", *(f"{text}\t{i % 2}" for i, text in enumerate(texts))]
        for split in ("train", "dev"):
            (data / name / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    answer = [{"text": "film", "answer_start": 4}]
    questions = [{"id": str(i), "question": text, "answers": answer} for i, text in enumerate(texts)]
    paragraphs = [{"context": "the film was good", "qas": questions}]
    squad = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}
    (data / "squad-v1.1/train.json").write_text(json.dumps(squad), encoding="utf-8")
    return data, tmp_path / "encoder", tmp_path / "results"


def write_encoder(folder, vocab_size, vocab=None):
    """Random weights as a Hugging Face folder."""
    model = Bert(BertConfig.preset("tiny", vocab_size=vocab_size))
    model.build()
    own = folder.with_name("kbert")
    checkpoints.save_folder(own, model, vocab_path=vocab)
    checkpoints.convert(own, folder, "huggingface")


def run(data, encoder, output, *more):
    command = [
        sys.executable, "benchmarks/run.py", f"--init={encoder}", f"--base={encoder}", f"--data={data}",
        f"--output={output}", *more,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_each_training_case_for_three_steps(folders):
    write_encoder(folders[1], vocab_size=21000)  # Cases with rows of one length draw ids up to 20,000.
    names = ",".join(TRAINING_CASES)
    # The other candidates differ by a switch of their library; they would be ten minutes of starting.
    few = "kbert bfloat16,kbert bfloat16 padded,Keras Hub bfloat16"
    done = run(*folders, f"--cases={names}", f"--candidates={few}", "--steps=3", "--rounds=1", "--warmup=0")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((folders[-1] / "results.json").read_text())
    assert list(results["cases"]) == TRAINING_CASES
    for name, found in results["cases"].items():
        assert found["peak"]["float32_gflops"] > 1, name
        assert {"kbert bfloat16", "Keras Hub bfloat16"} <= set(found), name
        for row in (found[who] for who in found if who != "peak"):
            assert row["slowest"] <= row["real_tokens_per_second"] <= row["fastest"]
            assert row["padded_tokens_per_second"] > 0.999 * row["real_tokens_per_second"] > 0
            assert 0 < row["share_of_peak"] < 1 and 0 < row["loss"] < 20
    mix = results["cases"]["train-sst2"]
    shares = {
        who: row["padded_tokens_per_second"] / row["real_tokens_per_second"]
        for who, row in mix.items()
        if who != "peak"
    }
    # To the longest of a batch, drawn at random, and to the longest of all.
    assert 1 < shares["kbert bfloat16"] < 2.5 < 4 < shares["Keras Hub bfloat16"]
    assert shares["kbert bfloat16 padded"] == pytest.approx(shares["Keras Hub bfloat16"])
    assert (folders[-1] / "table.txt").read_text().count("kbert bfloat16") >= len(TRAINING_CASES)


@pytest.mark.slow
def test_each_inference_case_for_three_requests(folders):
    vocab = folders[0].parent / "vocab.txt"
    write_encoder(folders[1], len(vocab.read_text().split()), vocab)
    done = run(*folders, f"--cases={','.join(INFERENCE_CASES)}", "--steps=3", "--rounds=1", "--warmup=0")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((folders[-1] / "results.json").read_text())
    assert list(results["cases"]) == INFERENCE_CASES
    for name, found in results["cases"].items():
        row = found["SavedModel"]
        assert 0 < row["milliseconds"] <= row["milliseconds_95"] < 60_000, name
        assert row["slowest"] <= row["real_tokens_per_second"] <= row["fastest"]
        rate = row["real_tokens_per_second"] * row["seconds"][0]
        tokens = {"infer-minilm-128": 3 * 16 * 128, "infer-one-20": 3 * 20}.get(name, rate)
        assert rate == pytest.approx(tokens)
        assert found["SavedModel int8"]["milliseconds"] > 0
    lines = (folders[-1] / "table.txt").read_text().splitlines()
    assert [line.split("  ")[0] for line in lines].count("SavedModel") == len(INFERENCE_CASES)
    times = start_times(folders[-1] / "classifier-of-run/export/1")
    assert list(times) == ["import kbert", "the rest of it", "load", "first answer", "second answer"]
    assert times["import kbert"] < 0.3


def start_times(export):
    """Name -> seconds, of the table that benchmarks/start.py prints."""
    command = [sys.executable, "benchmarks/start.py", f"--export={export}", "--rounds=1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if " s (" in line]
    return {line[:16].strip(): float(line[16:].split()[0]) for line in lines}


@pytest.mark.slow
def test_memory_of_loading_and_serving(folders):
    vocab = folders[0].parent / "vocab.txt"
    write_encoder(folders[1], len(vocab.read_text().split()), vocab)
    command = [sys.executable, "benchmarks/memory.py", f"--init={folders[1]}", "--requests=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {
        line[:18].strip(): re.findall(r"([a-z ]+) ([\d,]+)", line[18:]) for line in done.stdout.splitlines()
    }
    assert {"kbert, load", "kbert, serve"} <= set(rows)
    for name, row in rows.items():
        held = {what.strip(): int(mib.replace(",", "")) for what, mib in row}
        assert 100 < held["imported"] <= held["most while loading"] >= held["loaded"], name
        if "serve" in name:
            assert held["most while answering"] >= held["most while loading"]


def test_chinese_results_without_seeds_are_refused(load_benchmark, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"ocnli": {"pretrained": [0.5, 0.6]}}))
    chinese = load_benchmark("chinese")
    chinese.FLAGS(["chinese", "--init=i", "--data=d", f"--output={tmp_path}"])
    with pytest.raises(InputError, match="results.json is of an earlier version"):
        chinese.main()


@pytest.mark.slow
def test_every_seed_of_both_starts_is_told(folders):
    """benchmarks/chinese.py; without scikit-learn its third row is left out."""
    data, encoder, output = folders
    vocab = data.parent / "vocab.txt"
    write_encoder(encoder, len(vocab.read_text().split()), vocab)
    command = [
        sys.executable, "benchmarks/chinese.py", f"--init={encoder}", "--size=tiny", f"--data={data}",
        f"--output={output}", "--sets=chnsenticorp", "--seeds=1,2", "--epochs=1", "--max_length=16",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((output / "results.json").read_text())["rows"]["chnsenticorp"]
    assert {"pretrained", "untrained"} <= set(found)
    assert ("bag of characters" in found) == (importlib.util.find_spec("sklearn") is not None)
    for start, seed in itertools.product(("pretrained", "untrained"), "12"):
        report = json.loads((output / f"chnsenticorp-{start}-{seed}/report.json").read_text())
        accuracy = next(row["value"] for row in report["scores"] if row["name"] == "accuracy")
        assert found[start][seed] == {"score": accuracy} and 0 <= accuracy <= 1
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and again.stdout == done.stdout
    command[-4] = "--sets=everything"
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--sets=everything is not known" in done.stderr.splitlines()[-1]


def test_unknown_names_are_one_line(folders):
    done = run(*folders, "--cases=train-everything")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: --cases=train-everything is not known; choose of train-"
    )
    done = run(*folders, "--cases=train-sst2", "--candidates=nobody")
    assert done.returncode == 2 and "has none of nobody" in done.stderr.splitlines()[-1]
