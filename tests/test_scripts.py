"""The scripts as a user runs them: help, small real runs, and one clear line for wrong input."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kbert.recipe import Recipe
from kbert.run_settings import RunSettings
from kbert.serving.options import ServerOptions
from kbert.task_options import TaskOptions
from tests.forked_scripts import ForkedScripts

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.name for path in (ROOT / "tf_scripts").glob("*.py"))
DATA = ROOT / "tf_scripts/sample_data"
#: The dataclasses whose fields are flags.
SETTINGS = {kind.__name__: kind for kind in (Recipe, RunSettings, ServerOptions, TaskOptions)}


def run(script, *flags, cwd=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(ROOT / "tf_scripts" / script), *map(str, flags)],
        capture_output=True, text=True, encoding="utf-8", cwd=cwd, env=environment, timeout=300,
    )  # fmt: skip


def succeed(script, *flags):
    done = run(script, *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Vocabulary, records, a pretrained model and a classifier, each made by its script."""
    folder = tmp_path_factory.mktemp("work")
    rows = (DATA / "sentences.train.tsv").read_text(encoding="utf-8").splitlines()
    (folder / "train.tsv").write_text("\n".join(rows[:201]) + "\n", encoding="utf-8")
    texts = [row.split("\t")[2] for row in rows[1:301]]
    documents = ["\n".join(texts[i : i + 10]) for i in range(0, 300, 10)]
    (folder / "corpus.txt").write_text("\n\n".join(documents), encoding="utf-8")
    succeed(
        "build_vocab.py", f"--input={folder}/corpus.txt", "--vocab_size=600", f"--output={folder}/vocab.txt"
    )
    succeed("build_pretraining_data.py", f"--input={folder}/corpus.txt", f"--vocab={folder}/vocab.txt",
            "--max_length=32", "--shards=2", "--seed=1", f"--output_dir={folder}/records")  # fmt: skip
    succeed("pretrain.py", f"--data_dir={folder}/records", f"--vocab={folder}/vocab.txt", "--size=tiny",
            "--steps=3", "--batch_size=8", f"--model_dir={folder}/pretrained")  # fmt: skip
    of_dev = (DATA / "sentences.dev.tsv").read_text(encoding="utf-8").splitlines()[1]
    (folder / "train.faulty.tsv").write_text("\n".join([*rows[:200], of_dev]) + "\n", encoding="utf-8")
    succeed("finetune.py", "--task=classification", f"--train={folder}/train.faulty.tsv",
            f"--dev={DATA}/sentences.dev.tsv", f"--init={folder}/pretrained", "--epochs=1", "--batch_size=16",
            "--max_length=32", "--seed=3", f"--model_dir={folder}/model")  # fmt: skip
    return folder


def flags_of(script):
    """The names of the flags that a script defines, one by one or as the fields of a dataclass."""
    text = (ROOT / "tf_scripts" / script).read_text(encoding="utf-8")
    names = re.findall(r'\bDEFINE_\w+\(\s*"(\w+)"', text)
    for kind in re.findall(r"^define_flags\((\w+)", text, re.M):
        names += [field.name for field in dataclasses.fields(SETTINGS[kind])]
    return names


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_every_flag_with_its_meaning(script):
    done = run(script, "--help")
    assert done.returncode == 1 and "Traceback" not in done.stderr  # absl's exit code for help
    assert f"{script}:" in done.stdout and flags_of(script)
    for name in flags_of(script):
        # Behind the choices, if any, stand words; a remark in brackets is of absl itself.
        said = rf"^  --(\[no\])?{name}:\s+(<[^>]*>:\s+)?[^\s(<]"
        assert re.search(said, done.stdout, re.M), f"{script} --help does not say what --{name} is"


