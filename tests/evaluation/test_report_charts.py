"""Charts: every value at its place, in well-formed SVG, whatever the texts are."""

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from kbert.evaluation import calibration
from kbert.evaluation.report_charts import (
    Plane,
    calibration_chart,
    histogram,
    line_chart,
    scatter_chart,
    ticks,
)


def parts(svg, tag, kind=None):
    root = ET.fromstring(svg)
    return [part for part in root.iter(tag) if kind is None or part.get("class", "").split()[-1] == kind]


def coordinates(polyline):
    return [tuple(map(float, pair.split(","))) for pair in polyline.get("points").split()]


def assert_affine(values, places):
    """Places must be a straight function of the values."""
    slope, intercept = np.polyfit(values, places, 1)
    assert np.allclose(slope * np.asarray(values) + intercept, places, atol=0.02)
    return slope


def test_the_plane_puts_its_corners_into_the_corners():
    plane = Plane((-1.0, 3.0), (10.0, 20.0), width=200, height=100, bottom=30)
    assert (plane.at_x(-1), plane.at_x(3), plane.at_x(1)) == (52, 186, 119)
    assert (plane.at_y(10), plane.at_y(20), plane.at_y(15)) == (70, 12, 41)


@pytest.mark.parametrize(
    "low, high", [(0, 1), (0, 0.037), (-3, 12), (0.8612, 0.8733), (0, 4000), (5, 5.5), (1e-7, 3e-7)]
)
def test_ticks_are_round_few_and_inside(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])
    assert round(steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9), 6) in (1, 2, 5)
    assert min(found) >= low - 1e-12 and max(found) <= high + 1e-12
    assert low > found[0] - steps[0] and high < found[-1] + steps[0]


def test_long_numbers_of_the_vertical_axis_have_room():
    svg = line_chart([{"name": "a", "points": [[1, 0.8941], [2, 0.8943], [3, 0.89405]]}], "pearson")
    numbers = [text for text in parts(svg, "text") if text.get("text-anchor") == "end"]
    assert max(len(text.text) for text in numbers) >= 7
    assert all(float(text.get("x")) > 6.5 * len(text.text) for text in numbers)


def test_lines_go_through_their_points():
    points = [[0.5, 3.0], [1.0, float("0.25")], [2.0, None], [3.0, 1.5]]
    svg = line_chart([{"name": "a", "points": points}, {"name": "b", "points": [[1, 2.0]]}], "loss <&>'\"")
    (line,) = parts(svg, "polyline")
    xs, ys = zip(*coordinates(line), strict=True)
    assert assert_affine([0.5, 1.0, 3.0], xs) > 0 and assert_affine([3.0, 0.25, 1.5], ys) < 0
    dots = parts(svg, "circle", "s0")
    assert [(float(dot.get("cx")), float(dot.get("cy"))) for dot in dots] == list(zip(xs, ys, strict=True))
    assert [dot.find("title").text for dot in dots] == ["3.0000", "0.2500", "1.5000"]
    assert len(parts(svg, "circle", "s1")) == 1  # A single point is a dot without a line.
    assert ET.fromstring(svg).get("aria-label") == "loss <&>'\""


def test_ticks_of_a_chart_stand_where_their_values_are():
    svg = line_chart([{"name": "a", "points": [[1, 0.0], [4, 1.0]]}], "loss")
    (line,) = parts(svg, "polyline")
    (x1, y0), (x4, y1) = coordinates(line)
    texts = {(part.get("text-anchor"), part.text): part for part in parts(svg, "text")}
    for value in (0, 0.2, 0.4, 0.6, 0.8, 1):
        y = y0 + value * (y1 - y0)
        assert float(texts["end", f"{value:g}"].get("y")) - 4 == pytest.approx(y, abs=0.02)
    for value in (1, 2, 3, 4):
        x = x1 + (value - 1) / 3 * (x4 - x1)
        assert float(texts["middle", f"{value}"].get("x")) == pytest.approx(x, abs=0.02)


