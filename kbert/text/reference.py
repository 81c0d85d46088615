"""`WordPieceTokenizer` in plain Python: the ids and offsets of the graph's, without TensorFlow.

For machines that have no wheel of tensorflow-text, for data pipelines in other frameworks, and to read what
BERT's tokenization does. It is held to the tokenizer of the graph by tests over arbitrary Unicode text.
"""

import itertools
import os
import re
from collections.abc import Iterable

from kbert.errors import InputError
from kbert.text.reference_words import Memory, NormalWords
from kbert.text.unicode_tables import CHINESE, SPACES, UNSETTLED, Character, character, character_here
from kbert.text.vocab import SPECIAL_TOKENS, Vocab

_MAX_WORD_CHARS = 200
#: Nothing beyond white space or a Chinese character has a say in what is made of a chunk.
_CHUNK = re.compile(f"[{CHINESE}]|[^{CHINESE}{SPACES}]+")
_SPECIAL = re.compile(r"(\[(?:" + "|".join(token[1:-1] for token in SPECIAL_TOKENS) + r")\])")
_HALF_CHARACTERS = re.compile("[\ud800-\udfff]")


class WordPieceTokenizer:
    """BERT's tokenizer in plain Python, with the ids of Google's `FullTokenizer`.

    The twin of `kbert.text.WordPieceTokenizer`: same arguments, same methods, lists for tensors. Its time
    grows with the length of a text and no faster, whatever the text. Words are remembered, so the second
    million is quicker than the first; threads may share one tokenizer.

    Args:
        vocab_path: File of the vocabulary, one piece a line, or a `Vocab`.
        lowercase: Whether to lower-case and to strip accents; must be as the vocabulary was made.
        special_tokens_in_text: What a literal "[MASK]" or "[SEP]" in the text is: three words of text as
            for Google (False), or the token as for Hugging Face (True).

    Raises:
        InputError: The vocabulary cannot be used, see `Vocab`; or the texts are no batch.

    Example:
        >>> vocab = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
        >>> tokenizer = WordPieceTokenizer(vocab)
        >>> tokenizer.tokenize(["Playing", "play! play"])
        [[5, 6], [5, 1, 5]]
        >>> tokenizer.tokenize_with_offsets(["pláying"])
        ([[5, 6]], [[0, 4]], [[4, 7]])

    Reference:
        google-research/bert, tokenization.py. One departure, the same as in the graph: which character is
        what does not depend on the version of Python, see `differences`.
    """

    def __init__(
        self,
        vocab_path: str | os.PathLike | Vocab,
        lowercase: bool = True,
        special_tokens_in_text: bool = False,
    ):
        self.vocab = vocab_path if isinstance(vocab_path, Vocab) else Vocab.read(vocab_path)
        self.lowercase = lowercase
        self.special_tokens_in_text = special_tokens_in_text
        tokens = enumerate(self.vocab.tokens)
        self._first_pieces = {token: i for i, token in tokens}
        self._later_pieces = {t[2:]: i for t, i in self._first_pieces.items() if t.startswith("##")}
        self._longest_piece = max(map(len, self.vocab.tokens))
        self._normal = NormalWords(lowercase)
        self._pieces = Memory(self._split_word)
        self._ids = Memory(self._split_chunk)
        self._located = Memory(self._locate_chunk)

    def tokenize(self, texts: Iterable[str | bytes]) -> list[list[int]]:
        """The ids of each text, without special tokens (but those in the text, where they are asked for).

        Args:
            texts: Each `str`, or `bytes` of UTF-8. Empty texts, NUL, bytes that are no UTF-8 and lone
                surrogates (which are left out, see `count_invalid`) are all right.
        """
        ids_of = self._ids.__getitem__
        return [list(itertools.chain.from_iterable(map(ids_of, _chunks(text)))) for text in _decoded(texts)]

    def tokenize_with_offsets(
        self, texts: Iterable[str | bytes]
    ) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
        """The ids of each text, and where each token stands in the text as given.

        Args:
            texts: As for `tokenize`.

        Returns:
            `(ids, begins, ends)`, equally long for each text. `begins` (inclusive) and `ends` (exclusive)
            count code points of the original (bytes: of `decode("utf-8", "replace")`): `text[begin:end]` is
            where the token comes from.
        """
        rows = [self._locate(text) for text in _decoded(texts)]
        return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]

    def count_invalid(self, texts: Iterable[str | bytes]) -> list[int]:
        """How many sequences of bytes (of `str`: lone surrogates) in each text are no UTF-8 and left out."""
        encoded = map(as_utf8, _checked(texts))
        return [len(text.decode(errors="replace")) - len(text.decode(errors="ignore")) for text in encoded]

    def _locate(self, text: str) -> tuple[list[int], list[int], list[int]]:
        chunks = [(match.start(), match.group()) for match in _CHUNK.finditer(text)]
        found = [(start, *self._located[chunk]) for start, chunk in chunks]
        return (
            [token for _, ids, _, _ in found for token in ids],
            [start + begin for start, _, begins, _ in found for begin in begins],
            [start + end for start, _, _, ends in found for end in ends],
        )

    def _split_chunk(self, chunk: str) -> list[int]:
        return [piece[0] for word in self._words(chunk) for piece in self._pieces[word]]

    def _locate_chunk(self, chunk: str) -> tuple[list[int], list[int], list[int]]:
        """`(ids, begins, ends)` of a chunk's tokens, in characters of the chunk.

        Tokens are found in normalized words, where characters are missing or have become several: a
        token's first and last byte tell its first and last character.
        """
        origins = self._normal.origins(chunk)
        ids, begins, ends, word_begin = [], [], [], 0
        for word in self._words(chunk):
            pieces = self._pieces[word]
            for token, begin, stop in pieces:
                ids.append(token)
                begins.append(origins[word_begin + begin])
                ends.append(origins[word_begin + stop - 1] + 1)
            word_begin += pieces[-1][2]
        return ids, begins, ends

    def _words(self, chunk: str) -> list[str]:
        """Normalized words (Google's `BasicTokenizer`)."""
        if not self.special_tokens_in_text:
            return self._normal.split(chunk)
        parts = _SPECIAL.split(chunk)  # text, token, text, ..., text
        return [
            word
            for place, part in enumerate(parts)
            for word in ([part] if place % 2 else self._normal.split(part))
        ]

    def _split_word(self, word: str) -> list[tuple[int, int, int]]:
        """`(id, begin, stop)` of each piece in bytes: longest match first, [UNK] where nothing matches."""
        unknown = [(self.vocab.unk_id, 0, len(word.encode()))]
        if len(word) > _MAX_WORD_CHARS:
            return unknown
        found, begin, begin_byte, pieces = [], 0, 0, self._first_pieces
        while begin < len(word):
            ends = range(min(len(word), begin + self._longest_piece), begin, -1)
            end = next((end for end in ends if word[begin:end] in pieces), None)
            if end is None:
                return unknown
            piece = word[begin:end]
            stop_byte = begin_byte + len(piece.encode())
            found.append((pieces[piece], begin_byte, stop_byte))
            begin, begin_byte, pieces = end, stop_byte, self._later_pieces
        return found


