import errno
from pathlib import Path

import numpy as np
import pytest

from kbert import InputError, checkpoints
from kbert.checkpoints import google, huggingface
from kbert.models import Bert, BertClassifier
from tests.model_contract import Around

TASK = {
    "name": "classification",
    "labels": ["no", "ja", "möglich"],
    "max_length": 8,
    "pair": False,
    "lowercase": False,
}


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("[PAD]\n[UNK]\nä\n", encoding="utf-8")
    return path


def test_a_model_that_was_built_inside_another_is_loaded(make_model, tmp_path, inputs):
    model = BertClassifier(make_model().config, 3)
    expected = Around(model)(inputs)["logits"]
    assert model.weights[0].path.startswith("around/bert_classifier/bert/")
    checkpoints.save_folder(tmp_path / "model", model)
    loaded = checkpoints.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded(inputs)["logits"], expected)


@pytest.mark.parametrize("write", [checkpoints.save_folder, google.write, huggingface.write])
def test_the_encoder_of_a_classifier_is_saved_alone(write, make_model, tmp_path, inputs):
    encoder = make_model("BertClassifier").bert
    write(tmp_path, encoder)
    loaded = checkpoints.load(tmp_path, Bert)
    np.testing.assert_array_equal(loaded(inputs)["pooled_output"], encoder(inputs)["pooled_output"])


@pytest.mark.slow_after_first
@pytest.mark.parametrize("name", checkpoints.folder.MODELS)
def test_what_is_saved_is_loaded(make_model, tmp_path, vocab, assert_same_weights, name):
    model = make_model(name, dropout=0.25)
    folder = tmp_path / "new" / "model"
    checkpoints.save_folder(folder, model, TASK, vocab)
    loaded = checkpoints.load(folder)
    assert loaded.config == model.config == checkpoints.read_config(folder)
    assert loaded.get_config() == model.get_config()
    assert_same_weights(loaded, model)
    assert checkpoints.read_spec(folder)["task"] == checkpoints.read_task(folder) == TASK
    assert checkpoints.read_lowercase(folder) is False
    assert checkpoints.find_vocab(folder).read_bytes() == vocab.read_bytes()
    assert sorted(file.name for file in folder.iterdir()) == [
        "kbert.json",
        "vocab.txt",
        "weights.safetensors",
    ]
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


def test_a_loaded_model_computes_what_the_saved_one_does(make_model, tmp_path):
    model = make_model("BertClassifier")
    checkpoints.save_folder(tmp_path / "model", model)
    inputs = {
        "token_ids": np.array([[1, 7, 5, 0]]),
        "segment_ids": np.array([[0, 0, 1, 0]]),
        "padding_mask": np.array([[1, 1, 1, 0]]),
    }
    np.testing.assert_array_equal(
        checkpoints.load(tmp_path / "model")(inputs)["logits"], model(inputs)["logits"]
    )


def test_dtype_is_a_policy_of_the_arithmetic(make_model, tmp_path, assert_same_weights):
    model = make_model()
    checkpoints.save_folder(tmp_path / "model", model)
    loaded = checkpoints.load(tmp_path / "model", dtype="mixed_bfloat16")
    assert loaded.bert.blocks[0].attention.compute_dtype == "bfloat16"
    assert_same_weights(loaded, model)


def test_a_failed_save_leaves_everything_as_it_was(make_model, tmp_path):
    folder = tmp_path / "model"
    checkpoints.save_folder(folder, make_model(), TASK)
    (folder / "manifest.json").write_text("{}")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(FileNotFoundError):
        checkpoints.save_folder(folder, make_model(seed=1), TASK, tmp_path / "absent.txt")
    with pytest.raises(FileNotFoundError):
        checkpoints.save_folder(tmp_path / "other", make_model(), TASK, tmp_path / "absent.txt")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_saving_again_replaces_the_model_and_keeps_other_files(make_model, tmp_path, assert_same_weights):
    folder = tmp_path / "model"
    checkpoints.save_folder(folder, make_model("Bert"))
    (folder / "logs").mkdir()
    model = make_model("BertClassifier", seed=1)
    checkpoints.save_folder(folder, model)
    assert (folder / "logs").is_dir()
    assert_same_weights(checkpoints.load(folder), model)


