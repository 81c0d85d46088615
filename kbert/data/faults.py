"""What is wrong with labelled data, told before anything is trained on it."""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from absl import logging

from kbert.data.answer_readers import Question
from kbert.data.examples import Example
from kbert.data.tagging_readers import TaggedText
from kbert.errors import InputError
from kbert.tag_schemes import faulty_tags, find_scheme

_PLACES = 3


@dataclass(frozen=True)
class DataFault:
    """One kind of fault in a data set.

    Args:
        kind: What is wrong, in a few words.
        count: How many rows have it.
        places: Up to three of them, with what stands there.
    """

    kind: str
    count: int
    places: tuple[str, ...]


def classification_faults(train: Sequence[Example], dev: Sequence[Example] = ()) -> list[DataFault]:
    """Empty texts, equal texts with different labels, classes of one row, and dev rows that are in train.

    Args:
        train: Rows to train on.
        dev: Rows to measure on.
    """
    rows = [*train, *dev]
    labels_of = defaultdict(set)
    for row in train:
        labels_of[_key(row)].add(row.label)
    rows_of = defaultdict(list)
    for row in train:
        rows_of[row.label].append(row)
    return _found(
        ("empty text", (row.source for row in rows if not _is_full(row))),
        (
            "equal texts with different labels",
            (f"{row.source} ({row.label})" for row in train if len(labels_of[_key(row)]) > 1),
        ),
        (
            "label of one row only (a typo?)",
            (
                f"{rows_of[label][0].source} ({label}{_like(label, rows_of)})"
                for label in rows_of
                if label is not None and len(rows_of[label]) == 1
            ),
        ),
        (
            "label of dev that is not in train",
            (f"{row.source} ({row.label})" for row in dev if row.label not in rows_of),
        ),
        ("row of dev that is also in train", (row.source for row in dev if _key(row) in labels_of)),
    )


def tagging_faults(
    train: Sequence[TaggedText], dev: Sequence[TaggedText] = (), scheme: str | None = None
) -> list[DataFault]:
    """Tags that break the rules of their scheme, types of one word, and dev texts that are in train.

    Args:
        train: Texts to train on.
        dev: Texts to measure on.
        scheme: Of `kbert.tag_schemes.SCHEMES`; None finds that of train. Tags of no scheme, such as parts
            of speech, have no rules to break.
    """
    scheme = scheme or find_scheme(text.tags for text in train)
    texts = {text.text for text in train}
    words_of = defaultdict(list)
    for text in train:
        for tag in text.tags:
            words_of[tag.partition("-")[2] or tag].append(text.source)
    return _found(
        (
            f"tag against the rules of {scheme}",
            (
                f"{text.source}, word {place + 1} ({text.tags[place]}, not {right})"
                for text in [*train, *dev]
                if scheme
                for place, right in faulty_tags(text.tags, scheme)
            ),
        ),
        (
            "type of one word only (a typo?)",
            (
                f"{places[0]} ({tag}{_like(tag, words_of)})"
                for tag, places in words_of.items()
                if len(places) == 1
            ),
        ),
        ("text of dev that is also in train", (text.source for text in dev if text.text in texts)),
    )


def answer_faults(train: Sequence[Question], dev: Sequence[Question] = ()) -> list[DataFault]:
    """Answers that are not where the file says, or nowhere in the passage, and dev questions in train.

    Args:
        train: Questions to train on.
        dev: Questions to measure on.
    """
    answers = [(row, answer) for row in [*train, *dev] for answer in row.answers]
    asked = {(row.question, row.context) for row in train}
    return _found(
        ("empty question or passage", (r.source for r in [*train, *dev] if not r.question or not r.context)),
        (
            "answer that is not in its passage (not trained on)",
            (f"{row.source} ({answer.text[:20]!r})" for row, answer in answers if answer.start is None),
        ),
        (
            "answer at another place than the file says (put right)",
            (
                f"{row.source} ({answer.text[:20]!r}: {answer.start}, not {answer.start_in_file})"
                for row, answer in answers
                if answer.start not in (None, answer.start_in_file)
            ),
        ),
        (
            "question of train without any answer in its passage (left out)",
            (row.source for row in train if row.answers and row.answer is None),
        ),
        (
            "question of dev that is also in train",
            (row.source for row in dev if (row.question, row.context) in asked),
        ),
    )


def report_faults(faults: Sequence[DataFault], strict: bool = False) -> None:
    """Logs the faults as a table.

    Args:
        faults: Of one of the functions above.
        strict: Whether they are an error.

    Raises:
        InputError: There are faults, and `strict`.
    """
    if not faults:
        return
    logging.warning("faults of the data:\n%s", fault_table(faults))
    if strict:
        kinds = "; ".join(f"{fault.count} × {fault.kind}, as {fault.places[0]}" for fault in faults)
        raise InputError(f"the data has faults: {kinds}; mend the files, or leave out --strict")


def fault_table(faults: Sequence[DataFault]) -> str:
    """A line for each kind of fault: how many, what, and where.

    Example:
        >>> print(fault_table([DataFault("empty text", 12, ("a.tsv:3", "a.tsv:9"))]))
        12  empty text  a.tsv:3, a.tsv:9, ...
    """
    numbers = max((len(str(fault.count)) for fault in faults), default=0)
    kinds = max((len(fault.kind) for fault in faults), default=0)
    return "\n".join(
        f"{fault.count:{numbers}d}  {fault.kind:{kinds}s}  {', '.join(fault.places)}"
        f"{', ...' if fault.count > len(fault.places) else ''}"
        for fault in faults
    )


def _found(*kinds: tuple[str, Iterable[str]]) -> list[DataFault]:
    lists = [(kind, list(places)) for kind, places in kinds]
    return [DataFault(kind, len(places), tuple(places[:_PLACES])) for kind, places in lists if places]


def _key(row: Example) -> tuple[str, str | None]:
    return row.text.strip(), row.pair and row.pair.strip()


def _is_full(row: Example) -> bool:
    return bool(row.text.strip()) and (row.pair is None or bool(row.pair.strip()))


def _like(label: str, rows_of: dict) -> str:
    """The larger class whose name is nearly the same."""
    others = [str(other) for other, rows in rows_of.items() if len(rows) > 1]
    close = difflib.get_close_matches(label, others, n=1)
    return f"; {close[0]}?" if close else ""
