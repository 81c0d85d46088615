"""Versions come, go, get names and break, while requests are answered."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kbert.errors import InputError
from kbert.serving.metrics import Metrics
from kbert.serving.model_configs import ModelConfig
from kbert.serving.model_store import ModelStore
from kbert.serving.status import ServingError

pytestmark = pytest.mark.serving
TEXT = {"text": np.array([b"a"], object)}


@pytest.fixture
def folder(tiny_export, tmp_path):
    """A folder with version 1 that may be changed."""
    shutil.copytree(tiny_export / "1", tmp_path / "k" / "1")
    return tmp_path / "k"


@pytest.fixture
def open_store():
    stores = []

    def open_it(*configs):
        stores.append(ModelStore(configs, Metrics()))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


def add(folder, version):
    """A version as an export writes it: under a dot-name, then renamed."""
    shutil.copytree(folder / "1", folder / f".new-{version}")
    (folder / f".new-{version}").rename(folder / str(version))


def serving(store, name="k", **which):
    with store.using(name, **which) as model:
        assert "score" in model.predict("", TEXT)
        return model.version


def states(store, name="k"):
    return {version: state.state for version, state in store.states(name).items()}


def refused(store, name="k", **which):
    with pytest.raises(ServingError) as caught, store.using(name, **which):
        pass
    return caught.value.code, caught.value.message


@pytest.mark.slow
def test_a_new_version_replaces_the_old_one(folder, open_store):
    store = open_store(ModelConfig("k", folder))
    assert serving(store) == 1
    add(folder, 2)
    assert serving(store) == 1
    store.poll()
    assert serving(store) == serving(store, version=2) == 2
    assert refused(store, version=1) == ("NOT_FOUND", "Servable not found for request: Specific(k, 1)")
    assert states(store) == {2: "AVAILABLE", 1: "END"}
    shutil.rmtree(folder / "2")  # roll back
    store.poll()
    assert serving(store) == 1 and states(store) == {2: "END", 1: "AVAILABLE"}


def test_the_old_version_stays_until_its_last_request_is_done(folder, open_store):
    store = open_store(ModelConfig("k", folder))
    add(folder, 2)
    with store.using("k") as old:
        polling = threading.Thread(target=store.poll)
        polling.start()
        deadline = time.monotonic() + 30
        while states(store).get(1) != "UNLOADING" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert states(store) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert serving(store) == 2
        assert "score" in old.predict("", TEXT)
        assert polling.is_alive()
    polling.join(30)
    assert states(store)[1] == "END"


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "damage", ["no graph", "half a graph", "no weights", "warm-up fails", "no warm-up file"]
)
def test_a_broken_version_changes_nothing_until_it_is_whole(folder, open_store, damage):
    store = open_store(ModelConfig("k", folder))
    add(folder, 2)
    whole = (folder / "2" / "saved_model.pb").read_bytes()
    if damage == "no graph":
        (folder / "2" / "saved_model.pb").unlink()
    elif damage == "half a graph":
        (folder / "2" / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    elif damage == "no weights":
        (folder / "2" / "variables").rename(folder / "variables")
    elif damage == "warm-up fails":
        (folder / "2" / "assets.extra").mkdir()
        (folder / "2" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"garbage" * 9)
    else:  # what cannot be read, even by root
        (folder / "2" / "assets.extra" / "tf_serving_warmup_requests").mkdir(parents=True)
    for _ in range(2):
        store.poll()
        assert serving(store) == 1
        state = store.states("k")[2]
        assert state.state == "END" and state.code != "OK" and str(folder / "2") in state.message
    # Now the copy ends.
    if damage == "no weights":
        (folder / "variables").rename(folder / "2" / "variables")
    elif damage == "warm-up fails":
        (folder / "2" / "assets.extra" / "tf_serving_warmup_requests").unlink()
    elif damage == "no warm-up file":
        (folder / "2" / "assets.extra" / "tf_serving_warmup_requests").rmdir()
    else:
        (folder / "2" / "saved_model.pb").write_bytes(whole)
    store.poll()
    assert serving(store) == 2 and states(store) == {2: "AVAILABLE", 1: "END"}


def test_a_broken_version_is_not_tried_again_and_again(folder, open_store, monkeypatch):
    store = open_store(ModelConfig("k", folder))
    (folder / "2").mkdir()
    tries = []
    load = store._load_and_warm_up
    monkeypatch.setattr(store, "_load_and_warm_up", lambda path, name: tries.append(path) or load(path, name))
    for _ in range(3):
        store.poll()
    assert tries == [folder / "2"]


def test_what_is_loaded_survives_its_folder(folder, open_store):
    store = open_store(ModelConfig("k", folder))
    (folder / "1" / "saved_model.pb").write_bytes(b"garbage")
    store.poll()
    assert serving(store) == 1
    shutil.rmtree(folder)
    store.poll()
    assert serving(store) == 1


def test_another_export_with_the_same_number_replaces_the_first(folder, open_store, monkeypatch):
    store = open_store(ModelConfig("k", folder))
    following = shutil.copytree(folder / "1", folder.parent / "following")
    (following / "saved_model.pb").touch()
    loaded, load = [], store._load_and_warm_up

    def load_and_note(path, name):
        loaded.append(load(path, name))
        return loaded[-1]

    monkeypatch.setattr(store, "_load_and_warm_up", load_and_note)
    with store.using("k") as first:
        store.poll()
        assert loaded == []
    shutil.rmtree(folder / "1")
    (folder / "1").mkdir()  # a copy is under way
    store.poll()
    state = store.states("k")[1]
    assert (state.state, state.code) == ("AVAILABLE", "INTERNAL") and "cannot be loaded" in state.message
    (folder / "1").rmdir()
    store.poll()
    assert serving(store) == 1
    following.rename(folder / "1")
    for _ in range(2):
        store.poll()
        assert serving(store) == 1 and (store.states("k")[1].code, len(loaded)) == ("OK", 1)
    with store.using("k") as second:
        assert [second] == loaded and second is not first
    with pytest.raises(RuntimeError, match="closed"):
        first.predict("", TEXT)


def test_labels_and_several_versions(folder, open_store):
    add(folder, 2)
    store = open_store(ModelConfig("k", folder, latest=0, labels={"stable": 1, "canary": 2}))
    assert (serving(store, label="stable"), serving(store, label="canary"), serving(store)) == (1, 2, 2)
    unknown = ("INVALID_ARGUMENT", "Unrecognized servable version label: zz")
    assert refused(store, label="zz") == refused(store, "none", label="zz") == unknown
    store.reload([ModelConfig("k", folder, latest=0, labels={"stable": 2})])
    assert serving(store, label="stable") == 2
    assert refused(store, label="canary")[0] == "INVALID_ARGUMENT"


def test_a_label_needs_a_loaded_version(folder, open_store):
    with pytest.raises(InputError, match="assign label to version 7 of model k"):
        open_store(ModelConfig("k", folder, labels={"stable": 7}))
    store = open_store(ModelConfig("k", folder, labels={"stable": 1}))
    add(folder, 2)
    both = ModelConfig("k", folder, specific=(1, 2), labels={"stable": 2})
    with pytest.raises(ServingError) as caught:
        store.reload([both])
    assert caught.value.code == "FAILED_PRECONDITION"
    assert caught.value.message == (
        "Request to assign label to version 2 of model k, which is not currently available for inference"
    )
    assert serving(store, label="stable") == serving(store) == 1  # nothing has changed
    store.reload([ModelConfig("k", folder, specific=(1, 2), labels={"stable": 1})])
    store.reload([both])
    assert serving(store, label="stable") == 2


@pytest.mark.slow
def test_models_come_and_go_by_reload(folder, tiny_export, open_store):
    store = open_store(ModelConfig("k", folder))
    store.reload([ModelConfig("k", folder), ModelConfig("other", tiny_export)])
    assert serving(store, "other") == 1 and store.names() == ["k", "other"]
    store.reload([ModelConfig("other", tiny_export)])
    assert refused(store) == ("NOT_FOUND", "Servable not found for request: Latest(k)")
    with pytest.raises(ServingError) as caught:
        store.reload([ModelConfig("other", tiny_export), ModelConfig("new", Path("/nowhere"))])
    assert caught.value.code == "UNKNOWN"
    assert "1 model(s) did not become available: {{new has no version}}" in caught.value.message
    assert serving(store, "other") == 1


def test_without_a_version_there_is_no_store(folder, open_store):
    with pytest.raises(InputError, match="none of the versions"):
        open_store(ModelConfig("k", folder, specific=(9,)))
    (folder / "1" / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(InputError, match="cannot be loaded"):
        open_store(ModelConfig("k", folder))