def test_a_line_without_numbers_is_no_chart():
    assert line_chart([{"name": "a", "points": [[1, None]]}], "loss") == ""
    assert scatter_chart([[1.0, None]], "numbers") == ""
    flat = line_chart([{"name": "a", "points": [[1, 0.0], [2, 0.0]]}], "loss")
    assert len({y for _, y in coordinates(parts(flat, "polyline")[0])}) == 1


def test_bars_are_as_high_as_their_numbers():
    bins = [{"from": 20 * n, "to": 20 * n + 19, "number": m} for n, m in enumerate([4, 0, 10])]
    bins[-1]["to"] = 700
    svg = histogram(bins, 30, "lengths", "pieces")
    bars = parts(svg, "rect")
    assert [float(bar.get("height")) / float(bars[2].get("height")) for bar in bars] == pytest.approx(
        [0.4, 0, 1]
    )
    (axis,) = parts(svg, "line", "axis")
    for bar in bars:
        assert float(bar.get("y")) + float(bar.get("height")) == pytest.approx(float(axis.get("y1")))
    assert [bar.find("title").text for bar in bars] == ["0 to 19: 4", "20 to 39: 0", "40 to 700: 10"]
    (mark,) = parts(svg, "line", "limit")
    begins = [float(bar.get("x")) for bar in bars]
    assert float(mark.get("x1")) == pytest.approx((begins[1] + begins[2]) / 2, abs=0.02)
    assert not parts(histogram(bins, 512, "lengths", "pieces"), "line", "limit")
    assert len(parts(histogram(bins[:1], 30, "lengths", "pieces"), "rect")) == 1


def test_bins_of_calibration_stand_at_confidence_and_accuracy():
    table = calibration(np.array([0.55, 0.57, 0.95, 0.97, 0.99]), np.array([1, 0, 1, 1, 0]))
    svg = calibration_chart(table["bins"], "calibration")
    dots = parts(svg, "circle")
    (diagonal,) = parts(svg, "line", "diagonal")
    x0, y0, x1, y1 = (float(diagonal.get(name)) for name in ("x1", "y1", "x2", "y2"))
    shares = [
        ((float(dot.get("cx")) - x0) / (x1 - x0), (float(dot.get("cy")) - y0) / (y1 - y0)) for dot in dots
    ]
    assert shares == [pytest.approx((0.56, 0.5), abs=1e-3), pytest.approx((0.97, 2 / 3), abs=1e-3)]
    assert float(dots[0].get("r")) < float(dots[1].get("r"))
    assert dots[1].find("title").text == "3 rows: confidence 0.9700, accuracy 0.6667"


def test_equal_numbers_are_dots_on_the_diagonal():
    svg = scatter_chart([[0.0, 0.0], [5.0, 5.0], [2.0, 4.0]], "numbers")
    (diagonal,) = parts(svg, "line", "diagonal")
    x0, y0, x1, y1 = (float(diagonal.get(name)) for name in ("x1", "y1", "x2", "y2"))
    xs = [float(dot.get("cx")) for dot in parts(svg, "circle")]
    ys = [float(dot.get("cy")) for dot in parts(svg, "circle")]
    assert_affine([0, 5, 2], xs)
    assert_affine([0, 5, 4], ys)
    on_line = [(x - x0) / (x1 - x0) - (y - y0) / (y1 - y0) for x, y in zip(xs, ys, strict=True)]
    assert on_line[:2] == pytest.approx([0, 0], abs=1e-3) and on_line[2] < -0.3


def test_cosines_have_a_scale_of_their_own():
    svg = scatter_chart([[0.0, 0.1], [5.0, 0.9]], "numbers", "cosine", same_unit=False)
    assert not parts(svg, "line", "diagonal")
    first, last = (float(dot.get("cy")) for dot in parts(svg, "circle"))
    assert first - last > 200
    assert "cosine" in [text.text for text in parts(svg, "text")]
