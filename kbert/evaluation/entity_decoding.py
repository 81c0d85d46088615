"""From tags of words to entities of a text."""

from collections.abc import Sequence

from kbert.tag_schemes import entities_of


def decode_entities(text: str, words: Sequence[tuple[int, int]], tags: Sequence[str]) -> list[dict]:
    """The entities of one text, as they stand in it.

    Args:
        text: The original text.
        words: Where each word begins and ends in it, in characters; in order.
        tags: One for each word, in any scheme of `kbert.tag_schemes`; broken rules are mended.

    Returns:
        Dicts of `type`, `start`, `end` and `text`, which is `text[start:end]` of the original.

    Raises:
        ValueError: There are not as many words as tags.

    Example:
        >>> decode_entities("In New  York", [(0, 2), (3, 6), (8, 12)], ["O", "B-LOC", "I-LOC"])
        [{'type': 'LOC', 'start': 3, 'end': 12, 'text': 'New  York'}]
    """
    if len(words) != len(tags):
        raise ValueError(f"{len(words)} words but {len(tags)} tags came; expected as many")
    found = []
    for entity in entities_of(tags):
        start, end = words[entity.begin][0], words[entity.end - 1][1]
        found.append({"type": entity.type, "start": start, "end": end, "text": text[start:end]})
    return found