@pytest.mark.slow
def test_a_model_folder_holds_what_the_next_stage_needs(work):
    for name in ("pretrained", "model"):
        files = {path.name for path in (work / name).iterdir()}
        assert {"kbert.json", "weights.safetensors", "vocab.txt", "manifest.json", "logs"} <= files
        assert not {file for file in files if file.startswith(".")}
        assert (work / name / "vocab.txt").read_bytes() == (work / "vocab.txt").read_bytes()
    manifest = json.loads((work / "model/manifest.json").read_text())
    assert manifest["flags"]["seed"] == 3 and manifest["flags"]["batch_size"] == 16
    assert {"kbert", "tensorflow", "keras", "python"} <= set(manifest["versions"])
    assert 0 <= manifest["metrics"]["epochs"][0]["val_accuracy"] <= 1
    task = json.loads((work / "model/kbert.json").read_text())["task"]
    assert task["labels"] == ["food", "health", "money", "sport", "technology", "travel"]


@pytest.mark.slow
def test_evaluation_repeats_the_figure_of_the_run(work):
    done = succeed("evaluate.py", f"--model_dir={work}/model", f"--data={DATA}/sentences.dev.tsv",
                   f"--output_dir={work}/dev")  # fmt: skip
    metrics = json.loads(done.stdout.splitlines()[-1])
    logged = json.loads((work / "model/manifest.json").read_text())["metrics"]["epochs"][-1]
    assert metrics["accuracy"] == logged["val_accuracy"] and metrics["examples"] == 144
    rows = [json.loads(line) for line in (work / "dev/predictions.jsonl").read_text("utf-8").splitlines()]
    right = sum(row["label"] == row["gold"] for row in rows)
    assert len(rows) == 144 and right / 144 == pytest.approx(metrics["accuracy"])


@pytest.mark.slow
def test_the_report_tells_faults_of_the_data_and_all_settings(work):
    report = json.loads((work / "model/report.json").read_text(encoding="utf-8"))
    found = {fault["kind"]: fault for fault in report["faults"]}
    assert found["row of dev that is also in train"]["count"] == 1
    assert report["flags"]["seed"] == 3 and report["flags"]["max_length"] == 32
    assert "Faults of the data" in (work / "model/report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_file_without_labels_is_answered_and_handed_in(work, tmp_path):
    lines = [line.split("\t") for line in (DATA / "sentences.dev.tsv").read_text("utf-8").splitlines()]
    text, label = (lines[0].index(name) for name in ("text", "label"))
    test = tmp_path / "test.jsonl"
    rows = [{"id": 3 * number, "text": row[text]} for number, row in enumerate(lines[1:21])]
    test.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    folder, of_labelled = tmp_path / "test", json_rows(work / "model/predictions.jsonl")
    folder.mkdir()
    (folder / "report.html").write_text("of other rows", encoding="utf-8")
    done = succeed("evaluate.py", f"--model_dir={work}/model", f"--data={test}", "--nolabelled",
                   "--submission=CLUE", f"--output_dir={folder}")  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1])["examples"] == 20
    rows = json_rows(folder / "predictions.jsonl")
    assert [row["label"] for row in rows] == [row["label"] for row in of_labelled[:20]]
    assert "gold" not in rows[0] and of_labelled[0]["gold"] == lines[1][label]
    handed_in = [{"id": 3 * number, "label": row["label"]} for number, row in enumerate(rows)]
    assert json_rows(folder / "clue_predict.json") == handed_in
    assert not (folder / "report.html").exists()


def json_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_pretraining_continues_from_a_checkpoint_with_its_heads(work):
    succeed("pretrain.py", f"--data_dir={work}/records", f"--vocab={work}/vocab.txt", "--steps=1",
            f"--init={work}/pretrained", "--batch_size=8", "--learning_rate=0",
            f"--model_dir={work}/continued")  # fmt: skip
    import numpy as np
    from safetensors.numpy import load_file

    before, after = (load_file(work / name / "weights.safetensors") for name in ("pretrained", "continued"))
    for path, value in before.items():
        np.testing.assert_array_equal(after[path], value)


