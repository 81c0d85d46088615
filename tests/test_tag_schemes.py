"""Entities to tags and back, in every scheme, right and wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbert.errors import InputError
from kbert.tag_schemes import (
    SCHEMES,
    Entity,
    entities_of,
    faulty_tags,
    find_scheme,
    scheme_of_set,
    split_tag,
    tags_of,
    well_formed_entities,
)

#: The same sentence in each scheme: entities that touch, of equal and of different types.
SENTENCE = [Entity("PER", 0, 2), Entity("PER", 2, 3), Entity("LOC", 3, 6), Entity("PER", 7, 8)]
WRITTEN = {
    "BIO": "B-PER I-PER B-PER B-LOC I-LOC I-LOC O B-PER O",
    "IOB1": "I-PER I-PER B-PER I-LOC I-LOC I-LOC O I-PER O",
    "BIOES": "B-PER E-PER S-PER B-LOC I-LOC E-LOC O S-PER O",
    "BMES": "B-PER E-PER S-PER B-LOC M-LOC E-LOC O S-PER O",
}


def laid_out(parts):
    entities, end = [], 0
    for gap, size, kind in parts:
        entities.append(Entity(kind, end + gap, end + gap + size))
        end += gap + size
    return entities


lists_of_entities = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(["PER", "work-of-art", ""]))
).map(laid_out)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_scheme_as_it_is_written(scheme):
    tags = WRITTEN[scheme].split()
    assert tags_of(SENTENCE, 9, scheme) == tags
    assert entities_of(tags) == SENTENCE
    assert well_formed_entities(tags, scheme) == SENTENCE
    assert faulty_tags(tags, scheme) == []
    assert find_scheme([tags]) == scheme


@given(lists_of_entities, st.sampled_from(SCHEMES), st.integers(0, 2))
def test_there_and_back(entities, scheme, more):
    length = (entities[-1].end if entities else 0) + more
    assert entities_of(tags_of(entities, length, scheme)) == entities


def test_word_segmentation_has_letters_only():
    assert entities_of("B E S B M E".split()) == [Entity("", 0, 2), Entity("", 2, 3), Entity("", 3, 6)]
    assert tags_of([Entity("", 0, 2), Entity("", 2, 3)], 3, "BMES") == ["B", "E", "S"]


@pytest.mark.parametrize(
    "tags, scheme, faults, kept",
    [
        ("O I-PER I-PER", "BIO", [(1, "B-PER")], []),
        ("B-PER I-LOC", "BIO", [(1, "B-LOC")], [Entity("PER", 0, 1)]),
        ("O B-PER I-PER", "IOB1", [(1, "I-PER")], []),
        ("B-PER I-PER O", "BIOES", [(1, "E-PER")], []),
        ("B-PER B-PER E-PER", "BIOES", [(0, "S-PER")], [Entity("PER", 1, 3)]),
        ("S-PER E-PER", "BIOES", [(1, "S-PER")], [Entity("PER", 0, 1)]),
        ("B-PER I-PER E-PER", "BMES", [(1, "M-PER")], []),
    ],
)
def test_faults_and_what_strict_reading_keeps(tags, scheme, faults, kept):
    assert faulty_tags(tags.split(), scheme) == faults
    assert well_formed_entities(tags.split(), scheme) == kept


def test_the_scheme_is_the_one_with_fewest_faults():
    right, wrong = "O I-PER I-PER O".split(), "O B-PER O".split()
    assert find_scheme([right, right, wrong]) == "IOB1"
    assert find_scheme([right, wrong, wrong]) == "BIO"
    assert find_scheme(["NN VB O".split()]) is None
    assert find_scheme([]) == "BIO"


def test_a_set_of_tags_says_its_scheme_by_its_letters():
    for scheme, tags in WRITTEN.items():
        assert scheme_of_set(tags.split()) == scheme or scheme == "IOB1"
    assert scheme_of_set(["O", "I-PER"]) == "IOB1" and scheme_of_set(["O", "B-PER"]) == "BIO"
    assert scheme_of_set(["O", "B-PER", "NN"]) is None


def test_other_tags_are_refused():
    assert split_tag("B-work-of-art") == ("B", "work-of-art")
    for tag in ("NN", "O-PER", "", "PER-B", "b-PER"):
        with pytest.raises(InputError, match=f"tag {tag!r}; expected O"):
            split_tag(tag)
