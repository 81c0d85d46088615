"""benchmarks/finetuning.py and recipes.py: their parts on a few rows, what they print, and how they go on."""

import json
import math
import os
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest

from kbert.errors import InputError
from kbert.tasks import task_class
from tests.test_benchmarks_run import ROOT, folders, write_encoder  # noqa: F401 (a fixture)


@pytest.fixture
def finetuning(load_benchmark):
    return load_benchmark("finetuning")


@pytest.fixture
def recipes(load_benchmark):
    return load_benchmark("recipes")


@pytest.fixture
def kept_results(load_benchmark):
    return load_benchmark("kept_results")


def run(folders, *more, script="finetuning"):  # noqa: F811
    data, encoder, output = folders
    command = [
        sys.executable, f"benchmarks/{script}.py", f"--init={encoder}", f"--data={data}",
        f"--output={output}", *more,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_kbert_trains_and_the_peer_gets_its_batches(folders):  # noqa: F811
    vocab = folders[0].parent / "vocab.txt"
    write_encoder(folders[1], len(vocab.read_text().split()), vocab)
    work = folders[0].parent
    options = ["--sets=sst2", "--seeds=7", f"--work={work}"]
    done = run(folders, *options, "--role=kbert")
    assert done.returncode == 0, done.stderr[-3000:]
    row = json.loads(done.stdout.splitlines()[-1])
    assert 0 <= row["score"] <= 1 and row["seconds"] > 0 and row["cpu_seconds"] > 0
    done = run(folders, *options, "--role=batches")
    assert done.returncode == 0, done.stderr[-3000:]
    batches, answered, (kernel, bias) = pickle.loads((work / "batches-7.pickle").read_bytes())
    assert len(batches) == 4 and kernel.shape[1] == len(bias) == 2  # 100 rows, one epoch.
    assert sum(len(inputs["token_ids"]) for inputs, _ in batches) == 100
    assert sum(len(inputs["token_ids"]) for inputs in answered) >= 100
    # What the peer would say; the model of those answers is kbert's own decoding.
    outputs = [{"logits": np.tile([[0.0, 1.0]], (len(inputs["token_ids"]), 1))} for inputs in answered]
    (work / "outputs-7.pickle").write_bytes(pickle.dumps(outputs))
    done = run(folders, *options, "--role=scores")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"score": 0.5}


@pytest.mark.slow
def test_both_sides_from_beginning_to_end(folders):  # noqa: F811
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    vocab = folders[0].parent / "vocab.txt"
    write_encoder(folders[1], len(vocab.read_text().split()), vocab)
    done = run(folders, "--sets=sst2", "--seeds=1,2", "--noautocast")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("sst2       accuracy: kbert 0.")
    found = json.loads((folders[2] / "results.json").read_text())["rows"]["sst2"]
    assert set(found) == {"kbert", "transformers"} and all(set(rows) == {"1", "2"} for rows in found.values())


@pytest.mark.slow_after_first
@pytest.mark.parametrize("name", ["classification", "regression", "tagging", "question_answering"])
def test_the_head_of_the_peer_is_the_one_that_fine_tuning_starts_with(
    name, finetuning, tiny_config, monkeypatch, tmp_path
):
    from kbert import fine_tuning
    from kbert.run_settings import RunSettings

    class Prepared(Exception):
        """Has the model as it is once all weights are there."""

    def stop(recipe, model, **_):
        raise Prepared([weight.numpy() for weight in model.head_weights])

    monkeypatch.setattr(fine_tuning.recipe_parts, "prepare_model", stop)
    words = {
        "pair": False,
        "labels": ["a", "b", "c"],
        "tags": ["B-x", "I-x", "O"],
        "crf": False,
        "measure": "squad",
    }
    task = task_class(name)({**words, "max_length": 32, "stride": 8}, None)
    start = types.SimpleNamespace(config=tiny_config)
    options = {"init": None, "settings": RunSettings(seed=3), "model_dir": tmp_path}
    with pytest.raises(Prepared) as stopped:
        fine_tuning.fine_tune(task, start, None, [], **options)
    expected_kernel, expected_bias = stopped.value.args[0]
    kernel, bias = finetuning.starting_head(task, start, 3)
    np.testing.assert_array_equal(kernel, expected_kernel)
    np.testing.assert_array_equal(bias, expected_bias)
    assert not np.array_equal(kernel, finetuning.starting_head(task, start, 4)[0])


