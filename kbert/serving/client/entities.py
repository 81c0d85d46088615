"""Entities with text, places and scores, from the tags of words."""

from collections.abc import Sequence

from kbert import tag_schemes
from kbert.errors import InputError
from kbert.serving.client.results import Entity, Tagging, Word


def join_entities(text: str, words: Sequence[Word]) -> tuple[Entity, ...] | None:
    """The entities of a text.

    By the rules of `kbert.tag_schemes.entities_of` and `entity_score`, as `kbert.pipeline` does.

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
    try:
        found = tag_schemes.entities_of([word.tag for word in words])
    except InputError:
        return None
    return tuple(_entity(text, entity.type, words[entity.begin : entity.end]) for entity in found)


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
    score = tag_schemes.entity_score(word.score for word in words)
    return Entity(label, text[start:end], start, end, score)