def differences() -> dict[str, tuple[Character, Character]]:
    """The characters on which this Python's Unicode tables contradict the tokenizers'.

    For these, and no others, Google's code run by this Python, which asks Python's tables, can give other
    ids than the tokenizers of kbert, which agree with each other under every Python.

    Returns:
        By character: what it is to this Python, and what it is to the tokenizers.
    """
    both = {char: (character_here(char), character(char)) for char in sorted(UNSETTLED)}
    return {char: pair for char, pair in both.items() if pair[0] != pair[1]}


def as_utf8(text: str | bytes) -> bytes:
    r"""Bytes as they are; `str` as UTF-8, with a byte that is none for each lone surrogate.

    Example:
        >>> as_utf8("a\ud83dé")
        b'a\xff\xc3\xa9'
    """
    if isinstance(text, bytes):
        return text
    return b"\xff".join(part.encode() for part in _HALF_CHARACTERS.split(text))


def _chunks(text: str) -> list[str]:
    # In ASCII that can be printed only the space parts chunks, and `split` is the quickest way to do it.
    return text.split() if text.isascii() and text.isprintable() else _CHUNK.findall(text)


def _decoded(texts: Iterable[str | bytes]) -> list[str]:
    return [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in _checked(texts)]


def _checked(texts: Iterable[str | bytes]) -> list[str | bytes]:
    if isinstance(texts, str | bytes):
        raise InputError(f"texts is one {type(texts).__name__}; expected a batch such as [text]")
    texts = list(texts)
    for place, text in enumerate(texts):
        if not isinstance(text, str | bytes):
            raise InputError(f"texts[{place}] is a {type(text).__name__}; expected str or bytes of UTF-8")
    return texts
