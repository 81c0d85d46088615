"""Flags made of a dataclass: types, defaults, help and the way back."""

from dataclasses import dataclass
from typing import Literal

import pytest
from absl import flags

from kbert.dataclass_flags import define_flags, settings_from_flags
from kbert.errors import InputError
from kbert.run_settings import RunSettings


@dataclass(frozen=True)
class Settings:
    """Some settings.

    Args:
        size_of_it: How large it is; and
            a second line.
        share: Of them.
        kind: Which.
        limit: None for no limit.
        name: Left out.
    """

    size_of_it: int = 3
    share: float = 0.5
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    name: str = "x"


@pytest.fixture
def values(monkeypatch):
    fresh = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", fresh)
    for define in ("integer", "float", "enum"):
        original = getattr(flags, f"DEFINE_{define}")
        monkeypatch.setattr(
            flags, f"DEFINE_{define}", lambda *a, f=original, **k: f(*a, flag_values=fresh, **k)
        )
    import kbert.dataclass_flags as module

    monkeypatch.setitem(module._DEFINE, int, flags.DEFINE_integer)
    monkeypatch.setitem(module._DEFINE, float, flags.DEFINE_float)
    define_flags(Settings, leave_out=("name",))
    return fresh


def test_flags_have_the_fields_types_defaults_and_help(values):
    values(["program"])
    assert settings_from_flags(Settings, name="y") == Settings(name="y")
    assert values["size_of_it"].help == "How large it is; and a second line."
    assert "name" not in values


def test_values_come_back_in_the_dataclass(values):
    values(["program", "--size_of_it=7", "--share=0.25", "--kind=b", "--limit=9"])
    assert settings_from_flags(Settings, name="z") == Settings(7, 0.25, "b", 9, "z")
    with pytest.raises(flags.Error, match="kind"):
        values(["program", "--kind=c"])


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"patience": 0}, {"warmup_ratio": 1.5}, {"learning_rate": float("nan")}]
    + [{"seed": -1}, {"seed": 2**32}],
)
def test_settings_out_of_range_are_refused_by_their_flag(wrong):
    with pytest.raises(InputError, match=f"--{next(iter(wrong))}="):
        RunSettings(**wrong)


def test_patience_is_for_runs_that_keep_the_best_epoch():
    assert RunSettings(patience=2, seed=2**32 - 1).keep == "best"
    with pytest.raises(InputError, match="--patience ends a run .* --keep=last keeps another.*leave one out"):
        RunSettings(patience=2, keep="last")