@pytest.mark.slow
@pytest.mark.parametrize("task, layer", [("question_answering", "qa_outputs"), ("tagging", "classifier")])
def test_the_peer_starts_from_the_head_that_it_is_given(task, layer, load_benchmark, folders):  # noqa: F811
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    vocab = folders[0].parent / "vocab.txt"
    write_encoder(folders[1], len(vocab.read_text().split()), vocab)
    width = json.loads((folders[1] / "config.json").read_text())["hidden_size"]
    kernel = np.arange(2 * width, dtype="float32").reshape(width, 2)
    model = load_benchmark("finetuning_peer")._model(
        task, folders[1], kernel, np.array([0.5, 2.0], "float32")
    )
    head = getattr(model, layer)
    np.testing.assert_array_equal(head.weight.detach().numpy(), kernel.T)
    assert head.bias.tolist() == [0.5, 2.0]


def test_what_is_there_is_not_run_again(kept_results, tmp_path):
    results = kept_results.KeptResults(tmp_path / "new", {"limit": None})
    results.add("rte", "kbert", "1", lambda: {"score": 0.5})
    again = kept_results.KeptResults(tmp_path / "new", {"limit": None})
    again.add("rte", "kbert", "1", lambda: pytest.fail("run again"))
    again.add("rte", "kbert", "2", lambda: {"score": 0.7})
    kept = json.loads((tmp_path / "new/results.json").read_text())
    assert kept["rows"] == {"rte": {"kbert": {"1": {"score": 0.5}, "2": {"score": 0.7}}}}


def test_results_of_other_settings_are_refused(kept_results, tmp_path):
    settings = {"init": "/minilm", "limit": 64}
    kept_results.KeptResults(tmp_path, settings).add("rte", "kbert", "1", lambda: {"score": 0.5})
    with pytest.raises(InputError, match=r"results of another run \(limit 64, not None\); choose another"):
        kept_results.KeptResults(tmp_path, settings | {"limit": None})


def test_results_of_an_earlier_version_are_taken(kept_results, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"rte": {"kbert": {"1": {"score": 0.5}}}}))
    results = kept_results.KeptResults(tmp_path, {"limit": None})
    results.add("rte", "kbert", "1", lambda: pytest.fail("run again"))
    results.add("rte", "kbert", "2", lambda: {"score": 0.7})
    again = kept_results.KeptResults(tmp_path, {"limit": None})
    assert again.rows == {"rte": {"kbert": {"1": {"score": 0.5}, "2": {"score": 0.7}}}}


def test_two_processes_add_to_one_file(kept_results, tmp_path):
    one, other = (kept_results.KeptResults(tmp_path, {}) for _ in range(2))
    one.add("rte", "kbert", "1", lambda: {"score": 0.5})
    other.add("stsb", "kbert", "1", lambda: {"score": 0.7})
    one.add("stsb", "kbert", "1", lambda: pytest.fail("run again"))
    assert kept_results.KeptResults(tmp_path, {}).rows == {
        "rte": {"kbert": {"1": {"score": 0.5}}},
        "stsb": {"kbert": {"1": {"score": 0.7}}},
    }


def test_only_what_was_asked_for_is_compared(finetuning, kept_results, tmp_path):
    finetuning.FLAGS(["finetuning", "--init=i", "--data=d", "--output=o", "--nopeer_float32", "--seeds=1,2"])
    results = kept_results.KeptResults(tmp_path, {})
    for who in ("kbert", "transformers", "transformers bfloat16"):
        for seed in "123":
            results.add("rte", who, seed, lambda: {"score": 0.5, "seconds": 1})
    found = results.of("rte", finetuning.asked())
    assert {who: list(rows) for who, rows in found.items()} == {
        "kbert": ["1", "2"],
        "transformers bfloat16": ["1", "2"],
    }


