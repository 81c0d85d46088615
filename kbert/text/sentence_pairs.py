"""Next-sentence instances: documents of sentences become pairs of token runs."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kbert.errors import InputError

Sentence = Sequence[int]
Document = Sequence[Sentence]


@dataclass(frozen=True)
class SentencePair:
    """One training instance without its special tokens.

    Args:
        first: Token ids of A.
        second: Token ids of B.
        is_random: B comes from another document, instead of following A.
    """

    first: list[int]
    second: list[int]
    is_random: bool


def sentence_pairs(
    documents: Sequence[Document],
    *,
    max_length: int,
    seed: int,
    short_probability: float = 0.1,
) -> Iterator[SentencePair]:
    """Cuts every document into pairs (A, B), half of them with a B that really follows.

    Sentences are collected until they fill `max_length`; A ends at a random one of them. B is the rest,
    or, in half of the cases and always where nothing is left, a run from a random *other* document; the
    sentences that B would have used go back to the next pair, so no text is lost.

    The pairs of document number i depend on `seed` and i alone.

    Args:
        documents: At least two; each a sequence of sentences, each a sequence of token ids.
        max_length: Pieces of [CLS] A [SEP] B [SEP], at least 8.
        seed: Of all random choices.
        short_probability: Share of pairs with a random shorter target length, as in the original, so
            that short inputs are seen too.

    Raises:
        InputError: Fewer than two documents, or `max_length` under 8.

    Reference:
        google-research/bert, create_pretraining_data.py, `create_instances_from_document`.
    """
    if len(documents) < 2:
        raise InputError(
            f"the corpus has {len(documents)} document(s); next-sentence pairs need at least 2, or every "
            f"'random' sentence would come from the same text; put an empty line between documents"
        )
    if max_length < 8:
        raise InputError(
            f"max_length={max_length} is too short for [CLS] A [SEP] B [SEP]; expected at least 8"
        )
    for index in range(len(documents)):
        rng = random.Random(f"{seed}/{index}")  # noqa: S311 - reproducible, not secret
        yield from _pairs_of_document(documents, index, max_length - 3, short_probability, rng)


def _pairs_of_document(documents, index, max_tokens, short_probability, rng) -> Iterator[SentencePair]:
    document = documents[index]
    target = _target_length(max_tokens, short_probability, rng)
    chunk: list[Sentence] = []
    length, position = 0, 0
    while position < len(document):
        chunk.append(document[position])
        length += len(document[position])
        position += 1
        if length < target and position < len(document):
            continue
        cut = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
        first = [token for sentence in chunk[:cut] for token in sentence]
        is_random = len(chunk) == 1 or rng.random() < 0.5
        if is_random:
            second = _random_run(documents, index, target - len(first), rng)
            position -= len(chunk) - cut  # The sentences not used are taken up again.
        else:
            second = [token for sentence in chunk[cut:] for token in sentence]
        _truncate(first, second, max_tokens, rng)
        if first and second:
            yield SentencePair(first, second, is_random)
        chunk, length = [], 0
        target = _target_length(max_tokens, short_probability, rng)


def _target_length(max_tokens, short_probability, rng) -> int:
    return rng.randint(2, max_tokens) if rng.random() < short_probability else max_tokens


def _random_run(documents, index, target, rng) -> list[int]:
    other = rng.randrange(len(documents) - 1)
    document = documents[other if other < index else other + 1]
    run: list[int] = []
    for sentence in document[rng.randrange(len(document)) :]:
        run.extend(sentence)
        if len(run) >= target:
            break
    return run


def _truncate(first: list[int], second: list[int], max_tokens: int, rng) -> None:
    """Shortens the longer of the two, token by token, at its front or its back at random."""
    while len(first) + len(second) > max_tokens:
        longer = first if len(first) > len(second) else second
        longer.pop(0 if rng.random() < 0.5 else -1)
