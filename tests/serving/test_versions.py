import pytest

from kbert.errors import InputError
from kbert.serving.versions import find_latest_version


def test_the_highest_number_is_the_newest_version(tmp_path):
    for name in ("2", "10", "9x", ".11", "-12"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "99").touch()
    assert find_latest_version(tmp_path) == tmp_path / "10"


def test_says_what_a_folder_lacks(tmp_path, tiny_export):
    with pytest.raises(InputError, match="no such folder"):
        find_latest_version(tmp_path / "none")
    with pytest.raises(InputError, match="no version"):
        find_latest_version(tmp_path)
    with pytest.raises(InputError, match=rf"{tiny_export} looks like the folder to give"):
        find_latest_version(tiny_export / "1")
    (tmp_path / "1").mkdir()
    with pytest.raises(InputError, match="no saved_model.pb"):
        find_latest_version(tmp_path)