def test_the_peer_has_no_bfloat16_where_it_takes_days(finetuning, monkeypatch):
    monkeypatch.setattr(finetuning, "run_role", lambda *_: 300.0)
    finetuning.FLAGS(["finetuning", "--init=i", "--data=d", "--output=o"])
    finetuning.check_bfloat16()
    assert finetuning.asked()["transformers bfloat16"] == []
    finetuning.FLAGS(["finetuning", "--init=i", "--data=d", "--output=o", "--nopeer_float32", "--autocast"])
    with pytest.raises(InputError, match="--nopeer_float32: torch takes 300 times as long in bfloat16"):
        finetuning.check_bfloat16()
    monkeypatch.setattr(finetuning, "run_role", lambda *_: 0.5)
    finetuning.check_bfloat16()
    assert finetuning.asked()["transformers bfloat16"] == ["1", "2", "3"]


def test_the_interpreter_of_the_peer_finds_kbert(finetuning, monkeypatch, tmp_path):
    flags = ["--init=i", "--data=d", f"--output={tmp_path}", "--peer_python=another"]
    finetuning.FLAGS(["finetuning", *flags])
    ran = []

    def run(command, env, **_):
        ran.append((command[0], env["PYTHONPATH"]))
        return types.SimpleNamespace(stdout="{}")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    finetuning.run_role("transformers", "rte", "1", tmp_path)
    assert ran == [("another", str(ROOT))]


def test_the_tags_of_the_peer_are_those_of_the_highest_scores(finetuning):
    """Of outputs as the peer leaves them, all of them float32."""
    logits = np.eye(3, dtype="float32")[[[2, 0, 1], [1, 2, 2]]]
    outputs = {"logits": logits, "word_mask": np.array([[1, 1, 0], [1, 1, 1]], "float32")}
    found = task_class("tagging").predictions(None, finetuning._Recorded(outputs), {})
    assert found["tag_ids"].numpy().tolist() == [[2, 0, 0], [1, 2, 2]]
    np.testing.assert_allclose(found["score"][1], np.full(3, math.e / (math.e + 2)), rtol=1e-6)


def test_the_line_of_a_set(finetuning):
    row = lambda score, seconds: {"score": score, "seconds": seconds}  # noqa: E731
    found = {
        "kbert": {"1": row(0.8, 10), "2": row(0.9, 12), "3": row(0.85, 11)},
        "transformers": {"1": row(0.7, 40), "2": row(0.8, 44)},
        "transformers bfloat16": {"1": row(0.7, 22)},
    }
    assert finetuning.told("rte", found) == (
        "rte        accuracy: kbert 0.8500 (spread 0.1000), transformers 0.7500 (spread 0.1000); "
        "seconds: kbert 11, transformers 42, transformers bfloat16 22; 0.50 of the faster peer's"
    )
    del found["transformers"]
    assert finetuning.told("rte", found) == (
        "rte        accuracy: kbert 0.8500 (spread 0.1000), transformers bfloat16 0.7000 (spread 0.0000); "
        "seconds: kbert 11, transformers bfloat16 22; 0.50 of the faster peer's"
    )


def test_the_mean_over_the_sets_is_that_of_their_means(finetuning):
    row = lambda score: {"score": score, "seconds": 1}  # noqa: E731
    sets = [
        {"kbert": {"1": row(0.5), "2": row(0.7)}, "transformers bfloat16": {"1": row(0.5)}},
        {"kbert": {"1": row(0.8)}, "transformers bfloat16": {"1": row(0.6)}},
    ]
    assert finetuning.told_of_all(sets) == "mean of 2 sets: kbert 0.7000, transformers bfloat16 0.5500"


def test_an_unknown_set_is_one_line(folders):  # noqa: F811
    done = run(folders, "--sets=rte,glue")
    assert done.returncode == 2
    assert "--sets=glue is not known; choose of sst2, mrpc, rte" in done.stderr.splitlines()[-1]
    done = run(folders, "--sets=rte", "--noautocast", "--nopeer_float32")
    assert done.returncode == 2
    assert "leave nothing to compare with" in done.stderr.splitlines()[-1]
    assert not folders[2].exists()


