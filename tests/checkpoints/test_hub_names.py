"""Names of checkpoints on the internet; no test needs it."""

import builtins
import fnmatch
import sys
import types

import pytest

from kbert import InputError, checkpoints
from kbert.checkpoints import hub_names, huggingface


@pytest.fixture(autouse=True)
def nothing_remembered():
    """Each test asks anew: names are resolved once in a process."""
    hub_names._from_huggingface.cache_clear()
    hub_names._from_keras_hub.cache_clear()


@pytest.fixture
def huggingface_hub(monkeypatch):
    """A stand-in for the package: `files` is what the repository holds, `asked` what was asked for."""
    hub = types.ModuleType("huggingface_hub")
    hub.asked, hub.failure = [], None

    def snapshot_download(repo_id, allow_patterns):
        hub.asked.append((repo_id, allow_patterns))
        if hub.failure:
            raise hub.failure
        return str(hub.folder)

    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return hub


@pytest.fixture
def keras_hub(monkeypatch):
    """Stand-ins for the two packages that know and fetch Keras Hub's presets."""
    fetch, hub = types.ModuleType("kagglehub"), types.ModuleType("keras_hub")
    fetch.asked, fetch.failure = [], None

    def model_download(handle):
        fetch.asked.append(handle)
        if fetch.failure:
            raise fetch.failure
        return str(fetch.folder)

    def task(**presets):
        handles = {name: {"kaggle_handle": f"kaggle://keras/bert/keras/{name}/3"} for name in presets}
        return types.SimpleNamespace(presets=handles)

    fetch.model_download = model_download
    hub.models = types.SimpleNamespace(
        BertTextClassifier=task(bert_tiny=1, bert_sst2=1), BertTextEmbedder=task(bert_tiny=1, minilm=1)
    )
    monkeypatch.setitem(sys.modules, "kagglehub", fetch)
    monkeypatch.setitem(sys.modules, "keras_hub", hub)
    return fetch


def without(monkeypatch, *packages):
    """As on a machine where these packages are not installed."""
    imported = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.split(".")[0] in packages:
            raise ImportError(f"No module named {name!r}")
        return imported(name, *arguments, **options)

    for package in packages:
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_path_stays_what_it_is(tmp_path, huggingface_hub, keras_hub):
    for path in (tmp_path, "models/hf", "keras/bert_tiny"):
        assert hub_names.resolve(path) == type(tmp_path)(path)
    assert not huggingface_hub.asked
    assert not keras_hub.asked


def test_a_name_at_hugging_face_loads_like_its_folder(
    make_model, tmp_path, huggingface_hub, assert_same_weights
):
    model = make_model("Bert")
    huggingface.write(tmp_path, model)
    huggingface_hub.folder = tmp_path
    assert_same_weights(checkpoints.load("hf:someone/bert"), model)
    assert checkpoints.read_config("hf:someone/bert") == model.config
    # Asked once for all of it, and for nothing that is unpickled.
    ((name, patterns),) = huggingface_hub.asked
    assert name == "someone/bert"
    assert {"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"} <= set(patterns)
    for file in ("modules.json", "1_Pooling/config.json"):  # Of sentence-transformers.
        assert any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns)
    assert not [pattern for pattern in patterns if pattern.endswith((".bin", ".pt", ".ckpt", "*"))]


def test_files_of_a_cache_are_links_and_may_be(make_model, tmp_path, huggingface_hub, assert_same_weights):
    model = make_model("Bert")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    huggingface.write(tmp_path / "blobs", model)
    for number, file in enumerate(sorted((tmp_path / "blobs").iterdir())):
        file.rename(file.with_name(str(number)))
        (tmp_path / "snapshot" / file.name).symlink_to(f"../blobs/{number}")
    huggingface_hub.folder = tmp_path / "snapshot"
    assert_same_weights(checkpoints.load("hf:someone/bert"), model)


def test_a_repository_of_pickles_is_refused_with_the_way_to_convert_it(tmp_path, huggingface_hub):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "vocab_size": 20}')
    huggingface_hub.folder = tmp_path
    with pytest.raises(InputError, match="hf:someone/bert: has no safetensors; .*save_pretrained"):
        checkpoints.load("hf:someone/bert")


