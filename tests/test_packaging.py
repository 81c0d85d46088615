"""The source package: what setup.py and MANIFEST.in put into it."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_source_package_holds_all_of_kbert_and_nothing_of_the_tests(tmp_path):
    """The wheel is made from it."""
    pytest.importorskip("setuptools", reason="a venv of Python 3.12 may have none")
    source = tmp_path / "source"
    for folder in ("kbert", "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "setup.py", "-q", "sdist", "--formats=tar"], cwd=source, check=True)
    [archive] = (source / "dist").iterdir()
    with tarfile.open(archive) as packed:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in packed.getnames()}
    wanted = {path.relative_to(source).as_posix() for path in (source / "kbert").rglob("*") if path.is_file()}
    assert wanted <= names
    assert not [name for name in names if name.startswith("tests")]
