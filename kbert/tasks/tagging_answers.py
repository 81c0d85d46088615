"""How answers are made of what a tagger says: windows stitched, words without a piece filled in."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kbert import features
from kbert.data import EncodedRows, TaggedText
from kbert.evaluation import decode_entities
from kbert.tag_schemes import Entity, entities_of, entity_score, tags_of
from kbert.tasks.tagging_encoding import IS_BEST, WORD, WORD_STOP

#: Of words for which no piece answers.
UNANSWERED = "O"


class WordTag(NamedTuple):
    """What one position says.

    Args:
        begin: The first word that it answers for, from 0.
        stop: The word after the last one.
        tag: The tag.
        score: Its probability.
    """

    begin: int
    stop: int
    tag: str
    score: float


def stitch(
    encoded: EncodedRows, outputs: Mapping[str, Sequence[np.ndarray]], tags: Sequence[str], count: int
) -> list[list[WordTag]]:
    """What is said of each text, every word once, by the window that shows most of its context.

    Args:
        encoded: Of `encode_words`.
        outputs: `tag_ids` and `scores`, each an array (W) for each row of `encoded`.
        tags: Names by id.
        count: Number of texts.

    Returns:
        For each text its words, in order.
    """
    found: list[list[WordTag]] = [[] for _ in range(count)]
    places = [encoded.places[name] for name in (WORD, WORD_STOP, IS_BEST)]
    splits = places[0].row_splits.numpy()
    word, stop, is_best = (values.values.numpy() for values in places)
    for row, text in enumerate(encoded.owner.tolist()):
        there = slice(splits[row], splits[row + 1])
        for place in np.flatnonzero((word[there] >= 0) & (is_best[there] == 1)).tolist():
            tag = tags[int(outputs[features.TAG_IDS][row][place])]
            score = float(outputs[features.SCORE][row][place])
            begin = int(splits[row]) + place
            found[text].append(WordTag(int(word[begin]), int(stop[begin]), tag, score))
    return [sorted(of_text) for of_text in found]


def answer_of(row: TaggedText, said: Sequence[WordTag], scheme: str | None) -> dict:
    """The answer for one text.

    Entities are read from the words that were answered, one after the other: a word of which no piece is left
    goes on with an entity that stands on both its sides, and is outside otherwise.

    Args:
        row: The text.
        said: Of `stitch`.
        scheme: Of the tags; None where they are no entities.

    Returns:
        `words`, `starts` and `ends` (in characters of the text), `tags` and `scores`, lists with a value for
        each word; and with a scheme `entities`, dicts of `type`, `start`, `end`, `text` and `score`, as
        `entity_score` has it of its words. The tags keep to the rules of the scheme. A word that was cut off,
        or of which nothing is left, has score 0.
    """
    tags, scores = [UNANSWERED] * len(row.words), [0.0] * len(row.words)
    for word in said:
        tags[word.begin : word.stop] = [word.tag] * (word.stop - word.begin)
        scores[word.begin : word.stop] = [word.score] * (word.stop - word.begin)
    answer = {
        "words": [row.text[begin:end] for begin, end in row.words],
        "tags": tags,
        "scores": scores,
        "starts": [begin for begin, _ in row.words],
        "ends": [end for _, end in row.words],
    }
    if scheme is None:
        return answer
    runs = entities_of([word.tag for word in said])
    spans = [Entity(run.type, said[run.begin].begin, said[run.end - 1].stop) for run in runs]
    answer["tags"] = tags_of(spans, len(row.words), scheme)
    sure = [entity_score(scores[span.begin : span.end]) for span in spans]
    entities = decode_entities(row.text, row.words, answer["tags"])
    return {
        "entities": [{**entity, "score": score} for entity, score in zip(entities, sure, strict=True)],
        **answer,
    }