@pytest.mark.parametrize("kind", ["link", "link to nothing yet", "mount point"])
def test_a_folder_on_another_disk_is_saved_into(make_model, tmp_path, monkeypatch, assert_same_weights, kind):
    disk = folder = tmp_path / "disk"
    disk.mkdir()
    if kind != "mount point":
        folder = tmp_path / "model"
        folder.symlink_to(disk / "model")
    if kind != "link to nothing yet":
        checkpoints.save_folder(disk if kind == "mount point" else disk / "model", make_model("Bert"))

    def refuse_crossing(move):
        def checked(file, target):
            if file.resolve().is_relative_to(disk) != target.resolve().is_relative_to(disk):
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            assert file.resolve() != disk
            return move(file, target)

        return checked

    for name in ("replace", "rename"):
        monkeypatch.setattr(Path, name, refuse_crossing(getattr(Path, name)))
    model = make_model("BertClassifier", seed=1)
    checkpoints.save_folder(folder, model)
    assert_same_weights(checkpoints.load(folder), model)
    assert {file.name for file in folder.iterdir()} == {"kbert.json", "weights.safetensors"}
    assert {file.name for file in tmp_path.iterdir()} == {"disk", folder.name}


@pytest.mark.parametrize("name", ["vocab.txt", "weights.safetensors", "kbert.json"])
def test_a_file_that_cannot_be_moved_leaves_the_old_model(
    make_model, tmp_path, vocab, monkeypatch, assert_same_weights, name
):
    folder, model, replace = tmp_path / "model", make_model("Bert"), Path.replace
    checkpoints.save_folder(folder, model, TASK)

    def fail(file, target):
        if target.name == name:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return replace(file, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PermissionError):
        checkpoints.save_folder(folder, make_model("BertClassifier", seed=1), None, vocab)
    assert_same_weights(checkpoints.load(folder), model)
    assert checkpoints.read_task(folder) == TASK
    assert {file.name for file in folder.iterdir()} == {"kbert.json", "weights.safetensors"}


def test_a_crf_and_its_constraints_are_kept(make_model, tmp_path, assert_same_weights):
    from kbert.layers import allowed_transitions

    tags = ["O", "B-X", "I-X"]
    head = {"num_tags": 3, "crf": True, "constraints": allowed_transitions(tags, "BIO")}
    model = make_model("BertTagger", head)
    checkpoints.save_folder(tmp_path / "model", model)
    loaded = checkpoints.load(tmp_path / "model")
    assert_same_weights(loaded, model)
    assert loaded.get_config() == model.get_config()


def test_how_a_model_is_trained_is_no_part_of_it(make_model, tmp_path):
    checkpoints.save_folder(tmp_path / "model", make_model("Bert", {"remat": True}))
    assert checkpoints.read_spec(tmp_path / "model")["head"] == {"pooler": True}
    assert checkpoints.load(tmp_path / "model", remat=True).remat is True


def test_a_model_with_adapters_is_refused(make_model, tmp_path):
    model = make_model("BertClassifier")
    model.enable_lora(2)
    for write in (checkpoints.save_folder, google.write, huggingface.write):
        with pytest.raises(InputError, match="LoRA adapters of rank 2; call model.merge_lora"):
            write(tmp_path / "model", model)
    model.merge_lora()
    checkpoints.save_folder(tmp_path / "model", model)


def test_a_save_that_is_killed_among_its_moves_leaves_no_mixture(make_model, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    checkpoints.save_folder(folder, make_model("Bert"))
    replace, moves = Path.replace, []

    def killed(file, target):
        if moves:
            raise KeyboardInterrupt
        moves.append(target.name)
        return replace(file, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save_folder(folder, make_model("Bert", seed=1))
    assert moves == ["weights.safetensors"]
    with pytest.raises(InputError, match="neither kbert.json nor config.json"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2"),
        ({"head": None}, "'head' is missing"),
        ({"model": "BertPainter"}, "names the model 'BertPainter'"),
        ({"head": {"num_classes": 1}}, "num_classes=1; a classifier of kind='single' has at least 2"),
        ({"head": {"colour": 1}}, "colour"),
        ({"config": {"hidden": 8}}, "unknown keys hidden"),
        ({"config": {"num_heads": 7}}, "not divisible"),
    ],
)
def test_a_wrong_spec_is_refused(make_model, tmp_path, edit_json, changes, message):
    checkpoints.save_folder(tmp_path / "model", make_model("BertClassifier"))
    edit_json(tmp_path / "model" / "kbert.json", **changes)
    with pytest.raises(InputError, match=f"kbert.json: .*{message}"):
        checkpoints.load(tmp_path / "model")


def test_a_folder_without_weights_is_refused(make_model, tmp_path):
    checkpoints.save_folder(tmp_path / "model", make_model("Bert"))
    (tmp_path / "model" / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="weights.safetensors: there is no such file"):
        checkpoints.load(tmp_path / "model")


def test_a_label_of_half_a_character_is_kept(make_model, tmp_path):
    """As JSON lines may have it, and UTF-8 has not."""
    task = {"name": "classification", "labels": ["a", "\ud83d"]}
    checkpoints.save_folder(tmp_path / "model", make_model("Bert"), task=task)
    assert checkpoints.read_spec(tmp_path / "model")["task"] == task