@pytest.mark.slow
def test_pretraining_does_not_go_on_from_another_checkpoint(work, forked, tmp_path):
    """Its weights would be replaced by those of the run that is there, and have its name in the manifest."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    def pretrain(init):
        return forked.run(
            "pretrain.py", f"--data_dir={work}/records", f"--vocab={work}/vocab.txt", "--steps=1",
            f"--init={init}", "--batch_size=8", f"--model_dir={tmp_path}/model",
        )  # fmt: skip

    init, weights = tmp_path / "init", tmp_path / "init/weights.safetensors"
    shutil.copytree(work / "pretrained", init)
    assert pretrain(init).returncode == 0
    before = (tmp_path / "model/manifest.json").read_bytes()
    save_file({name: value + np.float32(0.1) for name, value in load_file(weights).items()}, weights)
    done = pretrain(init)
    assert done.returncode == 2 and "holds a run with another start" in done.stderr, done.stderr[-2000:]
    assert (tmp_path / "model/manifest.json").read_bytes() == before


@pytest.mark.slow
def test_held_out_records_need_not_fit_into_packed_rows(work, forked, tmp_path):
    """Those with stored masks cannot be packed at all, but are never packed either."""
    from kbert.data import write_records
    from kbert.data.record_settings import RecordSettings

    settings = RecordSettings(f"{work}/vocab.txt", max_length=48, shards=1, static_masking="google")
    write_records([f"{work}/corpus.txt"], tmp_path / "held_out", settings)
    done = forked.run(
        "pretrain.py", f"--data_dir={work}/records", f"--dev_dir={tmp_path}/held_out", "--layout=packed",
        "--row_length=40", f"--vocab={work}/vocab.txt", "--size=tiny", "--steps=1", "--batch_size=4",
        f"--model_dir={tmp_path}/model",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads((tmp_path / "model/manifest.json").read_text(encoding="utf-8"))["metrics"]
    assert 0 < metrics["val_mlm_loss"] < 10


@pytest.mark.slow
def test_the_time_of_a_pretraining_is_that_of_all_its_parts(work, forked, tmp_path):
    """Here an earlier process has done all, and says that it took hours."""
    shutil.copytree(work / "pretrained", tmp_path / "model")
    rows = json_rows(tmp_path / "model/metrics.jsonl")
    lines = [json.dumps(row | {"seconds": 9001.0}) + "\n" for row in rows]
    (tmp_path / "model/metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    done = forked.run(
        "pretrain.py", f"--data_dir={work}/records", f"--vocab={work}/vocab.txt", "--size=tiny", "--steps=3",
        "--batch_size=8", f"--model_dir={tmp_path}/model",
    )  # fmt: skip
    assert done.returncode == 0 and "after 9001 s" in done.stderr, done.stderr[-3000:]
    assert json.loads((tmp_path / "model/manifest.json").read_text(encoding="utf-8"))["seconds"] == 9001.0


@pytest.mark.slow
def test_pretraining_starts_at_the_frequencies_of_the_tokens(work, forked, tmp_path):
    import numpy as np
    from safetensors.numpy import load_file

    from kbert import checkpoints
    from kbert.data import token_counts
    from kbert.models import Bert
    from kbert.text import Vocab

    vocab = Vocab.read(work / "vocab.txt")
    counts = token_counts(work / "records", (vocab.pad_id, vocab.cls_id, vocab.sep_id, vocab.mask_id)) + 0.5
    checkpoints.save_folder(tmp_path / "encoder", checkpoints.load(work / "pretrained", Bert))
    done = forked.run(
        "pretrain.py", f"--data_dir={work}/records", f"--vocab={work}/vocab.txt", "--steps=1",
        f"--init={tmp_path}/encoder", "--batch_size=8", f"--model_dir={tmp_path}/new",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for model in (work / "pretrained", tmp_path / "new"):
        bias = load_file(model / "weights.safetensors")["mlm/bias"]
        np.testing.assert_allclose(bias, np.log(counts / counts.sum()), atol=1e-3)  # 3 steps of 1e-4 at most.


@pytest.mark.slow
def test_sentence_vectors_are_pooled_as_the_checkpoint_says(tiny_config, tiny_vocab, tmp_path):
    from kbert.checkpoints import huggingface
    from kbert.models import Bert

    init, model = tmp_path / "init", Bert(tiny_config)
    model.build()
    (init / "1_Pooling").mkdir(parents=True)
    huggingface.write(init, model)
    shutil.copyfile(tiny_vocab, init / "vocab.txt")
    modules = [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    (init / "modules.json").write_text(json.dumps(modules))
    (init / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    (tmp_path / "train.tsv").write_text("anchor\tpositive\ngood\tvery good\nbad\tnot good\n")
    done = succeed("finetune.py", "--task=embedding", f"--train={tmp_path}/train.tsv", f"--init={init}",
                   "--epochs=1", f"--model_dir={tmp_path}/out")  # fmt: skip
    assert "pools by first, and so does this task" in done.stderr
    assert json.loads((tmp_path / "out/kbert.json").read_text())["task"]["pooling"] == "first"


WRONG = {
    "unknown flag": ("finetune.py", "--trian=x", "trian"),
    "missing flag": ("finetune.py", "--model_dir={tmp}/out", "--train"),
    "labels that GLUE has not": (
        "evaluate.py",
        "--model_dir={work}/model --data={work}/train.tsv --submission=STS-B --output_dir={tmp}/out",
        "--submission=STS-B: is for --task=regression",
    ),
    "the report of the training": (
        "evaluate.py", "--model_dir={work}/model --data={work}/train.tsv "
        "--output_dir={work}/../{work.name}/model/",
        "/model is the folder of a model, .*; choose another, such as .*/model/dev",
    ),
    "the report of another training": (
        "evaluate.py", "--model_dir={work}/pretrained --data={work}/train.tsv --output_dir={work}/model",
        "/model is the folder of a model, .*; choose another, such as .*/model/dev",
    ),
    "a report that goes nowhere": (
        "evaluate.py",
        "--model_dir={work}/model --data={work}/train.tsv --output_dir={work}/vocab.txt/out",
        "vocab.txt/out: cannot be written to .Not a directory",
    ),
    "labels of other names than GLUE's": (
        "evaluate.py",
        "--model_dir={work}/model --data={tmp}/none.tsv --submission=RTE --output_dir={tmp}/out",
        "--submission=RTE: GLUE expects entailment or not_entailment, but a label of the model is 'food'",
    ),
    "rows whose order is not the benchmark's": (
        "evaluate.py",
        "--model_dir={work}/model --data=tfds:glue/rte --nolabelled --submission=CLUE --output_dir={tmp}/out",
        "--submission=CLUE numbers .* --data=tfds:glue/rte .*; give the benchmark's own test file",
    ),
    "rows that would be left out": (
        "evaluate.py",
        "--model_dir={work}/model --data={tmp}/gap.tsv --submission=CLUE --output_dir={tmp}/out",
        "gap.tsv: 1 of 3 rows have no label .* --submission=CLUE numbers all of them; set --nolabelled",
    ),
    "pairs for a model of single texts": (
        "evaluate.py", "--model_dir={work}/model --data={tmp}/pairs.tsv --output_dir={tmp}/out",
        "pairs.tsv:2: the model reads single texts, but here are pairs; --pair_column= reads the first",
    ),
    "pairs to measure a model of single texts": (
        "export_model.py",
        "--model_dir={work}/model --precision=int8 --calibration_data={tmp}/pairs.tsv --export_dir={tmp}/out",
        "pairs.tsv:2: the model reads single texts, but here are pairs",
    ),
    "stray argument": ("evaluate.py", "--model_dir=x --data=y --output_dir={tmp}/out stray", "'stray'"),
    "missing file": (
        "finetune.py", "--train={tmp}/none.tsv --init={work}/pretrained --model_dir={tmp}/out", "none.tsv"
    ),
    "empty file": (
        "finetune.py", "--train={tmp}/empty.tsv --init={work}/pretrained --model_dir={tmp}/out", "is empty"
    ),
    "label not in training": (
        "finetune.py",
        "--train={work}/train.tsv --dev={tmp}/odd.tsv --init={work}/pretrained --model_dir={tmp}/out",
        "odd.tsv:2: label 'weather' was not seen in training",
    ),
    "runs that nothing compares": (
        "finetune.py", "--train={work}/train.tsv --init={work}/pretrained --seeds=1,2 --model_dir={tmp}/out",
        "2 runs are compared on dev rows; name a file with --dev"
    ),
    "rates that nothing compares": (
        "finetune.py",
        "--train={work}/train.tsv --dev= --size=tiny --learning_rate=1e-5,2e-5,5e-5 --model_dir={tmp}/out",
        "3 runs are compared on dev rows; name a file with --dev"
    ),
    "no rate": (
        "finetune.py", "--train={work}/train.tsv --size=tiny --learning_rate= --model_dir={tmp}/out",
        "--learning_rate is empty; expected a number"
    ),
    "a start that would be overwritten": (
        "finetune.py",
        "--train={work}/train.tsv --dev={work}/train.tsv --init={work}/model --model_dir={work}/model",
        "--init and --model_dir are one folder, .*/model: the start would be overwritten"
    ),
    "a file where the folder is to be": (
        "finetune.py", "--train={work}/train.tsv --init={work}/pretrained --model_dir={work}/train.tsv/out",
        "train.tsv/out: cannot be written to .Not a directory"
    ),
    "patience without a measure": (
        "finetune.py", "--train={work}/train.tsv --init={work}/pretrained --patience=2 --model_dir={tmp}/out",
        "--patience is measured on dev rows; name a file with --dev"
    ),
    "patience and the last epoch": (
        "finetune.py",
        "--train={work}/train.tsv --dev={work}/train.tsv --init={work}/pretrained --patience=2 --keep=last "
        "--model_dir={tmp}/out",
        "--patience ends a run by its best epoch, but --keep=last"
    ),
    "a seed out of range": (
        "finetune.py",
        "--train={work}/train.tsv --dev={work}/train.tsv --init={work}/pretrained --seeds=1,-1 "
        "--model_dir={tmp}/out",
        "--seed=-1; expected 0 to 4294967295"
    ),
    "vocabulary larger than the table": (
        "finetune.py",
        "--train={work}/train.tsv --init={work}/pretrained --vocab={tmp}/large.txt --model_dir={tmp}/out",
        "large.txt: 602 entries.*table has 600 rows",
    ),
    "no checkpoint": (
        "finetune.py", "--train={work}/train.tsv --init={tmp} --model_dir={tmp}/out", "checkpoint|form|bert"
    ),
    "nothing to start from": (
        "finetune.py", "--train={work}/train.tsv --model_dir={tmp}/out", "exactly one of"
    ),
    "one document": (
        "build_pretraining_data.py", "--input={tmp}/one.txt --vocab={work}/vocab.txt --output_dir={tmp}/out",
        "1 document"
    ),
    "records of another vocabulary": (
        "pretrain.py",
        "--data_dir={work}/records --vocab={tmp}/large.txt --size=tiny --steps=1 --model_dir={tmp}/out",
        "another vocabulary",
    ),
    "unknown size": (
        "pretrain.py",
        "--data_dir={work}/records --vocab={work}/vocab.txt --size=huge --steps=1 --model_dir={tmp}/out",
        "'huge' is unknown.*tiny",
    ),
    "records that go nowhere": (
        "pretrain.py",
        "--data_dir={work}/records --vocab={work}/vocab.txt --size=tiny --model_dir={work}/vocab.txt/out",
        "vocab.txt/out: cannot be written to .Not a directory",
    ),
    "a pretraining seed out of range": (
        "pretrain.py",
        "--data_dir={work}/records --vocab={work}/vocab.txt --size=tiny --seed=-1 --model_dir={tmp}/out",
        "seed=-1",
    ),
    "averages that never move": (
        "pretrain.py",
        "--data_dir={work}/records --vocab={work}/vocab.txt --size=tiny --average_decay=1 "
        "--model_dir={tmp}/out",
        "average_decay=1.0: 1 would save the first step's weights",
    ),
    "pretraining over its start": (
        "pretrain.py",
        "--data_dir=x --vocab=x --init={work}/pretrained --model_dir={work}/pretrained",
        "--init and --model_dir are one folder",
    ),
    "a second phase without records": (
        "pretrain.py",
        "--data_dir={work}/records --vocab={work}/vocab.txt --size=tiny --phase2_steps=1 "
        "--model_dir={tmp}/out",
        "no meaning without --phase2_data_dir",
    ),
    "no classifier": (
        "evaluate.py", "--model_dir={work}/pretrained --data={work}/train.tsv --output_dir={tmp}/out",
        "no fine-tuned model",
    ),
    "nothing to export": (
        "export_model.py", "--model_dir={work}/records --export_dir={tmp}/out", "records: holds no model"
    ),
    "a model in another form": (
        "evaluate.py", "--model_dir={tmp}/theirs --data={work}/train.tsv --output_dir={tmp}/out",
        "theirs: holds no model in kbert's own form, .*convert_checkpoint.py --to=kbert",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    scripts = ForkedScripts(tmp_path_factory.mktemp("forked"))
    yield scripts
    scripts.end()


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_exit_code_2_and_leaves_nothing(case, work, forked, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "odd.tsv").write_text("text\tlabel\nrain\tweather\n")
    (tmp_path / "gap.tsv").write_text("text\tlabel\nrain\tfood\nsun\t-\nsnow\tmoney\n")
    (tmp_path / "pairs.tsv").write_text("text\ttext_b\tlabel\nrain\tsun\tfood\nsun\train\tmoney\n")
    (tmp_path / "one.txt").write_text("One sentence.\nAnd another.\n")
    (tmp_path / "large.txt").write_text(
        (work / "vocab.txt").read_text("utf-8") + "one_more\ntwo_more\n", "utf-8"
    )
    script, flags, message = WRONG[case]
    done = forked.run(script, *(flag.format(tmp=tmp_path, work=work) for flag in flags.split()))
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr[-2000:]
    assert len(errors) == 1 and re.search(message, errors[0]), errors
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_fine_tuning_that_is_terminated_while_it_reads_may_be_given_again(tmp_path):
    """A scheduler takes 75 for that, and 143 for a failure. The rows of a pipe are waited for."""
    os.mkfifo(tmp_path / "train.tsv")
    with (
        subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "tf_scripts/finetune.py"),
                f"--train={tmp_path}/train.tsv",
                "--size=tiny",
                f"--model_dir={tmp_path}/out",
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process,
        open(tmp_path / "train.tsv", "w"),
    ):  # Which waits until it is read.
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 75 and "Traceback" not in errors
    assert "SIGTERM: leaving; the same command goes on" in errors


@pytest.mark.slow
@pytest.mark.serving
def test_quickstart_runs_and_runs_again(tmp_path):
    for version in (1, 2):
        done = run("quickstart.py", "--pretraining_steps=20", "--epochs=1", f"--work_dir={tmp_path}/work",
                   f"--export_dir={tmp_path}/export")  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert (tmp_path / "export" / str(version) / "saved_model.pb").is_file()
        assert [f"[{n}/8]" in done.stderr for n in range(1, 9)] == [True] * 8
        assert "我的银行卡丢了" in done.stdout and f"export/{version}" in done.stdout
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_records_of_a_vocabulary_with_capitals_keep_them(tmp_path):
    from kbert.data import token_counts

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "das", "Haus", "Ähre", "Tor", "steht"]
    capitals = [f"Wort{number}" for number in range(190)]  # Enough to look like a vocabulary that has them.
    vocab, corpus = tmp_path / "vocab.txt", tmp_path / "corpus.txt"
    vocab.write_text("\n".join([*words, *capitals]) + "\n", encoding="utf-8")
    document = "das Haus steht\ndas Tor steht\nÄhre steht\n"
    corpus.write_text("\n".join([document] * 4), encoding="utf-8")
    for flags, unknown in [([], False), (["--lowercase"], True)]:
        records = tmp_path / f"records-{len(flags)}"
        done = succeed("build_pretraining_data.py", f"--input={corpus}", f"--vocab={vocab}",
                       "--max_length=16", "--shards=1", f"--output_dir={records}", *flags)  # fmt: skip
        assert (token_counts(records, (0, 2, 3, 4))[1] > 0) == unknown
        assert ("has many entries that lower-casing would change" in done.stderr) == unknown
