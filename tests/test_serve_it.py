"""The commands of docs/serve_it.md, in order, on a small classifier."""

import json
import re
import shutil
from pathlib import Path

import pytest

from kbert.checkpoints import save_folder
from kbert.config import BertConfig
from kbert.models import BertClassifier
from tests.conftest import TINY_VOCAB
from tests.test_readme import Shell

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/serve_it.md").read_text(encoding="utf-8")


@pytest.fixture
def shell(tmp_path, tiny_vocab):
    (tmp_path / "tf_scripts").symlink_to(ROOT / "tf_scripts")
    config = BertConfig(
        vocab_size=len(TINY_VOCAB),
        hidden_dim=16,
        num_layers=1,
        num_heads=2,
        intermediate_dim=32,
        max_length=32,
    )
    task = {"name": "classification", "labels": ["food", "money"], "pair": False, "max_length": 32}
    model = BertClassifier(config, num_classes=2)
    save_folder(tmp_path / "runs/quickstart/classifier", model, {**task, "lowercase": True}, tiny_vocab)
    shell = Shell(tmp_path)
    yield shell
    shell.close()


@pytest.mark.slow
@pytest.mark.serving
def test_every_command_does_what_the_page_says(shell):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    said = []
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            said.append(shell.command(line))
    exported, verified, _, answer, *typed, refused, again, states, stable, metrics, written = said
    assert exported.strip().endswith("saved_models/quickstart/1")
    assert again.strip().endswith("saved_models/quickstart/2")
    assert json.loads(verified)["ok"] and json.loads(verified)["checks"] == 8
    (prediction,) = json.loads(answer)["predictions"]
    assert sorted(prediction) == ["label", "label_id", "num_tokens", "probabilities", "score", "truncated"]
    assert len(typed) == 2 and all(json.loads(line)["label"] in ("food", "money") for line in typed)
    assert "not compatible with expected shape [?]" in json.loads(refused)["error"]
    assert json.loads(states)["model_version_status"]
    assert json.loads(stable)["predictions"] == [prediction]
    assert ':tensorflow:serving:request_count{model_name="quickstart",status="OK"}' in metrics
    folder = Path(written.strip())
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 10
    models_config = (folder / "config/models.config").read_text()
    for line in re.findall(r"^ +version_labels .*$", PAGE, re.MULTILINE):
        assert line in models_config


def test_the_page_is_listed():
    assert "(serve_it.md)" in (ROOT / "docs/index.md").read_text(encoding="utf-8")
