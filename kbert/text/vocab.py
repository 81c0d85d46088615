"""`Vocab`: the list of word pieces a tokenizer knows, where a piece's place is its id."""

import os
import pathlib
from collections.abc import Iterable

from kbert.errors import InputError

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)

#: tensorflow-text's FastWordpiece keeps the length of a piece in one byte.
_MAX_TOKEN_BYTES = 256


class Vocab:
    r"""The word pieces of a model, in the order of its embedding table.

    A file holds one piece a line, and the number of the line, from 0, is the id. Only `"\n"` ends a
    line: Google's Chinese vocabulary has the line separator U+2028 as an entry, at which Python's
    `splitlines` would break and so shift all later ids. `"##"` marks a piece that continues a word.

    Args:
        tokens: The pieces; each once, none empty, the five special ones among them.
        source: Named in errors, such as the file the tokens came from.

    Raises:
        InputError: A token is empty, longer than 256 bytes, or there twice; a special one is missing.

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
            if not token:
                raise InputError(
                    f"{source}:{line}: the line is empty; expected one word piece a line; remove it"
                )
            if len(token.encode()) > _MAX_TOKEN_BYTES:
                raise InputError(
                    f"{source}:{line}: a piece of over {_MAX_TOKEN_BYTES} bytes; is this a vocabulary?"
                )
            if token in first_line:
                raise InputError(
                    f"{source}:{line}: {token!r} is on line {first_line[token]} already; remove one of them"
                )
            first_line[token] = line
        missing = [token for token in SPECIAL_TOKENS if token not in first_line]
        if missing:
            raise InputError(
                f"{source}: {', '.join(missing)} missing among its {len(self.tokens)} lines; "
                f"expected all of {', '.join(SPECIAL_TOKENS)}, each on a line of its own"
            )

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Vocab":
        """The vocabulary in a file of UTF-8, one piece a line; Windows line ends are understood.

        Raises:
            InputError: The file is missing or no UTF-8, or its entries are wrong (see the class).
        """
        try:
            content = pathlib.Path(path).read_bytes()
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); expected a vocabulary file"
            ) from error
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise InputError(
                f"{path}:{line}: is no UTF-8 ({error.reason}); save the file as UTF-8"
            ) from error
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()  # what follows the last line end is no line
        return cls([line.removesuffix("\r") for line in lines], source=str(path))

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
