"""The examples of the documentation, run as they stand there."""

import dataclasses
import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import kbert
from kbert.checkpoints import convert, huggingface, keras_hub, save_folder
from kbert.serving.model_configs import ModelConfig
from kbert.serving.server import LocalServer
from tests.conftest import TINY_VOCAB
from tests.test_scripts import flags_of
from tests.tiny_server import write_tiny_model

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.relative_to(ROOT / "docs").with_suffix("").as_posix(): path
    for path in sorted((ROOT / "docs").rglob("*.md"))
}
#: What else is read.
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
OTHERS += [ROOT / folder / "README.md" for folder in ("benchmarks", "saved_models")]
#: What it names may be gone.
CHANGELOG = ROOT / "CHANGELOG.md"
#: A fenced block; an HTML comment before it, which no reader sees, keeps it from being run and says why.
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<source>.*?)^```$", re.S | re.M
)


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    source: str
    line: int
    is_run: bool


def blocks(path):
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            language=found["language"],
            source=found["source"],
            line=text.count("\n", 0, found.start("source")),
            is_run=not found["reason"],
        )
        for found in FENCE.finditer(text)
    ]


def with_blocks(language):
    """The pages with a block of it that is run."""
    return [
        name
        for name, path in PAGES.items()
        if any(block.language == language and block.is_run for block in blocks(path))
    ]


def run_python(block, page, names):
    """Runs a block in the page's session: `>>>` with the answers checked, anything else as it is."""
    if ">>>" not in block.source:
        exec(compile("\n" * block.line + block.source, page, "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(block.source, names, page, page, block.line)
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failed = runner.run(test, out=report.append, clear_globs=False).failed
    assert not failed, "".join(report)
    names.update(test.globs)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a page is run: the files that the pages speak of, as small as they can be."""
    monkeypatch.chdir(tmp_path)
    tokens = [*TINY_VOCAB, *(f"[unused{i}]" for i in range(5))]
    write_lines("vocab.txt", tokens)
    write_lines("new_vocab.txt", [*TINY_VOCAB, "player", "影片"])
    config = kbert.BertConfig(
        vocab_size=len(tokens),
        hidden_dim=16,
        num_layers=2,
        num_heads=2,
        intermediate_dim=32,
        max_length=40,
    )
    save_folder("bert-base", kbert.models.BertPretrainer(config), vocab_path="vocab.txt")
    convert("bert-base", "bert-base-chinese", "huggingface")
    classifier = kbert.models.BertClassifier(config, num_classes=2)
    classifier.build()
    Path("bert-reviews").mkdir()
    huggingface.write(Path("bert-reviews"), classifier, ["bad", "good"])
    shutil.copy("vocab.txt", "bert-reviews")
    longer = dataclasses.replace(config, max_length=384)
    save_folder("all-MiniLM-L6-v2", kbert.models.BertPretrainer(longer), vocab_path="vocab.txt")
    sentences = ["the film is not bad .", "a very good film !", "playing was fun", "我们很喜欢这部电影。"]
    rng = np.random.default_rng(7)
    documents = ["\n".join(rng.permutation(sentences)) for _ in range(8)]
    Path("corpus.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    write_task_files()
    return tmp_path


def write_task_files():
    """A training file and a dev file for each page of docs/tasks."""
    texts = ["a very good film !", "the film is bad .", "the play is not bad .", "what a bad play !"]
    labels, topics = ["good", "bad", "good", "bad"], ["film,praise", "film", "play,praise", "play"]
    tables = {
        "reviews": (["sentence", "label"], [texts, labels]),
        "pairs": (["sentence1", "sentence2", "label"], [texts, texts[::-1], ["1", "0", "0", "1"]]),
        "topics": (["text", "labels"], [texts, topics]),
        "kinds": (["text", "labels"], [texts, topics]),
        "similar": (["sentence1", "sentence2", "score"], [texts, texts[1:] + texts[:1], "4310"]),
        "found": (["anchor", "positive"], [["good film", "bad film", "good play", "bad play"], texts]),
    }
    question = {"context": "a very good film !", "question": "was it good ?", "choices": ["not bad", "bad"]}
    for end in ("", "_dev"):
        for name, (header, columns) in tables.items():
            write_lines(f"{name}{end}.tsv", ["\t".join(row) for row in (header, *zip(*columns, strict=True))])
        for name in ("choices", "sentences"):
            answered = [json.dumps(question | {"label": label}) for label in (0, "A")]
            write_lines(f"{name}{end}.jsonl", answered)
    write_benchmark_files()


def write_benchmark_files():
    """Sentences, pairs and questions in the form of the benchmarks that pages name."""
    tagged = [
        "niño NN I-NP B-PER",
        "was VBD I-VP O",
        "playing VBG I-VP O",
        "",
        "café NN I-NP B-LOC",
        ". . O O",
    ]
    answers = [{"text": "very good", "answer_start": 13}]
    asked = {"id": "1", "question": "was the film good ?", "answers": answers}
    paragraphs = [{"context": "The film was very good!", "qas": [asked]}]
    for split in ("train", "dev"):
        write_lines(f"conll2003/{split}.txt", tagged)
        scored = ["sentence1\tsentence2\tscore", "a good film\ta good play\t3.2", "a film\twhat fun\t0.4"]
        write_lines(f"stsb-en/{split}.tsv", scored)
        data = {"version": "1.1", "data": [{"title": "film", "paragraphs": paragraphs}]}
        write_lines(f"squad/{split}.json", [json.dumps(data)])


def write_lines(path, lines):
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize("name", with_blocks("python"))
def test_python_of_a_page_runs_as_one_session(name, folder):
    names = {"__name__": "__main__"}
    for block in blocks(PAGES[name]):
        if block.language == "python" and block.is_run:
            run_python(block, PAGES[name].name, names)


@pytest.mark.slow
@pytest.mark.parametrize("name", with_blocks("bash"))
def test_commands_of_a_page_run_one_after_the_other(name, folder):
    (folder / "tf_scripts").symlink_to(ROOT / "tf_scripts")
    options = dict(capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    for block in blocks(PAGES[name]):
        if block.language == "bash" and block.is_run:
            for line in block.source.replace("\\\n", " ").splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "python", f"{PAGES[name].name}: {line}: only Python's scripts are run here"
                done = subprocess.run([sys.executable, *arguments], **options)
                assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    if name == "finetuning":
        found = json.loads(Path("runs/grid/report.json").read_text(encoding="utf-8"))
        assert "training, steps" in [line["name"] for line in found["curves"][0]["lines"]]
        runs = found["runs"]
        assert [(run["seed"], run["learning_rate"]) for run in runs] == [
            (1, 5e-5), (2, 5e-5), (1, 2e-5), (2, 2e-5)
        ]  # fmt: skip
        assert all(0 <= run["accuracy"] <= 1 for run in runs)


@pytest.mark.slow
@pytest.mark.serving
def test_python_of_the_client_page_asks_a_server(tmp_path, capsys):
    """Three models that the page speaks of: one, each time with another signature in front."""
    models = {"topics": "predict", "names": "tag", "answers": "answer"}
    for name, signature in models.items():
        write_tiny_model(tmp_path / name / "1", signature)
    configs = [ModelConfig(name, tmp_path / name) for name in models]
    names = {"__name__": "__main__"}
    with LocalServer(configs, rest_port=0, grpc_port=0) as server:
        for block in blocks(PAGES["client"]):
            if block.language == "python":
                source = block.source.replace("http://127.0.0.1:8501", server.rest_url)
                run_python(dataclasses.replace(block, source=source), "client.md", names)
    said = capsys.readouterr().out
    for part in ("'label_id': ", "[Classification(label=", "('negative', ", "\nPER ", "\nIt was", "\n1000\n"):
        assert part in said, said
    assert "score" in names["answers"][0]


def test_every_block_says_what_it_is():
    """A block without a language, or an indented one, is an example that nothing runs."""
    for path in PAGES.values():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n```") == 2 * len(blocks(path)), f"{path.name}: a block is not closed"
        unknown = [block.line for block in blocks(path) if block.language not in {"python", "bash", "text"}]
        assert not unknown, f"{path.name}: blocks after lines {unknown} are of no known language"
        hidden = [block.line for block in blocks(path) if block.language == "text" and ">>>" in block.source]
        assert not hidden, f"{path.name}: Python after lines {hidden} that nothing runs"
        assert not re.search(r"^    \S", FENCE.sub("", text), re.M), f"{path.name}: an indented block"


