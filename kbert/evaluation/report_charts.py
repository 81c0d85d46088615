"""Charts as SVG, drawn by hand: no library, no script, and colours that the page chooses."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kbert.evaluation.report_text import escape, number

#: More points than this are drawn as a line alone.
_MOST_DOTS = 40
_LARGEST_DOT = 7.0


@dataclass(frozen=True)
class Plane:
    """Where a value is drawn, in units of the picture; y grows upwards, as in mathematics.

    Args:
        x: First and last value of the horizontal axis, not the same.
        y: Of the vertical one.
        width: Of the picture, axes included.
        height: Likewise.
        bottom: Room for those of the horizontal one, and its name.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 420
    height: int = 240
    bottom: int = 40

    @functools.cached_property
    def left(self) -> int:
        """Where the horizontal axis begins: beside the longest number of the vertical one."""
        return max(52, 14 + 7 * max(len(_tick(value)) for value in ticks(*self.y)))

    @property
    def right_edge(self) -> int:
        """Where the horizontal axis ends."""
        return self.width - 14

    @property
    def top_edge(self) -> int:
        """Where the vertical axis ends."""
        return 12

    @property
    def floor(self) -> int:
        """Where the horizontal axis lies."""
        return self.height - self.bottom

    def at_x(self, value: float) -> float:
        """From the left."""
        share = (value - self.x[0]) / (self.x[1] - self.x[0])
        return round(self.left + share * (self.right_edge - self.left), 2)

    def at_y(self, value: float) -> float:
        """From the top."""
        share = (value - self.y[0]) / (self.y[1] - self.y[0])
        return round(self.floor - share * (self.floor - self.top_edge), 2)


def line_chart(lines: Sequence[Mapping[str, Any]], title: str, x_label: str = "epoch") -> str:
    """One line for each of `learning_curves`' lines; points that are no number are left out.

    Args:
        lines: Dicts of `name` and `points`, lists of (x, y).
        title: For those who do not see the picture.
        x_label: Below the horizontal axis.
    """
    kept = [[(x, y) for x, y in line["points"] if y is not None] for line in lines]
    points = [point for line in kept for point in line]
    if not points:
        return ""
    xs, ys = zip(*points, strict=True)
    plane = Plane((0.0, float(max(xs))), _range(ys), width=300, height=190, bottom=36)
    drawn = [_line(plane, line, place) for place, line in enumerate(kept)]
    return _svg(plane, title, [*_axes(plane, x_label, whole_x=True), *drawn])


def histogram(bins: Sequence[Mapping[str, int]], limit: int, title: str, x_label: str) -> str:
    """Bars side by side, and a dashed line at a limit that lies among them.

    Args:
        bins: Dicts of `from`, `to` and `number`; the last may be wider than it is drawn.
        limit: Of the same unit as `from`.
        title: For those who do not see the picture.
        x_label: Below the horizontal axis.
    """
    most = max(row["number"] for row in bins)
    width = bins[1]["from"] - bins[0]["from"] if len(bins) > 1 else bins[0]["to"] + 1
    plane = Plane((0.0, float(len(bins) * width)), (0.0, float(max(most, 1))), width=640)
    bars = [_bar(plane, row, place * width, width) for place, row in enumerate(bins)]
    mark = []
    if limit <= plane.x[1]:
        x = plane.at_x(limit)
        mark = [
            f"<line class='limit' x1='{x}' x2='{x}' y1='{plane.top_edge}' y2='{plane.floor}'/>",
            f"<text class='limit' x='{x - 4}' y='{plane.top_edge + 10}' text-anchor='end'>{limit}</text>",
        ]
    return _svg(plane, title, [*_axes(plane, x_label, whole_x=True), *bars, *mark])


def calibration_chart(bins: Sequence[Mapping[str, Any]], title: str) -> str:
    """Confidence to the right, accuracy upwards: a dot for each bin, the larger the more rows are in it.

    Args:
        bins: Of `kbert.evaluation.calibration`.
        title: For those who do not see the picture.
    """
    plane = Plane((0.0, 1.0), (0.0, 1.0), width=340, height=320)
    filled = [row for row in bins if row["count"]]
    most = max((row["count"] for row in filled), default=1)
    dots = []
    for row in filled:
        x, y = plane.at_x(row["confidence"]), plane.at_y(row["accuracy"])
        right = plane.at_y(row["confidence"])
        radius = round(max(2.0, _LARGEST_DOT * math.sqrt(row["count"] / most)), 2)
        told = (
            f"{row['count']:,} rows: confidence {number(row['confidence'])}, "
            f"accuracy {number(row['accuracy'])}"
        )
        dots.append(f"<line class='gap' x1='{x}' x2='{x}' y1='{y}' y2='{right}'/>")
        dots.append(f"<circle class='s0' cx='{x}' cy='{y}' r='{radius}'><title>{told}</title></circle>")
    axes = _axes(plane, "confidence", y_label="accuracy")
    return _svg(plane, title, [*axes, _diagonal(plane), *dots])


