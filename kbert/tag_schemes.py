"""Schemes of tags: how entities of several words are written as one tag a word, and read again."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kbert.errors import InputError

#: The letters of an entity's first, inner and last word, and of the only word of a short one. IOB1 has one
#: more rule: the first word is B where an entity of the same type ends right before it.
_LETTERS = {"BIO": "BIIB", "IOB1": "IIII", "BIOES": "BIES", "BMES": "BMES"}

#: `BIO` (also called IOB2), `IOB1` (as the CoNLL-2003 files), `BIOES`, `BMES` (the same with M for I).
SCHEMES = tuple(_LETTERS)

_FIRST_OR_INNER, _INNER_OR_LAST = frozenset("BIM"), frozenset("IME")


class Entity(NamedTuple):
    """A run of words that is one thing.

    Args:
        type: Such as `PER`; empty where tags are letters only, as in word segmentation.
        begin: Number of the first word, from 0.
        end: Number of the word after the last one.
    """

    type: str
    begin: int
    end: int


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities of one sentence, in order; of tags in any scheme, and also where tags break its rules.

    A word goes on with the entity before it where its letter is I, M or E, the letter before B, I or M, and
    the type the same; otherwise every tag but `O` begins an entity. So an I after O begins one, too.

    Args:
        tags: `O`, or a letter of B, I, M, E, S, and mostly a hyphen and the type, which may have hyphens.

    Raises:
        InputError: A tag is of another form.

    Example:
        >>> entities_of(["I-PER", "I-PER", "B-PER", "O"])
        [Entity(type='PER', begin=0, end=2), Entity(type='PER', begin=2, end=3)]

    Reference:
        Tjong Kim Sang, 2000, conlleval.pl, as seqeval 1.2.2 follows it in its default mode.
    """
    entities = []
    letter_before, type_before = "O", ""
    for place, tag in enumerate(tags):
        letter, type_ = split_tag(tag)
        goes_on = letter in _INNER_OR_LAST and letter_before in _FIRST_OR_INNER and type_ == type_before
        if goes_on:
            entities[-1] = entities[-1]._replace(end=place + 1)
        elif letter != "O":
            entities.append(Entity(type_, place, place + 1))
        letter_before, type_before = letter, type_
    return entities


def entity_score(scores: Iterable[float]) -> float:
    """The score of an entity: the mean over those of its words of which the model said something.

    Args:
        scores: Of its words, 0 where a word has no piece, or none that was looked at.

    Example:
        >>> entity_score([0.9, 0.0, 0.6])
        0.75
    """
    said = [score for score in scores if score > 0]
    return sum(said) / len(said) if said else 0.0


def tags_of(entities: Iterable[Entity], length: int, scheme: str = "BIO") -> list[str]:
    """The tags of a sentence of `length` words with these entities.

    Args:
        entities: In order, none over another.
        length: In words.
        scheme: Of `SCHEMES`.

    Example:
        >>> tags_of([Entity("LOC", 0, 1), Entity("PER", 2, 4)], 5, "BIOES")
        ['S-LOC', 'O', 'B-PER', 'E-PER', 'O']
    """
    first, inner, last, single = _LETTERS[scheme]
    tags, before = ["O"] * length, Entity("", -1, -1)
    for entity in entities:
        size = entity.end - entity.begin
        letters = single if size == 1 else first + inner * (size - 2) + last
        if scheme == "IOB1" and (before.type, before.end) == (entity.type, entity.begin):
            letters = "B" + letters[1:]
        ending = entity.type and f"-{entity.type}"
        tags[entity.begin : entity.end] = [letter + ending for letter in letters]
        before = entity
    return tags


def well_formed_entities(tags: Sequence[str], scheme: str = "BIO") -> list[Entity]:
    """Only the entities that are written by the rules of the scheme from their first word to their last.

    Reference:
        seqeval 1.2.2, `mode="strict"`, whose `IOB2` is `BIO` here, and `IOBES` is `BIOES`. Departure: where
        IOB1 has a B that should be an I, it takes the I after it for an entity, or none for the one before.
    """
    entities = entities_of(tags)
    right = tags_of(entities, len(tags), scheme)
    return [
        entity for entity in entities if right[entity.begin : entity.end] == list(tags[slice(*entity[1:])])
    ]


def faulty_tags(tags: Sequence[str], scheme: str) -> list[tuple[int, str]]:
    """Where tags break the rules of a scheme: the number of the word, and the tag that it should have.

    Example:
        >>> faulty_tags(["O", "I-PER", "I-PER"], "BIO")
        [(1, 'B-PER')]
    """
    right = tags_of(entities_of(tags), len(tags), scheme)
    return [(place, tag) for place, tag in enumerate(right) if tag != tags[place]]


def find_scheme(sentences: Iterable[Sequence[str]]) -> str | None:
    """The scheme whose rules the tags break least often; of equals the first of `SCHEMES`.

    Args:
        sentences: The tags of each.

    Returns:
        One of `SCHEMES`; None where most sentences have tags of another form, such as parts of speech.
    """
    faults, fitting = dict.fromkeys(SCHEMES, 0), 0
    for tags in sentences:
        try:
            for scheme in SCHEMES:
                faults[scheme] += len(faulty_tags(tags, scheme))
            fitting += 1
        except InputError:
            fitting -= 1
    return min(SCHEMES, key=faults.__getitem__) if fitting >= 0 else None


def scheme_of_set(tags: Iterable[str]) -> str | None:
    """The scheme that a set of tags is for, by its letters; None where one of them is of another form.

    Example:
        >>> scheme_of_set(["O", "B-PER", "M-PER", "E-PER", "S-PER"])
        'BMES'
    """
    try:
        letters = {split_tag(tag)[0] for tag in tags}
    except InputError:
        return None
    if letters & set("MES"):
        return "BMES" if "M" in letters else "BIOES"
    return "BIO" if "B" in letters else "IOB1"


def split_tag(tag: str) -> tuple[str, str]:
    """Letter and type: `("B", "PER")` of `B-PER`, `("O", "")` of `O`.

    Raises:
        InputError: The tag is of another form.
    """
    letter, hyphen, type_ = tag.partition("-")
    if letter not in set("BIMES") if hyphen else letter not in set("BIMESO"):
        raise InputError(
            f"tag {tag!r}; expected O, or B, I, M, E or S, alone or before a hyphen and a type (B-PER)"
        )
    return letter, type_
