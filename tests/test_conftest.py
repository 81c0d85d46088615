"""The limit of a run of all tests: what of them still begins."""

import types

import pytest

from tests import conftest


@pytest.mark.parametrize(
    "minutes, is_slow, begins",
    [(None, True, True), (0, False, True), (0, True, False), (1e6, True, True)],
)
def test_slow_tests_begin_within_their_minutes(minutes, is_slow, begins):
    item = types.SimpleNamespace(
        config=types.SimpleNamespace(getoption=lambda name: minutes),
        get_closest_marker=lambda name: is_slow and name == "slow",
    )
    if begins:
        conftest.pytest_runtest_setup(item)
    else:
        with pytest.raises(pytest.skip.Exception, match="--slow_minutes=0 are over"):
            conftest.pytest_runtest_setup(item)
