"""Options of tasks: only what was set is passed on, only to a task that knows it, and each has a flag."""

import dataclasses
import re

import pytest

from kbert.dataclass_flags import _argument_lines
from kbert.errors import InputError
from kbert.task_options import TaskOptions
from kbert.tasks import TASKS


def test_only_what_was_set_is_passed_on():
    assert TaskOptions(stride=3, crf=False).given("tagging", ["stride", "crf", "scheme"]) == {
        "stride": 3,
        "crf": False,
    }
    with pytest.raises(InputError, match="--crf says nothing to --task=regression.*long_text"):
        TaskOptions(crf=True).given("regression", ["long_text"])


def test_every_option_of_a_task_is_a_flag():
    flags = {field.name for field in dataclasses.fields(TaskOptions)}
    of_tasks = {name for task in TASKS.values() for name in task.options}
    assert of_tasks == flags


def test_help_says_what_each_option_is_by_default():
    """None, which the flags have, says nothing."""
    said = {name: text.partition("default: ")[2] for name, text in _argument_lines(TaskOptions).items()}
    for task in TASKS.values():
        for name, value in task.options.items():
            value = {True: "yes", False: "no", None: r"\w+"}.get(value, value)
            assert re.search(rf"\b{value}\b", said[name]), f"--{name} of {task.name}"
