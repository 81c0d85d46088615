"""Paragraphs to sentences: each case is a paragraph with a bar at every border."""

import random

import pytest

from kbert.text.sentences import split_sentences

CASES = {
    "plain": "It rained.|He left!|Did he?|Yes.",
    "titles and initials": "Mr. J. R. Smith met Dr. Li and Gen. Lee of the U.S. Army.|They spoke.",
    "time of day": "We met at 5 p.m. on Monday.|It was over at 6 p.m.|He left.",
    "companies": "Apple Inc. Chief Tim Cook spoke.|She works at Apple Inc.|The firm grew.",
    "numbered things": "See No. 5, Fig. 3 and Sec. 4.2.|On Jan. 3 it rained.",
    "decimals": "It grew 3.5% to $1.2 million.|Pi is 3.14.|Version 2.0 is out.",
    "list numbers": "1. First item.|2. Second item.",
    "year at the end": "It was 1999.|20 people came.",
    "names with points": "Visit example.org or Yahoo! now.",
    "quotes": "“Too much!” she said.|“No.”|'Why?'|He went (fast.)|Then he stopped.",
    "quotes with more inside": "He said: “Stop!|Now.”|They went on.",
    "ellipsis": "They went on... and on...|Then they rested.|Wait…what?|Well…|I see.",
    "several marks": "Really?!|No!!!|Oh.",
    "latin": "Use tools, e.g. Python, i.e. code.|Smith et al. found it.|Cats, dogs, etc. were there.",
    "chinese": "他说：“你好！|我是李明。”|然后走了。|真的吗？|真的；|好",
    "chinese brackets": "（见下文。）|他走了。|《书。》|好。",
    "chinese ellipsis": "他没来……|真的……",
    "chinese with ascii marks": "很贵!|真的?|是的。|价格是3.14元。",
    "chinese in english": "He said 你好。|Then he left.",
    "no end": "a headline without a mark",
    "marks only": "……",
}


@pytest.mark.parametrize("case", CASES)
def test_borders(case):
    expected = CASES[case].split("|")
    chinese = case.startswith("chinese") and case != "chinese in english"
    assert split_sentences(("" if chinese else " ").join(expected)) == expected


def test_white_space_is_no_sentence_and_line_ends_are_spaces():
    assert split_sentences("") == split_sentences(" \n\t") == []
    assert split_sentences("  One\nline.\n\nTwo.  ") == ["One\nline.", "Two."]


def test_no_character_is_lost():
    rng = random.Random(5)
    for _ in range(500):
        text = "".join(rng.choice("aB 。！？；….!?”“」\"') 1是的") for _ in range(40))
        found = split_sentences(text)
        assert "".join("".join(found).split()) == "".join(text.split())
        assert all(sentence == sentence.strip() != "" for sentence in found)
