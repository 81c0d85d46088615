"""Results that are in a file as soon as they are there, so that a stopped benchmark goes on."""

import json
import pathlib
from collections.abc import Callable

from absl import logging

from kbert.evaluation import write_whole


class KeptResults:
    """What was found: set -> candidate -> seed -> its row; in `results.json` after each run.

    Args:
        folder: Of the file, which is made where it is missing.
    """

    def __init__(self, folder: str | pathlib.Path):
        self.path = pathlib.Path(folder, "results.json")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}

    def add(self, name: str, who: str, seed: str, run: Callable[[], dict]) -> None:
        """Runs what is not there yet."""
        of_seeds = self.rows.setdefault(name, {}).setdefault(who, {})
        if seed not in of_seeds:
            of_seeds[seed] = run()
            write_whole(self.path, json.dumps(self.rows, indent=1) + "\n")
            logging.info("%s, %s, seed %s: %s", name, who, seed, of_seeds[seed])
