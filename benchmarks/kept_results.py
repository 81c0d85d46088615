"""Results that are in a file as soon as they are there, so that a stopped benchmark goes on."""

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from absl import flags, logging

from kbert import __version__
from kbert.errors import InputError
from kbert.whole_files import write_whole


def settings_of_flags(*names: str) -> dict:
    """What results depend on: kbert's version, --init, --data, and other flags."""
    values = flags.FLAGS.flag_values_dict()
    paths = {name: os.path.abspath(values[name]) for name in ("init", "data")}
    return {"kbert": __version__, **paths, **{name: values[name] for name in names}}


def check_settings(path: pathlib.Path, kept: Mapping, settings: Mapping):
    """Refuses a file that has results of other settings.

    Raises:
        InputError: With what differs.
    """
    differ = [name for name, value in settings.items() if kept.get(name) != value]
    if differ:
        told = ", ".join(f"{name} {kept.get(name)}, not {settings[name]}" for name in differ)
        raise InputError(f"{path} has results of another run ({told}); choose another --output")


class KeptResults:
    """What was found: set -> candidate -> seed -> its row; in `results.json` after each run.

    Several processes may add to one file.

    Args:
        folder: Of the file, which is made where it is missing.
        settings: What all rows depend on, as JSON has it. A file of an earlier version has none, and is taken
            as it is.

    Raises:
        InputError: The file has rows of other settings.
    """

    def __init__(self, folder: str | pathlib.Path, settings: Mapping):
        self.path, self.settings = pathlib.Path(folder, "results.json"), settings
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = self._read()

    def add(self, name: str, who: str, seed: str, run: Callable[[], dict]) -> None:
        """Runs what is not there yet."""
        self.rows = self._read()  # Another process may have added it.
        if seed in self.rows.get(name, {}).get(who, {}):
            return
        row = run()
        with _alone_in(self.path.parent):
            self.rows = self._read()
            self.rows.setdefault(name, {}).setdefault(who, {})[seed] = row
            whole = {"settings": self.settings, "rows": self.rows}
            write_whole(self.path, json.dumps(whole, indent=1) + "\n")
        logging.info("%s, %s, seed %s: %s", name, who, seed, row)

    def of(self, name: str, seeds: Mapping[str, Sequence[str]]) -> dict[str, dict[str, dict]]:
        """Candidate -> seed -> row of a set, of those seeds of each; without candidates that have no row."""
        of_set = self.rows.get(name, {})
        found = {
            who: {seed: of_set[who][seed] for seed in of_who if seed in of_set.get(who, {})}
            for who, of_who in seeds.items()
        }
        return {who: rows for who, rows in found.items() if rows}

    def _read(self):
        if not self.path.exists():
            return {}
        kept = json.loads(self.path.read_text(encoding="utf-8"))
        if "settings" not in kept:
            return kept
        check_settings(self.path, kept["settings"], self.settings)
        return kept["rows"]


@contextlib.contextmanager
def _alone_in(folder):
    """Has other processes wait that want to be alone in the folder."""
    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)  # And with it the lock.