@pytest.mark.parametrize("path", [*PAGES.values(), *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_flags_that_are_there(path):
    """Also those that nothing runs: of pages, and of the results of benchmarks."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for script, given in re.findall(r"\b(\w+\.py)((?:(?!\w+\.py)[^`\n|;])*)", text):
        for place in (ROOT / "tf_scripts" / script, ROOT / "benchmarks" / script):
            if place.exists():
                named, known = set(re.findall(r"\s--(\w+)", given)), {"help", *flags_of(place)}
                assert named <= known | {f"no{flag}" for flag in known}, f"{script}{given}"


@pytest.mark.parametrize("path", [*PAGES.values(), ROOT / "README.md"], ids=lambda path: path.stem)
def test_a_server_is_asked_in_another_block_than_the_one_that_starts_it(path):
    """Who pastes both at once asks before it is there."""
    for block in blocks(path):
        *before, _ = block.source.rstrip().splitlines()
        assert not any(line.endswith("&") for line in before), f"{path.name}: after line {block.line}"


def anchors(path):
    """What a link to a heading of a page has behind the `#`."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "path", [*PAGES.values(), *OTHERS, CHANGELOG], ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_lead_to_a_page_and_a_heading(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        there = path.parent / link if link else path
        assert there.exists(), f"there is no {link}"
        assert not anchor or anchor in anchors(there), f"{link} has no heading #{anchor}"


def test_what_pages_name_is_there():
    """Also the tests that are said to run what a page does not, and the files that other pages name."""
    for path in [*PAGES.values(), *OTHERS]:
        text = path.read_text(encoding="utf-8").replace("benchmarks/FILE.py", "")
        files = re.findall(r"\b(?:kbert|tf_scripts|benchmarks|tests)/[\w./]*\w", text)
        gone = [name for name in files if not (ROOT / name).exists()]
        assert not gone, f"{path.name} names {gone}"
        for package, name in re.findall(r"`kbert\.(\w+)\.(\w+)\b", text):
            there = hasattr(import_module(f"kbert.{package}"), name) or find_spec(f"kbert.{package}.{name}")
            assert there, f"{path.name}: kbert.{package}.{name} is not there"


def test_the_table_of_checkpoints_names_all_classes_of_others():
    rows = PAGES["checkpoints"].read_text(encoding="utf-8").splitlines()
    of_huggingface, of_keras_hub = (
        next(row for row in rows if row.startswith(f"| {form} |")) for form in ("Hugging Face", "Keras Hub")
    )
    for name in huggingface._CLASSES.values():
        assert f"`{name}`" in of_huggingface or f"`{name.removeprefix('Bert')}`" in of_huggingface
    for name in keras_hub._TASKS.values():
        assert f"`{name}`" in of_keras_hub
