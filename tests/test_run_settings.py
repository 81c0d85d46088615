"""Settings and scripts offer what the library knows; they name it again, so that `--help` is quick."""

import ast
import re
import typing
from pathlib import Path

import pytest

from kbert.errors import InputError
from kbert.run_settings import RunSettings
from kbert.training.precision import PRECISIONS
from kbert.training.schedules import SCHEDULES
from kbert.training.strategies import STRATEGIES

KNOWN = {"schedule": SCHEDULES, "precision": PRECISIONS, "strategy": STRATEGIES}
#: float16 needs care that pretraining is worth; fine-tuning has no work for several processes.
LEFT_OUT = {("finetune", "precision"): {"float16"}, ("finetune", "strategy"): {"multi_worker"}}


@pytest.mark.parametrize("script", ["finetune", "pretrain"])
def test_the_choices_are_those_of_the_library(script):
    source = (Path(__file__).resolve().parents[1] / "tf_scripts" / f"{script}.py").read_text("utf-8")
    found = re.findall(r'DEFINE_enum\(\s*"(\w+)", "\w+", (\[.*?\])', source)
    choices = {name: set(ast.literal_eval(values)) for name, values in found if name in KNOWN}
    if script == "finetune":
        hints = typing.get_type_hints(RunSettings)
        choices |= {name: set(typing.get_args(hints[name])) for name in ("schedule", "precision")}
    assert choices == {name: set(KNOWN[name]) - LEFT_OUT.get((script, name), set()) for name in KNOWN}


def test_which_weights_are_kept_is_one_of_two():
    with pytest.raises(InputError, match="--keep=lowest; expected best or last"):
        RunSettings(keep=typing.cast(typing.Any, "lowest"))
