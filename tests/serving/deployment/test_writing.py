import os

import pytest

from kbert.errors import InputError
from kbert.serving.deployment.writing import write_folder

FILES = {"a": b"1", "b/c": b"2"}


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_new_folder_appears_whole_and_readable(tmp_path):
    mask = os.umask(0o022)
    try:
        folder = write_folder(tmp_path / "new/one", FILES)
    finally:
        os.umask(mask)
    assert content(folder) == FILES
    assert os.listdir(tmp_path / "new") == ["one"]
    # Containers read it as another user.
    assert folder.stat().st_mode & 0o777 == (folder / "b").stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_will_do(tmp_path):
    (tmp_path / "out").mkdir()
    assert content(write_folder(tmp_path / "out", FILES)) == FILES


def test_a_full_one_is_changed_only_when_told(tmp_path):
    before = {"a": b"old", "old": b"0", "mine": b"3"}
    write_folder(tmp_path / "out", before)
    with pytest.raises(InputError, match="--overwrite"):
        write_folder(tmp_path / "out", FILES)
    assert content(tmp_path / "out") == before
    write_folder(tmp_path / "out", FILES, overwrite=True, obsolete=("a", "old", "never"))
    assert content(tmp_path / "out") == {**FILES, "mine": b"3"}


def test_a_file_of_that_name_is_never_replaced(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="a file of that name"):
        write_folder(tmp_path / "out", FILES, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_fails_halfway_leaves_nothing_behind(overwrite, tmp_path):
    if overwrite:
        write_folder(tmp_path / "out", {"a": b"old"})
    with pytest.raises(OSError):
        write_folder(tmp_path / "out", {"a": b"1", "a/b": b"a is a file"}, overwrite=overwrite)
    assert content(tmp_path) == ({"out/a": b"old"} if overwrite else {})
    assert os.listdir(tmp_path) == (["out"] if overwrite else [])
