"""Lengths as a histogram: a table for the terminal, a picture with the extra `plots`."""

import os
from collections import Counter

from kbert.errors import InputError

_BAR = 40


def percentile(lengths: Counter, share: float) -> int:
    """The least length that at least `share` of all do not exceed; 0 of none.

    Example:
        >>> percentile(Counter({3: 9, 100: 1}), 0.9), percentile(Counter({3: 9, 100: 1}), 0.95)
        (3, 100)
    """
    wanted, seen = share * lengths.total(), 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= wanted:
            return length
    return 0


def octaves(lengths: Counter) -> list[tuple[int, int, int]]:
    """`(from, to, number)` for 0, 1, 2-3, 4-7, 8-15 and so on, up to the longest.

    Example:
        >>> octaves(Counter({1: 5, 5: 2, 7: 1}))
        [(0, 0, 0), (1, 1, 5), (2, 3, 0), (4, 7, 3)]
    """
    bins = [0] * (max(lengths, default=0).bit_length() + 1)
    for length, number in lengths.items():
        bins[length.bit_length()] += number
    return [(1 << i >> 1, (1 << i) - 1, number) for i, number in enumerate(bins)]


def text_histogram(lengths: Counter) -> str:
    """A line for each octave: range, number, bar."""
    rows = octaves(lengths)
    most = max(number for _, _, number in rows) or 1
    ranges = [f"{low}-{high}" if low < high else f"{low}" for low, high, _ in rows]
    return "\n".join(
        f"{name:>17} {number:>11,} {'#' * -(-_BAR * number // most)}".rstrip()
        for name, (_, _, number) in zip(ranges, rows, strict=True)
    )


def draw_histograms(path: str | os.PathLike, histograms: dict[str, Counter], limit: int) -> None:
    """A PNG with one panel for each set of lengths, up to its 99th percentile.

    Args:
        path: File to write.
        histograms: Title -> lengths.
        limit: A length to mark, such as the longest that the model takes.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install '.[plots]' in the source folder") from error
    figure = Figure(figsize=(5 * len(histograms), 3.5), layout="constrained")
    for axes, (title, lengths) in zip(
        figure.subplots(1, len(histograms), squeeze=False)[0], histograms.items(), strict=True
    ):
        end = max(percentile(lengths, 0.99), 1) + 1
        shown = sorted(length for length in lengths if length < end)
        weights = [lengths[length] for length in shown]
        axes.hist(shown, bins=min(end, 60), range=(0, end), weights=weights)
        axes.set(title=title, xlabel="word pieces", ylabel="number")
        if limit < end:
            axes.axvline(limit, color="black", linestyle="dashed", label=f"{limit} pieces")
            axes.legend()
    figure.savefig(path, dpi=120)
