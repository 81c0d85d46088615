"""Flags of a script from the fields of a dataclass, defined in one place; and lists of numbers."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from absl import flags

from kbert.errors import InputError

flags.disclaim_key_flags()  # They are those of the script that asks for them.

Settings = TypeVar("Settings")

_DEFINE = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
}


def define_flags(settings: type, leave_out: tuple[str, ...] = ()) -> None:
    """Defines a flag for each field of a dataclass; its line under `Args:` in the docstring is the help.

    Args:
        settings: Its fields are int, float, bool, str, or a `Literal` of strings; or one of these or None.
        leave_out: Fields that the script sets otherwise.
    """
    hints, helps = typing.get_type_hints(settings), _argument_lines(settings)
    for field in dataclasses.fields(settings):
        if field.name not in leave_out:
            kind = _without_none(hints[field.name])
            if typing.get_origin(kind) is typing.Literal:
                choices = list(typing.get_args(kind))
                default: Any = field.default
                flags.DEFINE_enum(field.name, default, choices, helps[field.name])
            else:
                _DEFINE[kind](field.name, field.default, helps[field.name])


def settings_from_flags(settings: type[Settings], **more: Any) -> Settings:
    """The dataclass with the flags' values, and with `more` for the fields that are no flags."""
    names = [field.name for field in dataclasses.fields(typing.cast(Any, settings)) if field.name not in more]
    return settings(**{name: flags.FLAGS[name].value for name in names}, **more)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def _argument_lines(settings: type) -> dict[str, str]:
    """Name -> what the docstring says of the argument, in one line."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(settings) or "", re.M | re.S)
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.M)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


def numbers_of(flag: str, kind: Callable[[str], Any]) -> list:
    """The numbers in a flag that is a list.

    Args:
        flag: Its name.
        kind: `int` or `float`.

    Raises:
        InputError: There is none, or one is no number.
    """
    values: list[str] = flags.FLAGS[flag].value or []
    if not values:
        raise InputError(f"--{flag} is empty; expected a number, or several with commas between them")
    try:
        return [kind(value) for value in values]
    except ValueError as error:
        raise InputError(f"--{flag}={','.join(values)}: {error}") from error
