import random

import pytest

from kbert.data.repeated_lines import RepeatedLines


def test_exact_while_there_is_room():
    lines = RepeatedLines(capacity=4)
    for line in (b"a", b"b", b"a", b"c", b"a", b"b", b"d"):
        lines.add(line)
    assert lines.is_exact and lines.share == pytest.approx(3 / 7)
    assert lines.most_frequent(5) == [("a", 3), ("b", 2)]
    assert lines.most_frequent(1) == [("a", 3)]
    assert RepeatedLines().share == 0


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_an_estimate_in_bounded_memory(share):
    rng = random.Random(3)
    # Some lines come again, a few of them very often, as boilerplate does.
    numbers = [
        int(rng.paretovariate(0.5)) % 9000 if rng.random() < share else 10_000 + i for i in range(60_000)
    ]
    lines = RepeatedLines(capacity=4000)
    for number in numbers:
        lines.add(b"line %d" % number)
        assert len(lines._counts) <= 4000
    assert not lines.is_exact and len(lines._excerpts) <= 4000
    assert lines.share == pytest.approx(1 - len(set(numbers)) / len(numbers), abs=0.1)


def test_excerpts_are_short_and_readable():
    lines = RepeatedLines()
    for _ in range(2):
        lines.add("长".encode() * 500)
        lines.add(b"\xff broken")
    assert [text for text, _ in lines.most_frequent(2)] == ["长" * 60, "\ufffd broken"]
