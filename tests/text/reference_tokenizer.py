"""BERT's tokenization in plain Python: slow, obvious, and sharing no code with kbert.

Written after the description of google-research/bert's tokenization.py; `unicodedata` gives the categories.
"""

import unicodedata

CHINESE_BLOCKS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def is_invisible(char):
    return char == "\ufffd" or (char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf"))


def is_chinese(char):
    return any(low <= ord(char) <= high for low, high in CHINESE_BLOCKS)


def is_punctuation(char):
    return char in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" or unicodedata.category(char).startswith("P")


def split_words(text, lowercase):
    text = "".join(char for char in text if not is_invisible(char))
    text = "".join(f" {char} " if is_chinese(char) else char for char in text)
    words = []
    for chunk in text.split():
        if lowercase:
            chunk = unicodedata.normalize("NFD", chunk.lower())
            chunk = "".join(char for char in chunk if unicodedata.category(char) != "Mn")
        words += "".join(f" {char} " if is_punctuation(char) else char for char in chunk).split()
    return words


def split_pieces(word, ids):
    """Longest match first; a word that does not come out even, or of over 200 characters, is [UNK]."""
    if len(word) > 200:
        return [ids["[UNK]"]]
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in ids)
        end = next(ends, None)
        if end is None:
            return [ids["[UNK]"]]
        pieces.append(ids[prefix + word[start:end]])
        start = end
    return pieces


def tokenize(text, ids, lowercase):
    """The ids of `text` (str, or bytes of UTF-8), `ids` being a dict from token to id."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="ignore")
    return [piece for word in split_words(text, lowercase) for piece in split_pieces(word, ids)]
