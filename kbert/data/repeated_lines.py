"""`RepeatedLines`: how much of a corpus it has said before, in bounded memory."""

import hashlib
import heapq


class RepeatedLines:
    """Counts lines that are the same as an earlier one.

    Lines are remembered by 8 bytes of hash. While no more than `capacity` different ones come, the share
    is exact; then only lines whose hash ends in so many zero bits are looked at, half of them, a quarter,
    and so on. As all copies of a line have the same hash, the share among those is an unbiased estimate.

    Args:
        capacity: Most different lines to remember; one takes some 100 bytes.

    Example:
        >>> lines = RepeatedLines()
        >>> for line in (b"Page 1", b"A text.", b"Page 1"):
        ...     lines.add(line)
        >>> round(lines.share, 2), lines.most_frequent(1)
        (0.33, [('Page 1', 2)])

    Reference:
        Gibbons, 2001, "Distinct sampling for highly-accurate answers to distinct values queries".
    """

    _EXCERPT_CHARS = 60

    def __init__(self, capacity: int = 1_000_000):
        self._capacity = capacity
        self._mask = 0
        self._counts: dict[int, int] = {}
        self._excerpts: dict[int, str] = {}  # of those that came again

    def add(self, line: bytes) -> None:
        """Takes in the next line."""
        key = int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "big")
        if key & self._mask:
            return
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] == 2:
            self._excerpts[key] = line.decode("utf-8", "replace")[: self._EXCERPT_CHARS]
        while len(self._counts) > self._capacity:
            self._mask = self._mask << 1 | 1
            self._counts = {key: n for key, n in self._counts.items() if not key & self._mask}
            self._excerpts = {key: text for key, text in self._excerpts.items() if not key & self._mask}

    @property
    def is_exact(self) -> bool:
        """Whether all lines were looked at."""
        return self._mask == 0

    @property
    def share(self) -> float:
        """Lines that are the same as an earlier one, as a share of all lines."""
        lines = sum(self._counts.values())
        return (lines - len(self._counts)) / lines if lines else 0.0

    def most_frequent(self, number: int) -> list[tuple[str, int]]:
        """The beginnings of lines that came several times, and how often, among those looked at."""
        keys = heapq.nsmallest(
            number, self._excerpts, key=lambda key: (-self._counts[key], self._excerpts[key])
        )
        return [(self._excerpts[key], self._counts[key]) for key in keys]
