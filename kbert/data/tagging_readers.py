"""Reads texts with a tag for each word, or with entities: CoNLL columns, and JSON lines with spans."""

import dataclasses
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from kbert.data.labelled_rows import Column, check_plain, read_columns, warn_of_unsaid
from kbert.errors import InputError
from kbert.tag_schemes import Entity, entities_of, tags_of

#: From this share of words on that are single characters, a file has one character a line.
_MOSTLY = 0.9
#: What CoNLL-U has besides words: comments, ranges (1-2) that the words after them spell out, and words that
#: no text has (1.1).
_NO_WORD = re.compile(r"#|\d+[-.]\d+\t")
_CHINESE = "\u4e00\u9fff\u3400\u4dbf\U00020000\U0002a6df\U0002a700\U0002ebef\uf900\ufaff\U0002f800\U0002fa1f"


@dataclasses.dataclass(frozen=True)
class TaggedText:
    """A text with a tag for each word.

    Args:
        text: As it is, or, from a file of words, put together again.
        words: Where each word begins and ends in it, in characters.
        tags: One for each word, as the file has them; none where there is nothing to learn from.
        source: File and line where it begins.
    """

    text: str
    words: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]
    source: str


def read_conll(
    path: str,
    *,
    tag_column: int | None = -1,
    word_column: int = 0,
    num_columns: int | None = None,
    joined: bool | None = None,
) -> list[TaggedText]:
    """All sentences of a file of one word a line, such as CoNLL-2003's, or of one character a line.

    Columns stand apart by tabs, or else by spaces; an empty line ends a sentence; `-DOCSTART-` lines are
    skipped, and in a `.conllu` file comments, ranges and empty nodes. The text is the words with a space
    between them, or without one, as in Chinese files.

    Args:
        path: UTF-8.
        tag_column: The column of the tags, from 0; -1 is the last one. Tags may be of any kind. None reads
            words alone.
        word_column: The column of the words.
        num_columns: That each line must have; None: as many as the first.
        joined: Whether the text has no space between the words; None: if nearly all words of the file are
            single characters.

    Raises:
        InputError: The file is missing, empty, or not UTF-8, or a line has not as many columns as it must.
    """
    check_plain(path)
    sentences = list(_sentences(Path(path), word_column, tag_column, num_columns))
    if not sentences:
        raise InputError(f"{path}: has no words; expected a word and its tag a line, and empty lines between")
    if joined is None:
        words = [row[0] for _, rows in sentences for row in rows]
        joined = sum(len(word) == 1 for word in words) >= _MOSTLY * len(words)
    logging.info("%s: words are put together %s spaces", path, "without" if joined else "with")
    return [_joined(rows, "" if joined else " ", place) for place, rows in sentences]


def read_entities(
    source: str,
    *,
    text_column: str | None = None,
    entities_column: str | None = None,
    labelled: bool = True,
) -> list[TaggedText]:
    """All rows of a JSON lines file of texts with entities; the tags are BIO.

    Each object has `text` and `entities` (or `spans`, `label`), a list of objects with `start`, `end` and
    `type` (or `label`), or of lists of these three; in characters, the end exclusive. If an entity also has
    its `text`, it must be the one at its place. Words are found by `split_words`; of an entity that ends
    within a word the whole word is tagged, and the number of such entities is logged.

    Args:
        source: Path of the file.
        text_column: What the texts are called, if not `text`.
        entities_column: What the lists of entities are called, if none of the above.
        labelled: False reads texts alone.

    Raises:
        InputError: The file is missing or malformed, or a span is none of its text, or over another one.
    """
    wanted = [
        Column("text", text_column, ("text",)),
        Column(
            "label",
            entities_column if labelled else "",
            ("entities", "spans", "label"),
            required=labelled,
        ),
    ]
    texts, widened, unsaid = [], 0, []
    for place, (text, spans) in read_columns(source, wanted):
        text = str(text)
        words = split_words(text)
        if not isinstance(spans, list | None):
            raise InputError(
                f"{place}: the entities are {spans!r}; expected a list of objects with start, end and type"
            )
        unsaid += [place] if spans is None else []
        spans = sorted(_span(span, text, place) for span in spans or ())
        entities = [_entity(span, words) for span in spans]
        for before, entity, span in zip(entities, entities[1:], spans[1:], strict=False):
            if entity.begin < before.end:
                part = text[span[0] : span[1]]
                raise InputError(f"{place}: entity {part!r} shares a word with another; tags cannot")
        widened += sum(
            (words[entity.begin][0], words[entity.end - 1][1]) != span[:2]
            for entity, span in zip(entities, spans, strict=True)
        )
        tags = tuple(tags_of(entities, len(words))) if labelled else ()
        texts.append(TaggedText(text, tuple(words), tags, place))
    if labelled:
        warn_of_unsaid(source, unsaid, "entities")
    if widened:
        logging.warning("%s: %d entities begin or end within a word; whole words are tagged", source, widened)
    return texts


