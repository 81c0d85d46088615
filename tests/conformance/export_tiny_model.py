"""Writes version 1 of the model that the conformance tests ask: python export_tiny_model.py FOLDER."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from tests.tiny_server import write_tiny_model  # noqa: E402  needs the line above

if __name__ == "__main__":
    write_tiny_model(pathlib.Path(sys.argv[1]) / "1")
