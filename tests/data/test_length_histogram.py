import builtins
from collections import Counter

import pytest

from kbert.data.length_histogram import draw_histograms, octaves, percentile, text_histogram
from kbert.errors import InputError

LENGTHS = Counter({1: 10, 2: 3, 3: 4, 8: 20, 300: 1})


def test_percentiles_are_lengths_that_occur():
    assert [percentile(LENGTHS, share) for share in (0, 0.2, 0.27, 0.5, 0.97, 1)] == [1, 1, 2, 8, 8, 300]
    assert percentile(Counter(), 0.5) == 0


def test_octaves_hold_everything_once():
    bins = octaves(LENGTHS)
    assert bins[:5] == [(0, 0, 0), (1, 1, 10), (2, 3, 7), (4, 7, 0), (8, 15, 20)]
    assert bins[-1] == (256, 511, 1)
    assert octaves(Counter({4: 1}))[-1] == (4, 7, 1) and octaves(Counter({3: 1}))[-1] == (2, 3, 1)


def test_bars_are_in_proportion_and_never_vanish():
    rows = [row.split() for row in text_histogram(LENGTHS).splitlines()]
    assert rows[4] == ["8-15", "20", "#" * 40] and rows[1] == ["1", "10", "#" * 20]
    assert rows[-1] == ["256-511", "1", "##"] and rows[3] == ["4-7", "0"]


def test_a_picture_of_each_set_of_lengths(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install '.[plots]' in the source folder brings it")
    draw_histograms(tmp_path / "a.png", {"one": LENGTHS}, 128)
    draw_histograms(tmp_path / "b.png", {"one": LENGTHS, "two": Counter({500: 9, 700: 9})}, 128)
    sizes = []
    for name in ("a.png", "b.png"):
        content = (tmp_path / name).read_bytes()
        assert content.startswith(b"\x89PNG\r\n")
        sizes.append(int.from_bytes(content[16:20], "big"))
    assert sizes == [600, 1200]


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"\.\[plots\]"):
        draw_histograms(tmp_path / "a.png", {"one": LENGTHS}, 128)
