"""`Vocab`: the list of word pieces a tokenizer knows, where a piece's place is its id."""

import os
import pathlib
from collections.abc import Iterable

from kbert.errors import InputError
from kbert.vocab_file import read_entries

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)

#: tensorflow-text's FastWordpiece keeps the length of a piece in one byte.
_MAX_TOKEN_BYTES = 256

#: How SentencePiece begins a word.
_WORD_BEGIN = "\u2581"


class Vocab:
    r"""The word pieces of a model, in the order of its embedding table.

    A file holds one piece a line, and the number of the line, from 0, is the id. Only `"\n"` ends a
    line: Google's Chinese vocabulary has the line separator U+2028 as an entry, at which Python's
    `splitlines` would break and so shift all later ids. `"##"` marks a piece that continues a word.

    What moves no id is put right when a file is read: a byte order mark, Windows line ends, blanks and tabs
    around a piece, empty lines at the end. An empty line elsewhere, a piece that is there twice and a
    special token that is missing are errors, as nobody but the user can tell which ids the model has
    learned.

    Args:
        tokens: The pieces; each once, none empty, the five special ones among them.
        source: Named in errors, such as the file the tokens came from.

    Raises:
        InputError: A token is empty, longer than 256 bytes, has a tab or a carriage return in it, or is
            there twice; a special one is missing; or they are SentencePiece's.

    Example:
        >>> vocab = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
        >>> len(vocab), vocab.id("##ing"), vocab.mask_id
        (7, 6, 4)
    """

    def __init__(self, tokens: Iterable[str], source: str = "vocabulary"):
        self.tokens = tuple(tokens)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        self._check(source)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = map(self.id, SPECIAL_TOKENS)
        self.special_ids = tuple(map(self.id, SPECIAL_TOKENS))

    def _check(self, source: str) -> None:
        first_line = {}
        for line, token in enumerate(self.tokens, start=1):
            if problem := _problem(token, first_line.get(token)):
                raise InputError(f"{source}:{line}: {problem}")
            first_line[token] = line
        missing = [token for token in SPECIAL_TOKENS if token not in first_line]
        if missing:
            other = any(token in first_line for token in ("<unk>", "<pad>", "<s>"))
            raise InputError(
                f"{source}: {', '.join(missing)} missing among its {len(self.tokens)} lines; "
                f"expected all of {', '.join(SPECIAL_TOKENS)}, each on a line of its own; "
                + (
                    "this one is of another kind of model than BERT"
                    if other
                    else "write what is missing over [unusedN] entries, or at the end and give the model "
                    "rows for it by kbert.resize_vocab"
                )
            )

        # WordPiece's own vocabularies may have the sign itself.
        of_words = [line for token, line in first_line.items() if token[1:] and token[0] == _WORD_BEGIN]
        if len(of_words) > sum(token.startswith("##") for token in self.tokens):
            raise InputError(
                f"{source}:{of_words[0]}: {len(of_words)} entries begin with {_WORD_BEGIN}, as SentencePiece "
                f"has it; expected a vocabulary of WordPiece, in which ## begins what continues a word"
            )

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Vocab":
        """The vocabulary in a file of UTF-8, one piece a line.

        Raises:
            InputError: The file is missing or no UTF-8, or its entries are wrong (see the class).
        """
        return cls(read_entries(path), source=str(path))

    def write(self, path: str | os.PathLike) -> None:
        """Writes the form that `read` reads; the file appears complete or not at all."""
        path = pathlib.Path(path)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_bytes("".join(f"{token}\n" for token in self.tokens).encode())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)

    def id(self, token: str) -> int:
        """The id of a token.

        Raises:
            InputError: The vocabulary does not have it; ask `token in vocab` first.
        """
        if token not in self._ids:
            raise InputError(f"{token!r} is none of the {len(self)} pieces of the vocabulary")
        return self._ids[token]

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._ids

    def __repr__(self) -> str:
        return f"Vocab of {len(self)} word pieces"


def _problem(token: str, first_line: int | None) -> str | None:
    """What is wrong with an entry, and the remedy; `first_line` is where it is already, if anywhere."""
    if not token:
        return (
            "the line is empty; expected one word piece a line; write a name such as [unused900] there if "
            "a model was trained with this file, as removing the line would move all later ids"
        )
    if "\t" in token or "\r" in token:
        return (
            f"{token[:40]!r} has a tab or carriage return in it; expected a word piece and nothing else, "
            "lines ended by \\n; `cut -f1` keeps the first of several columns"
        )
    if len(token.encode()) > _MAX_TOKEN_BYTES:
        return f"a piece of over {_MAX_TOKEN_BYTES} bytes; is this a vocabulary, one word piece a line?"
    if first_line is not None:
        return (
            f"{token!r} is on line {first_line} already; Google's code takes the later one: write a name "
            f"such as [unused900] on line {first_line} if a model was trained with this file, else remove one"
        )
    return None
