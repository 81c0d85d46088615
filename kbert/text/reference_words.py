"""Raw text to normalized words in plain Python: the first half of BERT's tokenization, as in the graph."""

import itertools
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kbert.text.unicode_tables import character

_LONGEST_REMEMBERED = 40
_MOST_REMEMBERED = 100_000


class Memory(dict):
    """A function of a string and its answers to short ones; all forgotten when they become too many.

    Args:
        function: Asked for `memory[text]` when the answer is not known.
    """

    def __init__(self, function: Callable[[str], Any]):
        super().__init__()
        self._function = function

    def __missing__(self, text: str):
        answer = self._function(text)
        if len(text) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[text] = answer
        return answer


class NormalWords(dict):
    """Text to normalized words (Google's `BasicTokenizer`), and back to the characters they come from.

    As a dict it maps a code point to what becomes of it, for `str.translate`; that is worked out when a
    character first occurs. Only sigmas and the order of some rare marks depend on their neighbours.

    Args:
        lowercase: Whether to lower-case and to strip accents.
    """

    def __init__(self, lowercase: bool):
        super().__init__()
        self._lowercase = lowercase
        self._movable = set()
        self._widths = Memory(self._width)

    def __missing__(self, code: int) -> str:
        parts = self._parts(chr(code))
        if any(character(part).order and character(part).kind != "accent" for part in parts):
            self._movable.add(chr(code))
        self[code] = text = self._joined(parts)
        return text

    def split(self, text: str) -> list[str]:
        """The words of a text."""
        if not self._lowercase:
            return text.translate(self).split()
        if "Σ" in text:
            text = _lower_sigmas(text)
        normal = text.translate(self)
        if self._movable and not self._movable.isdisjoint(text):
            normal = self._joined(_in_order([part for char in text for part in self._parts(char)]))
        return normal.split()

    def origins(self, text: str) -> array:
        """For each byte of the words, joined, the place of the character in `text` that it comes from.

        Characters in place of bytes would do too but for marks that change places, where the
        graph, which counts bytes, must not be contradicted.
        """
        widths = map(self._widths.__getitem__, text)
        return array("i", itertools.chain.from_iterable(map(itertools.repeat, itertools.count(), widths)))

    def _width(self, char: str) -> int:
        """The bytes that a character leaves in the words."""
        return len(self[ord(char)].replace(" ", "").encode())

    def _parts(self, char: str) -> str:
        kind = character(char).kind
        if kind == "invisible":
            return ""
        if kind == "space":
            return " "
        return character(char).folded if self._lowercase else char

    def _joined(self, parts: Iterable[str]) -> str:
        kinds = ((part, character(part).kind) for part in parts)
        return "".join(
            f" {part} " if kind == "alone" else part
            for part, kind in kinds
            if not (self._lowercase and kind == "accent")
        )


def _in_order(parts: Sequence[str]) -> Iterable[str]:
    """Each run of combining marks in Unicode's canonical order."""
    runs = itertools.groupby(parts, key=lambda part: character(part).order > 0)
    return itertools.chain.from_iterable(
        sorted(run, key=lambda part: character(part).order) if marks else run for marks, run in runs
    )


def _case(char: str) -> str:
    found = character(char)
    return "ignorable" if found.kind == "invisible" else found.case


_CASES = Memory(_case)


def _lower_sigmas(text: str) -> str:
    """The text with each capital sigma as the small one that ends a word, ς, or the other, σ.

    It ends a word after a letter with case and not before one; ignorable characters are looked over.
    """
    cases = enumerate(map(_CASES.__getitem__, text))
    counting = [("none", -1), *((case, i) for i, case in cases if case != "ignorable"), ("none", -1)]
    chars = list(text)
    for (before, _), (_, place), (after, _) in zip(counting, counting[1:], counting[2:], strict=False):
        if chars[place] == "Σ":
            chars[place] = "ς" if before == "cased" and after != "cased" else "σ"
    return "".join(chars)
