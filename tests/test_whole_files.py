"""Addresses of other storages are refused where a path is expected, and not taken for a folder `gs:` here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kbert.checkpoints import load, read_spec, save_folder
from kbert.checkpoints.conversion import convert
from kbert.checkpoints.staging import staged
from kbert.data import RecordsDescription, read_conll, read_examples, read_questions, write_records
from kbert.data.corpus import expand_files, expand_sources
from kbert.data.record_settings import RecordSettings
from kbert.errors import InputError
from kbert.export.saved_model import export
from kbert.models import Bert
from kbert.serving.deployment.writing import write_folder
from kbert.text import Vocab
from kbert.whole_files import check_local, check_new_file, check_writable, process_mark, remove_leavings

ROOT = Path(__file__).resolve().parent.parent

USES = {
    "a folder": lambda path: check_writable(Path(path)),
    "a file": lambda path: check_new_file(Path(path)),
    "records to write": lambda path: write_records([], path, RecordSettings(vocab="none")),
    "records": RecordsDescription.read,
    "a corpus": lambda path: expand_files([path]),
    "rows": lambda path: list(read_examples(f"{path}.tsv")),
    "words": read_conll,
    "questions": read_questions,
    "a vocabulary": Vocab.read,
    "a checkpoint": load,
    "a model folder": read_spec,
    "a checkpoint to write": lambda path: convert("none", path, "google"),
    "an export": lambda path: export(None, path),
    "a deployment": lambda path: write_folder(path, {}),
}


@pytest.mark.parametrize("use", USES)
def test_an_address_is_no_path(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^gs://bucket/it.*: is an address; expected a path"):
        USES[use]("gs://bucket/it")
    assert not list(tmp_path.iterdir())


def test_a_model_is_not_saved_to_an_address(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="^s3://bucket/it: is an address"):
        save_folder("s3://bucket/it", Bert(tiny_config))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    ["runs/gs", "C:/runs", "C:\\runs", "a:b/c", "12:30:/x", "/gs://x", "tfds:glue/rte", "hf:a/b"],
)
def test_what_only_looks_like_an_address_is_left_alone(name):
    check_local(name)
    check_local(Path(name))


def test_names_of_data_sets_stay():
    assert expand_sources(["tfds:glue/rte"]) == ["tfds:glue/rte"]


#: Script -> flags; ADDRESS is what is written to.
SCRIPTS = {
    "pretrain.py": "--data_dir=x --vocab=x --model_dir=ADDRESS",
    "finetune.py": "--train=x --model_dir=ADDRESS",
    "build_vocab.py": "--input=x --output=ADDRESS",
    "extend_vocab.py": "--input=x --output=ADDRESS",
    "inspect_corpus.py": "--input=x --vocab=x --output_dir=ADDRESS",
    "quickstart.py": "--work_dir=ADDRESS",
    "make_deployment.py": "--model=x --output=ADDRESS",
    "evaluate.py": "--model_dir=x --data=x --output_dir=ADDRESS",
    "convert_checkpoint.py": "--input=x --to=kbert --output=ADDRESS",
    "build_pretraining_data.py": "--input=x --vocab={vocab} --output_dir=ADDRESS",
}
#: Those that import it before they look, which takes seconds.
AFTER_TENSORFLOW = ("make_deployment.py", "evaluate.py", "convert_checkpoint.py", "build_pretraining_data.py")


@pytest.mark.parametrize(
    "script",
    [pytest.param(name, marks=[pytest.mark.slow] if name in AFTER_TENSORFLOW else []) for name in SCRIPTS],
)
def test_scripts_write_to_no_address(script, tmp_path, tiny_vocab):
    flags = SCRIPTS[script].format(vocab=tiny_vocab).replace("ADDRESS", "gs://bucket/it").split()
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "tf_scripts" / script), *flags],
        capture_output=True, text=True, cwd=tmp_path / "here", env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1, done.stderr[-2000:]
    assert errors[0].startswith("error: gs://bucket/it: is an address; expected")
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="leavings stay there")
def test_leavings_of_processes_that_are_gone_are_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mark = process_mark()
    left = [f".m.{mark.replace(str(os.getpid()), str(gone.pid))}.partial"]
    fresh = f".m.{mark.replace(str(os.getpid()), str(2**22 + 1))}.partial"  # Above what Linux gives.
    others = [f".m.{mark}.partial", f".m.another-{gone.pid}.partial", f".m2{left[0][2:]}", ".m.partial"]
    for name in (*left, *others):
        (tmp_path / name / "before").mkdir(parents=True)
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / fresh).mkdir()
    (tmp_path / f"{left[0]}.txt").touch()
    remove_leavings(tmp_path, ".m.", r"\.partial")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, fresh, f"{left[0]}.txt"])


def test_what_a_killed_save_left_is_cleared_by_the_next_one(tmp_path, monkeypatch):
    for there in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr("shutil.rmtree", lambda *_, **__: None)  # As if killed.
            patch.setattr(os, "getpid", lambda: 2**22 + 1)  # Above what Linux gives.
            with pytest.raises(RuntimeError), staged(tmp_path / "m"):
                raise RuntimeError
        hidden = [path for path in tmp_path.rglob(".*")]
        assert len(hidden) == 1 and (hidden[0].parent == tmp_path / "m") == there
        os.utime(hidden[0], (0, 0))
        with staged(tmp_path / "m") as staging:
            (staging / "file").touch()
        assert [path.name for path in tmp_path.rglob("*")] == ["m", "file"]