def test_a_gain_is_that_of_equal_seeds(recipes):
    plain = {"1": {"score": 0.5}, "2": {"score": 0.6}, "3": {"score": 0.9}}
    gain, error = recipes.gains(plain, {"2": {"score": 0.7}, "1": {"score": 0.5}})
    # Of the differences 0.0 and 0.1: mean 0.05, standard deviation 0.0707, divided by the root of 2.
    assert gain == pytest.approx(0.05) and error == pytest.approx(0.05)
    gain, error = recipes.gains(plain, {"3": {"score": 0.8}})
    assert gain == pytest.approx(-0.1) and np.isnan(error)


def test_the_table_of_recipes(recipes):
    row = lambda score, seconds: {"score": score, "seconds": seconds}  # noqa: E731
    found = {
        "plain": {"1": row(0.90, 10), "2": row(0.92, 12)},
        "fgm": {"1": row(0.91, 20), "2": row(0.95, 24)},
    }
    assert recipes.table("trec", found).splitlines() == [
        "trec, accuracy, 2 seeds",
        "  plain            0.9100",
        "  fgm              0.9300  +2.00 ± 1.00 points  2.00 x the time",
    ]


def test_the_table_marks_a_score_that_is_the_best_of_several(recipes):
    of_seed = {"1": {"score": 0.9, "seconds": 10}}
    lines = recipes.table("trec", {"plain": of_seed, "longer": of_seed, "early_stop": of_seed}).splitlines()
    assert ["best epoch" in line for line in lines] == [False, False, False, True]


def test_a_run_that_is_timed_begins_anew(recipes, monkeypatch, tmp_path):
    recipes.FLAGS(["recipes", "--init=i", "--data=d", f"--output={tmp_path}"])
    folder = tmp_path / "runs/trec-plain-1"
    (folder / "checkpoints").mkdir(parents=True)

    def run(command, **_):
        assert f"--model_dir={folder}" in command and not folder.exists()
        folder.mkdir()
        report = {"scores": [{"name": "accuracy", "value": 0.5}], "seconds": 3}
        (folder / "report.json").write_text(json.dumps(report))

    monkeypatch.setattr(recipes.children, "run", run)
    assert recipes.run("trec", "plain", "1") == {"score": 0.5, "seconds": 3}


def test_a_recipe_that_the_task_refuses_is_left_out(recipes, monkeypatch, tmp_path, capsys):
    flags = ["--init=i", "--data=d", f"--output={tmp_path}", "--sets=stsb", "--seeds=1"]
    recipes.FLAGS(["recipes", *flags, "--recipes=label_smoothing,longer"])

    def run(name, recipe, seed):
        if recipe == "label_smoothing":
            raise subprocess.CalledProcessError(2, ["finetune.py"])
        return {"score": 0.5, "seconds": 3}

    monkeypatch.setattr(recipes, "run", run)
    recipes.main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["stsb,", "plain", "longer"]


@pytest.mark.slow
def test_recipes_from_beginning_to_end(folders):  # noqa: F811
    vocab = folders[0].parent / "vocab.txt"
    write_encoder(folders[1], len(vocab.read_text().split()), vocab)
    done = run(folders, "--sets=sst2", "--seeds=5", "--recipes=label_smoothing", script="recipes")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["sst2,", "plain", "label_smoothing"]
    assert (folders[2] / "runs/sst2-plain-5/report.html").exists()
    assert not (folders[2] / "runs/sst2-label_smoothing-5").exists()
    again = run(folders, "--sets=sst2", "--seeds=5", "--recipes=label_smoothing", script="recipes")
    assert again.stdout == done.stdout


def test_an_unknown_recipe_is_one_line(folders):  # noqa: F811
    done = run(folders, "--recipes=magic", script="recipes")
    assert done.returncode == 2
    assert "--recipes=magic is not known; choose of plain, head_scale" in done.stderr.splitlines()[-1]
