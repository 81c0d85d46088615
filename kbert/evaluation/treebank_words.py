"""English words as the Penn Treebank counts them, for measures that are defined by them."""

import re

#: Each step is a pattern and what takes its place; spaces set words apart. The order matters.
_STEPS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # What opens a quotation becomes ``, as in LaTeX; what is left over closes one, and becomes ''.
        (r"[«‘„]", r" \g<0> "),
        (r'^"', " `` "),
        (r"(?<=[ <({[])(?:''|\")", " `` "),
        # A quote before a word of one letter opens one too, unless 's, 't and the like are meant.
        (r"'(?!re|ve|ll|[dmnst])(?=\w\b)", "' "),
        # Only the full stop that ends the text is a word: not those of U.S. or 3.5 within it.
        (r"(?<=[^.])\.(?=[]>)}\"'» ]*\s*$)", " . "),
        # A comma, unless it is in a number. It takes the next character along, be that a comma itself.
        (r",(\D|$)", r" , \1"),
        (r"\.\.+", r" \g<0> "),
        (r"[!#$%&;?@]", r" \g<0> "),
        (r"(?<=[^'])' ", " ' "),
        (r"[][(){}<>]", r" \g<0> "),
        (r"^|$", " "),
        (r"»", " » "),
        (r"''|\"", " '' "),
        (r"\s+", " "),
        # it's, he'll, don't
        (r"(?<=[^' ])('[dms]?) ", r" \1 "),
        (r"(?<=[^' ])(n't|'ll|'re|'ve) ", r" \1 "),
        # Two words that are written as one.
        (r"\b(?=(?:cannot|gimme|gonna|gotta|lemme)\b|wanna\s)(...)(\w+)", r" \1 \2 "),
        (r"\b(d(?='ye\b)|more(?='n\b))('\w+)", r" \1 \2 "),
        (r"(?<= )('t)(is)\b", r" \1 \2 "),
        (r"(?<= )('t)(was)\b", r" \1 \2 "),
    )
]


def treebank_words(text: str) -> list[str]:
    """Words and punctuation marks of one sentence, in order.

    Args:
        text: In lower case. The marks `- : _ * ^ / ~ + =`, backquote and backslash, which the measure that
            needs this function leaves out before, are taken for letters.

    Example:
        >>> treebank_words("the u.s. can't, for $3.5")
        ['the', 'u.s.', 'ca', "n't", ',', 'for', '$', '3.5']

    Reference:
        MacIntyre, 1995, "Treebank tokenization"; NLTK 3.9, `NLTKWordTokenizer`, with which this agrees.
        `nltk.word_tokenize` cuts into sentences first, by a trained model; this takes the text as one.
    """
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    return text.split()
