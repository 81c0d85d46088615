"""How candidates take turns: each in a process of its own, one works and the others wait."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from absl import logging

from kbert.errors import InputError


class Turns:
    """The side of a candidate: says what it is, then works when it is told to, and says how long it took."""

    def introduce(self, **values):
        """Tells what is compared before anything is timed, and waits for the first turn."""
        print(json.dumps(values), flush=True)
        self._wait()

    def end(self, **values):
        """Ends a turn, tells what else there is, and waits; where no turn comes, ends the process."""
        seconds = time.perf_counter() - self._begun
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(), **values}), flush=True)
        self._wait()

    def _wait(self):
        if not sys.stdin.readline():
            os._exit(0)  # Nothing of a trained model is kept, and a loop of `fit` would have to end first.
        self._begun = time.perf_counter()


class Candidates(contextlib.AbstractContextManager):
    """The other side: all candidates of a case.

    Args:
        commands: Name -> command of the process.
        log: Folder for what they say on stderr.
    """

    def __init__(self, commands: dict[str, list[str]], log: str):
        self.commands, self.log = commands, pathlib.Path(log)
        self.processes: dict[str, subprocess.Popen] = {}
        self.introductions: dict[str, Any] = {}

    def __enter__(self):
        try:
            for name, command in self.commands.items():
                with open(self._log_of(name), "w", encoding="utf-8") as log:
                    self.processes[name] = subprocess.Popen(
                        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
                    )
                self.introductions[name] = self._answer(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        for process in self.processes.values():
            with contextlib.suppress(BrokenPipeError):  # It has ended already.
                process.stdin.close()
        for process in self.processes.values():
            process.wait()
            process.stdout.close()

    def turn(self, name: str, told: str = "go") -> Any:
        """Has one work, told so by a line; what it says then."""
        with contextlib.suppress(BrokenPipeError):  # It has ended, of which `_answer` tells more.
            self.processes[name].stdin.write(f"{told}\n")
            self.processes[name].stdin.flush()
        return self._answer(name)

    def rounds(self, number: int, warmup: int) -> dict[str, list[dict]]:
        """Has all work in turn, that many times after the first ones, which are left out."""
        answers: dict[str, list[dict]] = {name: [] for name in self.commands}
        for round_ in range(warmup + number):
            for name, of_name in answers.items():
                of_name.append(self.turn(name))
                logging.info("round %d, %s: %.2f s", round_ + 1 - warmup, name, of_name[-1]["seconds"])
        return {name: of_name[warmup:] for name, of_name in answers.items()}

    def _answer(self, name):
        while line := self.processes[name].stdout.readline():
            with contextlib.suppress(ValueError):
                return json.loads(line)  # Libraries print a line of their own now and then.
        said = ["it said nothing", *self._log_of(name).read_text(encoding="utf-8").strip().splitlines()]
        last = next((line for line in reversed(said) if "Error" in line), said[-1])
        raise InputError(f"{name} ended: {last}; see {self._log_of(name)}")

    def _log_of(self, name):
        return self.log / f"{name.replace(' ', '-')}.log"


def peak_mib() -> float:
    """The most memory that this process has had, in MiB."""
    # On Linux `ru_maxrss` would be that of the parent, where it is more.
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return int(status.read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # On macOS, in bytes.