def convert_tags(texts: Sequence[TaggedText], scheme: str = "BIO") -> list[TaggedText]:
    """The same texts with tags in another scheme; what breaks the rules of theirs is mended.

    Args:
        texts: With tags in any scheme of `kbert.tag_schemes`.
        scheme: The scheme to write.

    Raises:
        InputError: A tag is of another form.
    """
    return [
        dataclasses.replace(text, tags=tuple(tags_of(_entities(text), len(text.tags), scheme)))
        for text in texts
    ]


def split_words(text: str) -> list[tuple[int, int]]:
    """Where words begin and end: runs of letters and digits, single Chinese characters, single marks.

    Example:
        >>> [text[begin:end] for text in ["U.S.的A1"] for begin, end in split_words(text)]
        ['U', '.', 'S', '.', '的', 'A1']
    """
    words = []
    for kind, run in itertools.groupby(range(len(text)), lambda place: _kind(text[place])):
        places = list(run)
        if kind == "letter":
            words.append((places[0], places[-1] + 1))
        elif kind == "single":
            words += [(place, place + 1) for place in places]
    return words


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    chinese = any(
        first <= character <= last for first, last in zip(_CHINESE[::2], _CHINESE[1::2], strict=True)
    )
    return "single" if chinese or unicodedata.category(character)[0] in "PS" else "letter"


def _entity(span: tuple[int, int, str], words: Sequence[tuple[int, int]]) -> Entity:
    """The words that a span of characters touches."""
    start, end, kind = span
    first = next(i for i, word in enumerate(words) if word[1] > start)
    last = max(i for i, word in enumerate(words) if word[0] < end)
    return Entity(kind, first, last + 1)


def _entities(text: TaggedText) -> list[Entity]:
    try:
        return entities_of(text.tags)
    except InputError as error:
        raise InputError(f"{text.source}: {error}") from error


def _sentences(
    path: Path, word_column: int, tag_column: int | None, width: int | None
) -> Iterator[tuple[str, list[list[str]]]]:
    """Where each sentence begins, and its words with their tags, if there are any to read."""
    tag_columns = [] if tag_column is None else [tag_column]
    columns = [word_column, *tag_columns]
    place, rows = "", []
    said_by = "the first line" if width is None else "--columns"
    is_conllu = path.suffix.lower() == ".conllu"
    for number, line in enumerate(_lines(path), start=1):
        if is_conllu and _NO_WORD.match(line):
            continue
        fields = line.split("\t") if "\t" in line else [field for field in line.split(" ") if field]
        if not line.strip(" \t") or fields[0] == "-DOCSTART-":
            if rows:
                yield place, rows
            rows = []
            continue
        width, least = width or len(fields), len(columns)
        inside = all(-width <= column < width for column in columns)
        there = len(fields) == width >= least and inside and fields[word_column]
        # A word may be a space; around a tag there may be some, as spreadsheets leave them.
        tags = [fields[column].strip() for column in tag_columns] if there else []
        if not there or not all(tags):
            tag = "" if tag_column is None else f" and a tag in {tag_column}"
            remedy = "; call a file with comments FILE.conllu" if line.startswith("# ") else ""
            raise InputError(
                f"{path}:{number}: {len(fields)} columns ({line!r}); expected {max(width, least)}, as in "
                f"{said_by}, with a word in number {word_column}{tag}, from 0 on{remedy}"
            )
        place = place if rows else f"{path}:{number}"
        rows.append([fields[word_column], *tags])
    if rows:
        yield place, rows


def _lines(path: Path) -> Iterator[str]:
    try:
        # Lines end at \n alone: a character such as U+2028 may be a word.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for line in file:
                yield line.rstrip("\r\n")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a file of one word a line") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start} of a block); convert it first") from error


def _joined(rows: Sequence[Sequence[str]], separator: str, place: str) -> TaggedText:
    words = [row[0] for row in rows]
    ends = itertools.accumulate(len(word) + len(separator) for word in words)
    places = [
        (end - len(separator) - len(word), end - len(separator))
        for end, word in zip(ends, words, strict=True)
    ]
    tags = tuple(tag for _, *of_word in rows for tag in of_word)
    return TaggedText(separator.join(words), tuple(places), tags, place)


def _span(span: Any, text: str, place: str) -> tuple[int, int, str]:
    start = end = kind = stated = None
    if isinstance(span, dict):
        start, end, kind = span.get("start"), span.get("end"), span.get("type", span.get("label"))
        stated = span.get("text")
    elif isinstance(span, list) and len(span) == 3:
        start, end, kind = span
    if isinstance(start, int) and isinstance(end, int) and isinstance(kind, str) and 0 <= start < end:
        part = text[start:end]
        if end <= len(text) and part.strip() and stated in (None, part):
            return start, end, kind
    raise InputError(
        f"{place}: entity {span!r}; expected start, end and type of a part of the text, which has "
        f"{len(text)} characters"
    )