def test_without_network_the_error_says_how_to_download_by_hand(huggingface_hub):
    huggingface_hub.failure = ConnectionError("Name or service not known\n(and much more)")
    with pytest.raises(InputError) as caught:
        checkpoints.load("hf:someone/bert")
    message = str(caught.value)
    assert message.startswith("hf:someone/bert: cannot be downloaded (ConnectionError: Name or service")
    assert "https://huggingface.co/someone/bert/tree/main" in message
    assert "give the folder" in message
    assert "\n" not in message


def test_an_error_is_not_remembered(tmp_path, make_model, huggingface_hub):
    huggingface_hub.failure = ConnectionError("down")
    with pytest.raises(InputError):
        hub_names.resolve("hf:someone/bert")
    huggingface.write(tmp_path, make_model("Bert"))
    huggingface_hub.failure, huggingface_hub.folder = None, tmp_path
    assert hub_names.resolve("hf:someone/bert") == tmp_path


def test_without_the_package_the_error_names_it(monkeypatch):
    without(monkeypatch, "huggingface_hub")
    with pytest.raises(InputError, match=r"hf:a/b: cannot .*pip install huggingface_hub, or download config"):
        hub_names.resolve("hf:a/b")
    without(monkeypatch, "keras_hub")
    with pytest.raises(InputError, match=r"keras:x: cannot .*pip install keras-nlp, or .*kaggle.com/models"):
        hub_names.resolve("keras:x")


@pytest.mark.parametrize("name", ["bert_tiny", "bert_sst2", "minilm"])
def test_a_preset_is_fetched_by_the_handle_that_keras_hub_has_for_it(tmp_path, keras_hub, name):
    keras_hub.folder = tmp_path
    assert hub_names.resolve(f"keras:{name}") == tmp_path
    assert hub_names.resolve(f"keras:{name}") == tmp_path
    assert keras_hub.asked == [f"keras/bert/keras/{name}/3"]


def test_an_unknown_preset_is_answered_with_the_known_ones(keras_hub):
    with pytest.raises(InputError, match="keras:bert_huge: .*expected one of bert_tiny, bert_sst2, minilm"):
        hub_names.resolve("keras:bert_huge")
    assert not keras_hub.asked


def test_the_last_keras_hub_for_python_3_10_has_no_embedders(tmp_path, keras_hub):
    keras_hub.folder = tmp_path
    del sys.modules["keras_hub"].models.BertTextEmbedder
    assert hub_names.resolve("keras:bert_tiny") == tmp_path
    with pytest.raises(InputError, match="expected one of bert_tiny, bert_sst2$"):
        hub_names.resolve("keras:minilm")


def test_a_preset_without_network_is_to_be_had_by_hand(keras_hub):
    keras_hub.failure = OSError("unreachable")
    with pytest.raises(InputError, match=r"kaggle.com/models/keras/bert/keras/bert_tiny/3, unpack it"):
        hub_names.resolve("keras:bert_tiny")


def test_the_real_package_keeps_its_presets_where_they_are_looked_for():
    hub = pytest.importorskip("keras_hub")
    handle = hub.models.BertTextClassifier.presets["bert_tiny_en_uncased"]["kaggle_handle"]
    assert handle.startswith("kaggle://keras/bert/keras/bert_tiny_en_uncased")
    if sys.version_info >= (3, 11):  # The last release for Python 3.10 has no embedders.
        assert "all_minilm_l6_v2_en" in hub.models.BertTextEmbedder.presets


def test_the_real_package_finds_its_cache_without_network(
    make_model, monkeypatch, tmp_path, assert_same_weights
):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository, commit, model = tmp_path / "models--someone--bert", "0" * 40, make_model("Bert")
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    huggingface.write(repository / "snapshots" / commit, model)
    assert_same_weights(checkpoints.load("hf:someone/bert"), model)
    with pytest.raises(InputError, match="hf:someone/absent: cannot be downloaded .*give the folder"):
        checkpoints.load("hf:someone/absent")
