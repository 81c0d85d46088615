"""How many entities were found: precision, recall and F1, for all and for each type."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kbert.tag_schemes import entities_of, well_formed_entities

Tags = Sequence[Sequence[str]]


def entity_scores(gold: Tags, predicted: Tags, scheme: str | None = None) -> dict:
    """Precision, recall and F1 of entities; one counts as found if its type and both its ends are right.

    Args:
        gold: The tags of each sentence, words that are there only.
        predicted: As many of each.
        scheme: None reads tags as conlleval does, whatever the scheme and also where its rules are broken:
            an I after O begins an entity. One of `kbert.tag_schemes.SCHEMES` is strict: an entity that is
            not written by its rules is none.

    Returns:
        `precision`, `recall`, `f1` of all entities together (micro); `macro_f1`, the mean over types;
        `accuracy` of the tags, O included; `per_type`: type -> dict of `precision`, `recall`, `f1` and
        `support`, the entities there are. What is not defined is 0.

    Raises:
        ValueError: A sentence has not as many gold as predicted tags.

    Example:
        >>> scores = entity_scores([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "O", "O", "B-LOC"]])
        >>> scores["f1"], scores["per_type"]["PER"]["f1"]
        (0.5, 0.0)

    Reference:
        Tjong Kim Sang, 2000, conlleval.pl; seqeval 1.2.2, `classification_report` in default mode, and with
        a scheme in strict mode.
    """
    counts = entity_counts(gold, predicted, scheme)
    per_type = {
        kind: _scores(*(int(count[kind]) for count in counts)) for kind in sorted(counts[1] | counts[2])
    }
    total = _scores(*(sum(count.values()) for count in counts))
    pairs = [pair for sentences in zip(gold, predicted, strict=True) for pair in zip(*sentences, strict=True)]
    return {
        "precision": total["precision"],
        "recall": total["recall"],
        "f1": total["f1"],
        "macro_f1": float(np.mean([row["f1"] for row in per_type.values()])) if per_type else 0.0,
        "accuracy": sum(right == tag for right, tag in pairs) / len(pairs) if pairs else 0.0,
        "per_type": per_type,
    }


def entity_counts(gold: Tags, predicted: Tags, scheme: str | None = None) -> tuple[Counter, Counter, Counter]:
    """How many entities of each type were found rightly, were predicted, and are there.

    Args:
        gold: As for `entity_scores`.
        predicted: As for `entity_scores`.
        scheme: As for `entity_scores`.
    """
    counts = Counter(), Counter(), Counter()
    for right, tags in zip(gold, predicted, strict=True):
        if len(right) != len(tags):
            raise ValueError(f"{len(right)} gold tags but {len(tags)} predicted ones; expected as many")
        there, claimed = (set(_entities(each, scheme)) for each in (right, tags))
        for count, entities in zip(counts, (there & claimed, claimed, there), strict=True):
            count.update(entity.type for entity in entities)
    return counts


def _entities(tags, scheme):
    return entities_of(tags) if scheme is None else well_formed_entities(tags, scheme)


def _scores(hits: int, predicted: int, gold: int) -> dict:
    precision = hits / predicted if predicted else 0.0
    recall = hits / gold if gold else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "support": gold}
