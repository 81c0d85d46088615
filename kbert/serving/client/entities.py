"""Entities from the tags of words, without the packages that training needs."""

from collections.abc import Sequence

from kbert.errors import InputError
from kbert.serving.client.results import Entity, Tagging, Word


def join_entities(text: str, words: Sequence[Word]) -> tuple[Entity, ...] | None:
    """The entities of a text.

    A word goes on with the entity before it where its letter is I, M or E, the letter before B, I or M, and
    the type the same; otherwise every tag but `O` begins an entity. That reads BIO, IOB1, BIOES and BMES, and
    mends broken rules: an I after O begins an entity, too. It is what `kbert.pipeline` does.

    Args:
        text: The original.
        words: In order.

    Returns:
        In order; None if a tag is no letter of these schemes, alone or before a hyphen and a type.

    Example:
        >>> words = [Word("New", "B-LOC", 3, 6, 0.9), Word("York", "I-LOC", 8, 12, 0.7)]
        >>> join_entities("in New  York", words)
        (Entity(label='LOC', text='New  York', start=3, end=12, score=0.8),)
    """
    groups: list[tuple[str, list[Word]]] = []
    letter_before, label_before = "O", ""
    for word in words:
        letter, hyphen, label = word.tag.partition("-")
        if letter not in (set("BIMES") if hyphen else set("BIMESO")):
            return None
        if letter in {"I", "M", "E"} and letter_before in {"B", "I", "M"} and label == label_before:
            groups[-1][1].append(word)
        elif letter != "O":
            groups.append((label, [word]))
        letter_before, label_before = letter, label
    return tuple(_entity(text, label, group) for label, group in groups)


def entities_of(tagging: Tagging, where: str) -> tuple[Entity, ...]:
    """The entities of a tagged text.

    Raises:
        InputError: The tags are of another kind; `where` names the model.
    """
    if tagging.entities is None:
        tags = ", ".join(sorted({word.tag for word in tagging.words})[:3])
        raise InputError(f"{where}: its tags ({tags}) are no entities; use tag()")
    return tagging.entities


def _entity(text: str, label: str, words: Sequence[Word]) -> Entity:
    start, end = words[0].start, words[-1].end
    return Entity(label, text[start:end], start, end, sum(word.score for word in words) / len(words))