def scatter_chart(
    pairs: Sequence[Sequence[float | None]], title: str, y_label: str = "predicted", same_unit: bool = True
) -> str:
    """A dot for each pair of numbers; none for what is no number.

    Args:
        pairs: Of `report_parts.number_pairs`.
        title: For those who do not see the picture.
        y_label: What the second numbers are.
        same_unit: Whether both have one unit, and so one scale and the line on which they are equal.
    """
    kept = [(x, y) for x, y in pairs if x is not None and y is not None]
    if not kept:
        return ""
    xs, ys = zip(*kept, strict=True)
    x_range, y_range = (_range(xs + ys),) * 2 if same_unit else (_range(xs), _range(ys))
    plane = Plane(x_range, y_range, width=340, height=320)
    dots = [f"<circle class='dot' cx='{plane.at_x(x)}' cy='{plane.at_y(y)}' r='2.5'/>" for x, y in kept]
    line = [_diagonal(plane)] if same_unit else []
    return _svg(plane, title, [*_axes(plane, "right", y_label=y_label), *line, *dots])


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most so many: multiples of 1, 2 or 5 times a power of ten.

    Example:
        >>> ticks(0.0, 1.0), ticks(0, 37)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0])
    """
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        # Of a number that is a multiple but for rounding, the multiple is meant.
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(place * step, digits) for place in range(first, last + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the largest value, with a little room at both ends."""
    low, high = float(min(values)), float(max(values))
    room = (high - low) / 20 or abs(low) / 10 or 0.5
    return low - room, high + room


def _svg(plane: Plane, title: str, parts: Sequence[str]) -> str:
    return (
        f"<svg viewBox='0 0 {plane.width} {plane.height}' "
        f"width='{plane.width}' role='img' aria-label='{escape(title)}'>{''.join(parts)}</svg>"
    )


def _axes(plane: Plane, x_label: str, y_label: str = "", whole_x: bool = False) -> list[str]:
    """Grid, numbers and names; `whole_x` leaves out fractions on the horizontal axis."""
    parts = []
    for value in ticks(*plane.y):
        y = plane.at_y(value)
        parts.append(f"<line class='grid' x1='{plane.left}' x2='{plane.right_edge}' y1='{y}' y2='{y}'/>")
        parts.append(f"<text x='{plane.left - 6}' y='{y + 4}' text-anchor='end'>{_tick(value)}</text>")
    for value in ticks(*plane.x, most=8):
        if whole_x and value != int(value):
            continue
        x = plane.at_x(value)
        parts.append(f"<line class='tick' x1='{x}' x2='{x}' y1='{plane.floor}' y2='{plane.floor + 4}'/>")
        parts.append(f"<text x='{x}' y='{plane.floor + 17}' text-anchor='middle'>{_tick(value)}</text>")
    parts.append(
        f"<line class='axis' x1='{plane.left}' x2='{plane.right_edge}' "
        f"y1='{plane.floor}' y2='{plane.floor}'/>"
    )
    middle = (plane.left + plane.right_edge) / 2
    parts.append(f"<text x='{middle}' y='{plane.height - 6}' text-anchor='middle'>{escape(x_label)}</text>")
    if y_label:
        place = f"12 {(plane.top_edge + plane.floor) / 2}"
        parts.append(
            f"<text transform='translate({place}) rotate(-90)' text-anchor='middle'>{escape(y_label)}</text>"
        )
    return parts


def _tick(value: float) -> str:
    return f"{value:,.10g}"


def _line(plane: Plane, points: Sequence[tuple[float, float]], place: int) -> str:
    places = [(plane.at_x(x), plane.at_y(y)) for x, y in points]
    path = " ".join(f"{x},{y}" for x, y in places)
    drawn = f"<polyline class='line s{place}' points='{path}'/>" if len(places) > 1 else ""
    if len(places) > _MOST_DOTS:
        return drawn
    return drawn + "".join(
        f"<circle class='s{place}' cx='{x}' cy='{y}' r='3'><title>{number(value)}</title></circle>"
        for (x, y), (_, value) in zip(places, points, strict=True)
    )


def _bar(plane: Plane, row: Mapping[str, int], begin: float, width: float) -> str:
    left, right = plane.at_x(begin), plane.at_x(begin + width)
    top = plane.at_y(row["number"])
    span = f"{row['from']:,}" if row["from"] == row["to"] else f"{row['from']:,} to {row['to']:,}"
    return (
        f"<rect class='s0' x='{left}' y='{top}' width='{max(right - left - 1, 0.5):.2f}' "
        f"height='{plane.floor - top:.2f}'><title>{span}: {row['number']:,}</title></rect>"
    )


def _diagonal(plane: Plane) -> str:
    low, high = plane.x
    return (
        f"<line class='diagonal' x1='{plane.at_x(low)}' y1='{plane.at_y(low)}' "
        f"x2='{plane.at_x(high)}' y2='{plane.at_y(high)}'/>"
    )
