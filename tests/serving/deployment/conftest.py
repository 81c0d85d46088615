"""Exports to deploy: described ones, which is enough to render files, and one that a server can load."""

import json
import shutil

import pytest
import yaml

from kbert.serving.deployment.plan import Choices, make_plan
from kbert.serving.deployment.rendering import render_deployment
from tests.export.conftest import make_model, make_module, make_task, tokenizer  # noqa: F401  fixtures

#: Signature -> names of its inputs and outputs, of the tiny model.
TINY_SIGNATURES = {
    "serving_default": ("text", "label label_id score probabilities num_tokens truncated"),
    "similarity": ("text text_pair", "score num_tokens truncated"),
    "answer": ("question context", "answer score null_score start end num_windows truncated"),
    "tag": ("text", "words tags scores starts ends num_words truncated"),
    "fill_mask": ("text", "scores tokens token_ids num_masks truncated"),
    "embed": ("text", "embedding num_tokens truncated"),
    "classify": ("inputs", "classes scores"),
    "regress": ("inputs", "outputs"),
}

#: Choices that between them use every part of the templates.
CHOICES = {
    "defaults": {},
    "everything": {
        "gpu": True, "namespace": "text", "volume_claim": "models", "labels": "stable:1,canary:2",
        "replicas": 3,
    },
    "batching on a CPU": {"batching": True, "cpus": 1},
}  # fmt: skip

#: What a shell, JSON, YAML and base64 could each take wrong.
AWKWARD = 'it\'s "so" $HOME `so` \\n 100% 很好 😀 #1 {}'


def describe(
    signatures=TINY_SIGNATURES,
    *,
    weights=40_000_000,
    task="classification",
    samples=None,
    rank=1,
    precision="float32",
):
    """A `kbert.json` with what a deployment reads of it."""

    def tensors(names):
        return {name: {"dtype": "string", "shape": [None] * rank} for name in names.split()}

    if samples is None:
        samples = [
            {
                "signature": signature,
                "inputs": {name: ["line\nbreak", f"{AWKWARD} {name}"] for name in inputs.split()},
                "outputs": {},
            }
            for signature, (inputs, _) in signatures.items()
            if inputs != "inputs"
        ]
    return {
        "schema": 1,
        "task": {"name": task},
        "precision": precision,
        "signatures": {
            name: {"inputs": tensors(inputs), "outputs": tensors(outputs)}
            for name, (inputs, outputs) in signatures.items()
        },
        "weights": {"bytes": weights},
        "samples": samples,
    }


def write_description(version, description):
    (version / "assets.extra").mkdir(parents=True, exist_ok=True)
    text = json.dumps(description, ensure_ascii=False)
    (version / "assets.extra/kbert.json").write_text(text, encoding="utf-8")


@pytest.fixture
def make_described(tmp_path):
    """Function of version numbers and arguments of `describe`, to a folder that looks like an export."""

    def make(*numbers, name="mine", **described):
        for number in numbers or (1,):
            version = tmp_path / "models" / name / str(number)
            write_description(version, describe(**described))
            (version / "saved_model.pb").touch()
        return tmp_path / "models" / name

    return make


@pytest.fixture
def render(make_described):
    """Function of versions and choices, to the texts of the files of a deployment by name."""

    def files(*numbers, described=None, **choices):
        plan = make_plan(make_described(*numbers, **(described or {})), Choices(**choices))
        return {
            name: content.decode()
            for name, content in render_deployment(plan).items()
            if not name.endswith(".protoset")
        }

    return files


@pytest.fixture(scope="session")
def served_export(tiny_export, tmp_path_factory):
    """Versions 1 and 2 of the tiny model, described as an export."""
    folder = tmp_path_factory.mktemp("deployed") / "k"
    for number in ("1", "2"):
        shutil.copytree(tiny_export / "1", folder / number)
        write_description(folder / number, describe())
    return folder


@pytest.fixture(params=CHOICES)
def choices(request):
    return CHOICES[request.param]


@pytest.fixture
def files(render, choices):
    return render(1, 2, **choices)


def documents(text):
    return list(yaml.safe_load_all(text))


def by_kind(text):
    found = {document["kind"]: document for document in documents(text)}
    assert len(found) == len(documents(text))
    return found
