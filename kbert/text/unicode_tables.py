"""What a character is to the tokenizers: the answers of TensorFlow's Unicode tables, under any Python.

Python's `unicodedata` is of another version of Unicode in each release of Python (3.10: 13, 3.11: 14, 3.12:
15), and TensorFlow's ops have tables of three versions: categories of 15 (RE2), lower-casing of 13 and
decomposition of 16 (two builds of ICU). Versions of Unicode add characters and hardly ever change one.
So for nearly all characters `unicodedata` is right; the few others are listed here, with TensorFlow's
answers.
"""

import functools
import unicodedata
from typing import NamedTuple

_CHINESE_BLOCKS = (
    ("\u4e00", "\u9fff"),
    ("\u3400", "\u4dbf"),
    ("\uf900", "\ufaff"),
    ("\U00020000", "\U0002a6df"),
    ("\U0002a700", "\U0002b73f"),
    ("\U0002b740", "\U0002b81f"),
    ("\U0002b820", "\U0002ceaf"),
    ("\U0002f800", "\U0002fa1f"),
)
#: Inside of a regular expression's brackets.
CHINESE = "".join(f"{first}-{last}" for first, last in _CHINESE_BLOCKS)
SPACES = " \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


def _chars(ranges: str) -> frozenset[str]:
    """The characters of ranges such as "61D 890-891" (hexadecimal, the ends belong to them)."""
    ends = [(*part.split("-"), part)[:2] if "-" in part else (part, part) for part in ranges.split()]
    return frozenset(chr(code) for first, last in ends for code in range(int(first, 16), int(last, 16) + 1))


#: What came to Unicode or was changed after version 13 (up to 17) and is treated in some special way by
#: some version. To the tokenizers they are ordinary letters without upper and lower case, but for what
#: the tables after this one say.
UNSETTLED = _chars(
    "295 61D 888-89F 8C9-8D2 C3C ECE 1715 1734 180F 1AC1-1AEB 1B4E-1B4F 1B7D-1B7F 1C89-1C8A 1DFA 2C2F 2C5F "
    "2E53-2E5D A7C0-A7C1 A7CB-A7F4 FBC2 10570-105E4 10780-107BA 10D4E-10D85 10EC5-10EFF 10F82-10F89 "
    "11070-11074 110C2 11241 11383-113E2 116B9 1171E 11B00-11BE1 11DD9 11F00-11F5A 12FF1-12FF2 13439-13455 "
    "1611E-1612F 16D40-16D6F 16EA0-16ED3 16FF2-16FF3 1AFF0-1AFFE 1CF00-1CF46 1DF00-1DF2A 1E030-1E08F 1E2AE "
    "1E4EB-1E4EF 1E5EE-1E5FF 1E6E3-1E6FF"
)
_KINDS = {
    "accent": _chars(
        "898-89F 8CA-8D2 C3C ECE 180F 1AC1-1ACE 1DFA 10EFD-10EFF 10F82-10F85 11070 11073-11074 110C2 11241 "
        "1171E 11F00-11F01 11F36-11F3A 11F40 11F42 13440 13447-13455 1CF00-1CF2D 1CF30-1CF46 1E08F 1E2AE "
        "1E4EC-1E4EF"
    ),
    "alone": _chars("61D 1B7D-1B7E 2E53-2E5D 10F86-10F89 116B9 11B00-11B09 11F43-11F4F 12FF1-12FF2"),
    "invisible": _chars("890-891 13439-1343F"),
}
_CASES = {"cased": _chars("295"), "ignorable": _chars("1734 1171E")}
_ORDERS = {
    7: _chars("C3C"),
    9: _chars("1715 1734 11070 113CE-113D0 11F41-11F42 1612F"),
    218: _chars("1DFA"),
    220: _chars("899-89B 8CF-8D2 1AC3-1AC4 1ACA 10EFD-10EFF 10F83 10F85 1E4EE 1E5EF"),
    230: _chars(
        "897-898 89C-89F 8CA-8CE 1AC1-1AC2 1AC5-1AC9 1ACB-1ACE 10D69-10D6D 10F82 10F84 1E08F 1E2AE 1E4EF "
        "1E5EE"
    ),
    232: _chars("1E4EC-1E4ED"),
}
_DECOMPOSED = {
    "\U000105c9": "\U000105d2\u0307",
    "\U000105e4": "\U000105da\u0307",
    "\U00011383": "\U00011382\U000113c9",
    "\U00011385": "\U00011384\U000113bb",
    "\U0001138e": "\U0001138b\U000113c2",
    "\U00011391": "\U00011390\U000113c9",
    "\U000113c5": "\U000113c2\U000113c2",
    "\U000113c7": "\U000113c2\U000113b8",
    "\U000113c8": "\U000113c2\U000113c9",
    "\U00016121": "\U0001611e\U0001611e",
    "\U00016122": "\U0001611e\U00016129",
    "\U00016123": "\U0001611e\U0001611f",
    "\U00016124": "\U00016129\U0001611f",
    "\U00016125": "\U0001611e\U00016120",
    "\U00016126": "\U0001611e\U0001611e\U0001611f",
    "\U00016127": "\U0001611e\U00016129\U0001611f",
    "\U00016128": "\U0001611e\U0001611e\U00016120",
    "\U00016d68": "\U00016d67\U00016d67",
    "\U00016d69": "\U00016d63\U00016d67",
    "\U00016d6a": "\U00016d63\U00016d67\U00016d67",
}


