"""What is wrong with labelled data, told before anything is trained on it."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from absl import logging

from kbert.data.answer_readers import Question
from kbert.data.choice_readers import ChoiceExample
from kbert.data.examples import Example
from kbert.data.labels import labels_of
from kbert.data.readers import LabelSetExample, ScoredExample
from kbert.data.similar_text_readers import Triple
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


def classification_faults(
    train: Sequence[Example | LabelSetExample], dev: Sequence[Example | LabelSetExample] = ()
) -> list[DataFault]:
    """Empty texts, equal texts with different labels, labels that may be one, dev rows that are in train.

    Args:
        train: Rows to train on, of one label each or of several.
        dev: Rows to measure on.
    """
    rows_of = defaultdict(list)
    for row in train:
        for label in labels_of(row):
            rows_of[label].append(row)
    return _found(
        *_text_faults(train, dev, "labels", labels_of),
        (
            "label of one row only (a typo?)",
            _singles({label: [row.source for row in rows] for label, rows in rows_of.items()}),
        ),
        ("label that only case or spaces part from another one (the same?)", _nearly_equal(rows_of)),
        (
            "label of dev that is not in train (counts as wrong)",
            (f"{row.source} ({label})" for row in dev for label in labels_of(row) if label not in rows_of),
        ),
    )


def score_faults(train: Sequence[ScoredExample], dev: Sequence[ScoredExample] = ()) -> list[DataFault]:
    """Empty texts, equal texts with different scores, and dev rows that are in train.

    Args:
        train: Rows to train on.
        dev: Rows to measure on.
    """
    return _found(*_text_faults(train, dev, "scores", lambda row: (row.score,)))


def choice_faults(train: Sequence[ChoiceExample], dev: Sequence[ChoiceExample] = ()) -> list[DataFault]:
    """Empty texts and choices, choices that are there twice, other answers to the same, dev rows in train.

    A choice `""` is none: it fills up the list of a row that has fewer than others.

    Args:
        train: Rows to train on.
        dev: Rows to measure on.
    """
    rows = [*train, *dev]
    choices_of = [[choice for choice in row.choices if choice != ""] for row in rows]
    answers_to = defaultdict(set)
    for row in train:
        answers_to[row.text, row.question, row.choices].add(row.label)
    return _found(
        (
            "empty text or choice",
            (
                row.source
                for row, choices in zip(rows, choices_of, strict=True)
                if not choices or not all(text.strip() for text in (row.text, *choices))
            ),
        ),
        (
            "choice that is there twice",
            (
                row.source
                for row, choices in zip(rows, choices_of, strict=True)
                if len(set(choices)) < len(choices)
            ),
        ),
        (
            "equal questions with different answers",
            (row.source for row in train if len(answers_to[row.text, row.question, row.choices]) > 1),
        ),
        (
            "row of dev that is also in train",
            (row.source for row in dev if (row.text, row.question, row.choices) in answers_to),
        ),
    )


def similarity_faults(train: Sequence[Triple], dev: Sequence[Triple] = ()) -> list[DataFault]:
    """Empty texts, texts that belong to themselves or are their own opposite, and dev rows that are in train.

    Args:
        train: Rows to train on.
        dev: Rows to measure on.
    """
    rows = [*train, *dev]
    known = {(row.anchor, row.positive) for row in train}
    return _found(
        (
            "empty text",
            (
                row.source
                for row in rows
                if any(
                    text is not None and not text.strip() for text in (row.anchor, row.positive, row.negative)
                )
            ),
        ),
        ("two equal texts as a pair", (row.source for row in rows if row.anchor == row.positive)),
        ("the same text as right and wrong", (row.source for row in rows if row.negative == row.positive)),
        (
            "row of dev that is also in train",
            (row.source for row in dev if (row.anchor, row.positive) in known),
        ),
    )


def tagging_faults(
    train: Sequence[TaggedText], dev: Sequence[TaggedText] = (), scheme: str | None = None
) -> list[DataFault]:
    """Tags that break their scheme's rules, types of one word or of dev alone, and dev texts in train.

    Args:
        train: Texts to train on.
        dev: Texts to measure on.
        scheme: Of `kbert.tag_schemes.SCHEMES`; None finds that of train. Tags of no scheme, such as parts
            of speech, have no rules to break.
    """
    scheme = scheme or find_scheme(text.tags for text in train)
    # A part of speech may have a hyphen as well, as NN-HL of the Brown corpus.
    type_of = str if scheme is None else _type
    texts = {text.text for text in train}
    words_of = defaultdict(list)
    for text in train:
        for tag in text.tags:
            words_of[type_of(tag)].append(text.source)
    return _found(
        (
            f"tag against the rules of {scheme}",
            _places_of_faulty_tags([*train, *dev], scheme),
        ),
        ("type of one word only (a typo?)", _singles(words_of)),
        (
            "tag of dev that is not in train (counts as wrong)",
            (f"{text.source} ({tag})" for text in dev for tag in text.tags if type_of(tag) not in words_of),
        ),
        ("text of dev that is also in train", (text.source for text in dev if text.text in texts)),
    )


def _places_of_faulty_tags(texts: Sequence[TaggedText], scheme: str | None) -> Iterator[str]:
    if scheme is None:
        return
    for text in texts:
        try:
            for place, right in faulty_tags(text.tags, scheme):
                yield f"{text.source}, word {place + 1} ({text.tags[place]}, not {right})"
        except InputError as error:
            yield f"{text.source} ({str(error).partition(';')[0]})"


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
            "answer that is not in its passage, or in several places (not trained on)",
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


def _text_faults(train: Sequence, dev: Sequence, answers: str, answer_of: Callable) -> list:
    """What can be wrong with texts and pairs, whatever is to be said of them; for `_found`.

    Args:
        train: Rows with `text`, `pair` and `source`.
        dev: More of them.
        answers: What is said of them, for the message.
        answer_of: Gives that of a row, a tuple; the order in it is of no matter.
    """
    answers_of = defaultdict(set)
    for row in train:
        answers_of[_key(row)].add(frozenset(answer_of(row)))
    return [
        ("empty text", (row.source for row in [*train, *dev] if not _is_full(row))),
        (
            f"equal texts with different {answers}",
            (
                f"{row.source} ({', '.join(map(str, answer_of(row)))})"
                for row in train
                if len(answers_of[_key(row)]) > 1
            ),
        ),
        ("row of dev that is also in train", (row.source for row in dev if _key(row) in answers_of)),
    ]


def _key(row) -> tuple[str, str | None]:
    return row.text.strip(), row.pair and row.pair.strip()


def _is_full(row) -> bool:
    return bool(row.text.strip()) and (row.pair is None or bool(row.pair.strip()))


def _type(tag: str) -> str:
    return tag.partition("-")[2] or tag


def _nearly_equal(rows_of: Mapping[str, Sequence]) -> Iterator[str]:
    """Where the labels are of which another one, with more rows, differs by its case or its spaces alone."""
    alike = defaultdict(list)
    for label in rows_of:
        alike["".join(label.casefold().split())].append(label)
    for labels in alike.values():
        most, *others = sorted(labels, key=lambda label: -len(rows_of[label]))
        for label in others:
            yield from (f"{row.source} ({label!r}; {most!r}?)" for row in rows_of[label])


def _singles(places_of: Mapping[str, Sequence[str]]) -> list[str]:
    """Where the classes of a single place are; for those that are shown with a larger one of like name."""
    singles = [name for name, places in places_of.items() if len(places) == 1]
    others = [str(name) for name, places in places_of.items() if len(places) > 1]
    close = [difflib.get_close_matches(name, others, n=1) for name in singles[:_PLACES]]
    hints = [f"; {names[0]}?" if names else "" for names in close] + [""] * len(singles[_PLACES:])
    return [f"{places_of[name][0]} ({name}{hint})" for name, hint in zip(singles, hints, strict=True)]
