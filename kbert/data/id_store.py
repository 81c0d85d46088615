"""`IdStore`: a tokenized corpus on disk, of which any document can be read without the others.

A corpus of many gigabytes must not be in memory, but a random next sentence comes from anywhere in it. So
it is tokenized once, into files of plain integers, and read from there a sentence at a time.

A file holds one part of the corpus: all tokens, int32; for each sentence where its tokens end, int64; for
each document where its sentences end, int64; and the three counts, documents, sentences, tokens, int64.
All little-endian.
"""

import bisect
import itertools
import os
import shutil
import struct
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kbert.errors import InputError

_COUNTS = struct.Struct("<3q")
_ENDS = struct.Struct("<2q")
#: Tokens that are looked at for a share of them.
_SAMPLE = 10_000_000


class IdStoreWriter:
    """Writes one file of a store; used as a context, which makes the file appear when it is complete.

    Args:
        path: File to write.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "part"
        >>> with IdStoreWriter(path) as writer:
        ...     writer.add(np.array([7, 8, 9]), lengths=[2, 0, 1], document_ends=[1, 3])
        >>> [[list(sentence) for sentence in document] for document in IdStore([path])]
        [[[7, 8]], [[9]]]
    """

    def __init__(self, path: Path):
        self.path = path
        self.documents = self.sentences = self.tokens = 0
        self._last_document_end = 0
        # With the number of the process: one that was given up for dead may still be writing.
        names = (f".{path.name}.{os.getpid()}.{kind}" for kind in ("tokens", "sentences", "documents"))
        self._paths = [path.with_name(name) for name in names]
        self._files = []

    def __enter__(self) -> "IdStoreWriter":
        self._files = [path.open("wb") for path in self._paths]
        return self

    def add(self, tokens: np.ndarray, lengths: Sequence[int], document_ends: Sequence[int]) -> None:
        """Adds sentences; those without tokens, and documents without sentences, are left out.

        Args:
            tokens: int (T), of all the sentences.
            lengths: int (S), tokens of each.
            document_ends: How many of these sentences come before each end of a document, ascending.
        """
        kept = np.asarray(lengths) > 0
        sentence_ends = self.tokens + np.cumsum(lengths, dtype=np.int64)[kept]
        sentences_before = self.sentences + np.concatenate([[0], np.cumsum(kept)])
        ends = np.unique(sentences_before[np.asarray(document_ends, np.int64)])
        ends = ends[ends > self._last_document_end]
        for file, values, dtype in zip(
            self._files, (tokens, sentence_ends, ends), ("<i4", "<i8", "<i8"), strict=True
        ):
            file.write(values.astype(dtype).tobytes())
        self.tokens += len(tokens)
        self.sentences += len(sentence_ends)
        self.documents += len(ends)
        self._last_document_end = int(ends[-1]) if len(ends) else self._last_document_end

    def __exit__(self, kind, value, traceback) -> None:
        for file in self._files:
            file.close()
        try:
            if kind is None:
                self._join()
        finally:
            for path in self._paths:
                path.unlink(missing_ok=True)

    def _join(self) -> None:
        with self._paths[0].open("ab") as whole:
            for path in self._paths[1:]:
                with path.open("rb") as file:
                    shutil.copyfileobj(file, whole, 1 << 20)
            whole.write(_COUNTS.pack(self.documents, self.sentences, self.tokens))
            whole.flush()
            os.fsync(whole.fileno())
        os.replace(self._paths[0], self.path)


def read_counts(path: Path) -> tuple[int, int, int]:
    """How many documents, sentences and tokens a file of a store holds.

    Raises:
        InputError: The file is not complete.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size >= _COUNTS.size:
            file.seek(-_COUNTS.size, os.SEEK_END)
            documents, sentences, tokens = _COUNTS.unpack(file.read())
            if size == 4 * tokens + 8 * sentences + 8 * documents + _COUNTS.size:
                return documents, sentences, tokens
    raise InputError(f"{path}: is no complete part of a tokenized corpus; delete it and run again")


class IdStore(Sequence):
    """The documents of a tokenized corpus, read from disk as they are asked for.

    It reads with `pread` and maps nothing: mapped pages would count as memory of the process, and grow with
    the corpus. It can be sent to other processes, which then open the files themselves.

    Args:
        paths: Files of the parts, in order.

    Raises:
        InputError: A file is not complete.

    Call arguments:
        index: Number of a document, over all parts; gives a `StoredDocument`.
    """

    def __init__(self, paths: Sequence[Path]):
        self.paths = list(paths)
        self.counts = [read_counts(path) for path in self.paths]
        self._first = [0, *itertools.accumulate(documents for documents, _, _ in self.counts)]
        self._descriptors = [-1] * len(self.paths)

    def __reduce__(self):
        return IdStore, (self.paths,)

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents."""
        return sum(tokens for _, _, tokens in self.counts)

    @property
    def num_sentences(self) -> int:
        """Sentences of all documents."""
        return sum(sentences for _, sentences, _ in self.counts)

    def share(self, tokens: Sequence[int]) -> float:
        """How many of all tokens are among these, as a share, by the first ones of each part."""
        most = _SAMPLE // max(len(self.paths), 1) + 1  # Of files without a byte there is no part.
        found = looked_at = 0
        for path, (_, _, count) in zip(self.paths, self.counts, strict=True):
            sample = np.fromfile(path, "<i4", min(count, most))
            found += int(np.isin(sample, tokens).sum())
            looked_at += len(sample)
        return found / max(looked_at, 1)

    def __len__(self) -> int:
        return self._first[-1]

    def __getitem__(self, index: int) -> "StoredDocument":
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect.bisect_right(self._first, index) - 1
        if self._descriptors[part] < 0:
            self._descriptors[part] = os.open(self.paths[part], os.O_RDONLY)
        return StoredDocument(self._descriptors[part], self.counts[part], index - self._first[part])

    def close(self) -> None:
        """Closes the files; the store opens them again when it is read again."""
        for descriptor in self._descriptors:
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptors = [-1] * len(self.paths)

    def __del__(self):
        if hasattr(self, "_descriptors"):
            self.close()


class StoredDocument(Sequence):
    """A document of an `IdStore`: its sentences, each an array of tokens, read one at a time.

    Args:
        descriptor: Of the open file.
        counts: Documents, sentences and tokens of the file.
        index: Number of the document in the file.
    """

    def __init__(self, descriptor: int, counts: tuple[int, int, int], index: int):
        _, sentences, tokens = counts
        self._descriptor = descriptor
        self._sentence_ends = 4 * tokens
        document_ends = self._sentence_ends + 8 * sentences
        self._first, self._end = _two_ends(descriptor, document_ends, index)

    def __len__(self) -> int:
        return self._end - self._first

    def __getitem__(self, index: int) -> array:
        if not 0 <= index < len(self):
            raise IndexError(index)
        begin, end = _two_ends(self._descriptor, self._sentence_ends, self._first + index)
        tokens = array("i")
        tokens.frombytes(os.pread(self._descriptor, 4 * (end - begin), 4 * begin))
        if sys.byteorder == "big":
            tokens.byteswap()
        return tokens


def _two_ends(descriptor: int, table: int, index: int) -> tuple[int, int]:
    """Where row `index` begins, which is where the one before ends, and where it ends."""
    if index == 0:
        return 0, int.from_bytes(os.pread(descriptor, 8, table), "little")
    return _ENDS.unpack(os.pread(descriptor, 16, table + 8 * (index - 1)))