class Character(NamedTuple):
    """What the tokenizers ask about a character.

    Attributes:
        kind: "space", "invisible" (it vanishes before all else), "accent" (it vanishes where letters are
            lower-cased), "alone" (punctuation or Chinese: a word by itself), or "letter" for all others.
        folded: It, in lower case and decomposed (NFD).
        order: Combining class. Of marks that follow each other the one of lower class goes first; 0 is
            for characters that keep their place.
        case: "cased", "ignorable" or "none", which decide whether a sigma beside it ends a word.
    """

    kind: str
    folded: str
    order: int
    case: str


@functools.cache
def character(char: str) -> Character:
    """What a character is to the tokenizers, under any version of Python.

    Example:
        >>> character("Ø")
        Character(kind='letter', folded='ø', order=0, case='cased')
    """
    if char not in UNSETTLED:
        return character_here(char)
    return Character(
        kind=_table_with(char, _KINDS, "letter"),
        folded=_DECOMPOSED.get(char, char),
        order=_table_with(char, _ORDERS, 0),
        case=_table_with(char, _CASES, "none"),
    )


def character_here(char: str) -> Character:
    """What a character is by the tables of the Python that runs, from which Google's code would take it."""
    return Character(
        kind=_kind_here(char),
        folded=unicodedata.normalize("NFD", char.lower()),
        order=unicodedata.combining(char),
        case=_case_here(char),
    )


def _table_with(char, tables, default):
    return next((name for name, chars in tables.items() if char in chars), default)


def _kind_here(char: str) -> str:
    category = unicodedata.category(char)
    if char in " \t\n\r" or category[0] == "Z":
        return "space"
    # Cs is one half of a character: no text, like bytes that are no UTF-8, for which U+FFFD stands.
    if char == "\ufffd" or category in ("Cc", "Cf", "Cs"):
        return "invisible"
    if category == "Mn":
        return "accent"
    if category[0] == "P" or char in "$+<=>^`|~" or any(a <= char <= z for a, z in _CHINESE_BLOCKS):
        return "alone"
    return "letter"


def _case_here(char: str) -> str:
    """Asks `lower` what a sigma between a letter and `char` would be; Python has no other way to tell."""
    if ("aΣ" + char).lower()[1] == "σ":
        return "cased"
    return "ignorable" if ("aΣ" + char + "a").lower()[1] == "σ" else "none"
