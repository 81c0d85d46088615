"""Paragraphs become sentences, by rules, for English and Chinese."""

import re

#: Where a sentence may end: a mark, and what closes with it. ASCII marks need white space or a Chinese
#: character after them, so "3.14", "U.S.A" and "example.org" hold no candidate; Chinese marks need nothing.
_CANDIDATE = re.compile(
    r"""(?: [.!?…]+ ["'”’»)\]}]* (?= \s | $ | [\u3400-\u9fff“「『《] )"""
    r"""  | [。！？；｡]+ [。！？；｡!?…]* [”’」』》）】)\]"]* )""",
    re.VERBOSE,
)
_CHINESE_MARKS = "。！？；｡"
_CHINESE = re.compile(r"[\u3400-\u9fff“「『《，、：]")
_OPENING = "\"'“‘«([{"

#: Never the end of a sentence: a name or a number follows.
_BEFORE_NAMES = frozenset(
    "mr mrs ms mme messrs dr drs prof st rev hon gov sen rep pres gen col maj capt lt cmdr sgt cpl adm "
    "sir fr hr mt ft vs cf viz e.g i.e ca approx resp".split()
)
#: Not the end before a number: "No. 5", "Jan. 3".
_BEFORE_NUMBERS = frozenset(
    "no nos vol vols fig figs eq sec ch chap art p pp ed par tab op jan feb mar apr jun jul aug sep sept "
    "oct nov dec".split()
)
#: The end only where the next word is one that begins sentences: "Apple Inc. said", "Apple Inc. The".
_UNDECIDED = frozenset(
    "etc al inc ltd co corp bros jr sr esq dept univ ave blvd rd a.m p.m ph.d b.a m.a".split()
)
_BEGINNERS = frozenset(
    "a after all although an and as at but by for from he her his how however i if in instead it its later "
    "many more most my no nor now on one only or our perhaps she since so some such that the their then "
    "there these they this those thus to today two under until we what when where which while who why with "
    "yesterday yet you your".split()
)
_WORD = re.compile(r"(?:[^\W_]|[.'’&-](?=[^\W_]))+")
_LIST_NUMBER = re.compile(r"\W*(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})\.")


def split_sentences(text: str) -> list[str]:
    """The sentences of a paragraph, stripped; together they are the text but for white space between.

    An English sentence ends at `.`, `!`, `?` or an ellipsis, with the quotation marks and brackets that
    close there, before white space and something that is no small letter. Titles ("Dr. Li"), initials
    ("J. R. Smith"), abbreviations ("No. 5", "Inc."), list numbers ("1. First") and decimals do not end
    it. A Chinese sentence ends at 。！？； with the quotation marks that close there, and at … before
    more Chinese. The rules err on the side of too long sentences: a lost border costs a pair of sentences
    little, a wrong one makes half sentences.

    Args:
        text: One paragraph; line ends count as spaces.

    Example:
        >>> split_sentences("Dr. Li paid $3.50. “Too much!” she said. 真的吗？“是的。”他走了。")
        ['Dr. Li paid $3.50.', '“Too much!” she said.', '真的吗？', '“是的。”', '他走了。']
    """
    sentences, begin = [], 0
    for match in _CANDIDATE.finditer(text):
        if match.end() > begin and _is_end(text, begin, match):
            sentences.append(text[begin : match.end()].strip())
            begin = match.end()
    sentences.append(text[begin:].strip())
    return [sentence for sentence in sentences if sentence]


def _is_end(text: str, begin: int, match: re.Match) -> bool:
    mark = match.group()
    if mark[0] in _CHINESE_MARKS:
        return True
    following = text[match.end() : match.end() + 40]
    rest = following.lstrip()
    if not rest:
        return True
    if following[0] == rest[0]:
        # No space in between: Chinese goes on, after a mark of its own or one borrowed from English.
        return mark[0] != "." and (mark[0] != "…" or _closes_chinese(text, match.start()))
    word = rest.lstrip(_OPENING)
    if word[:1].islower():
        return False
    if mark.rstrip("\"'”’»)]}") != ".":
        return True
    return _period_ends(text, begin, match.start(), word)


def _closes_chinese(text: str, position: int) -> bool:
    return position > 0 and _CHINESE.match(text, position - 1) is not None


def _period_ends(text: str, begin: int, period: int, following: str) -> bool:
    """Whether a single period, with a capital, a digit or a mark after it, is a full stop."""
    if _LIST_NUMBER.fullmatch(text[begin : period + 1].lstrip()):
        return False
    before = _last_word(text, begin, period)
    known = before.lower()
    if known in _BEFORE_NAMES:
        return False
    if known in _BEFORE_NUMBERS:
        return not following[:1].isdigit()
    initial = len(before) == 1 and before.isalpha() and before.isupper()
    if initial or known in _UNDECIDED or re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", before):
        match = _WORD.match(following)
        return match is not None and match.group().lower() in _BEGINNERS
    return True


def _last_word(text: str, begin: int, period: int) -> str:
    start = period
    while start > begin and not text[start - 1].isspace() and period - start < 40:
        start -= 1
    return text[start:period].lstrip(_OPENING)
