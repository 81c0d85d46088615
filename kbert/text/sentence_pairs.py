"""Pretraining instances: a document of sentences becomes runs of tokens, mostly two that belong together.

A token may be anything (here: an integer); this module only counts, cuts and joins.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kbert.errors import InputError

Sentence = Sequence[int]
Document = Sequence[Sentence]

#: What the second run of a pair teaches: next-sentence prediction, sentence order, or nothing (no second).
NEXT_SENTENCE_KINDS = ("nsp", "sop", "none")

_DRAWS = 10  # of another document


@dataclass(frozen=True)
class SentencePair:
    """One training instance without its special tokens.

    Args:
        first: Tokens of A.
        second: Tokens of B; empty where there is no next-sentence task.
        label: 0 = B follows A in the text; 1 = B is from another document, or, for sentence order, stood
            before A.
    """

    first: list[int]
    second: list[int]
    label: int


def sentence_pairs(
    documents: Sequence[Document],
    index: int,
    *,
    max_length: int,
    rng: random.Random,
    next_sentence: str = "nsp",
    short_probability: float = 0.1,
) -> Iterator[SentencePair]:
    """Cuts a document into instances; its sentences are read one by one, so it may be of any length.

    With "nsp", sentences are collected until they fill `max_length`; A ends at a random one of them. B is
    the rest, or, in half of the cases and always where nothing is left, a run from a random other document;
    the sentences that B would have used are put back for the next pair, so no text is lost. "sop" swaps A
    and B instead, but for what has no rest. What is too long is cut token by token from the longer of the
    two, at its front or its back at random.

    With "none", whole sentences are packed into single runs up to `max_length`, none across documents.

    Args:
        documents: At least two but for "none"; each a sequence of sentences, each a sequence of tokens.
        index: Of the document to cut.
        max_length: Pieces of [CLS] A [SEP] B [SEP], at least 8.
        rng: Of all random choices, in the order in which the reference makes them.
        next_sentence: "nsp", "sop" or "none".
        short_probability: Share of documents whose pairs all have one random shorter target length, so that
            short inputs are seen too.

    Raises:
        InputError: Fewer than two documents, or `max_length` under 8.

    Example:
        >>> documents = [[[1, 2], [3]], [[7], [8, 9]]]
        >>> for pair in sentence_pairs(documents, 0, max_length=8, rng=random.Random(1)):
        ...     print(pair.first, pair.second, pair.label)
        [1, 2] [8, 9] 1
        [3] [8, 9] 1

    Reference:
        google-research/bert and google-research/albert, create_pretraining_data.py,
        `create_instances_from_document`, draw for draw, but that masks are drawn elsewhere. For "none":
        Liu et al., 2019, "RoBERTa", section 4.2, DOC-SENTENCES.
    """
    if max_length < 8:
        raise InputError(
            f"max_length={max_length} is too short for [CLS] A [SEP] B [SEP]; expected at least 8"
        )
    if next_sentence == "none":
        return _single_runs(documents[index], max_length - 2)
    if len(documents) < 2:
        raise InputError(
            f"the corpus has {len(documents)} document(s); next-sentence pairs need at least 2, or every "
            f"'random' sentence would come from the same text; put an empty line between documents"
        )
    return _pairs(documents, index, max_length - 3, next_sentence == "sop", short_probability, rng)


def _pairs(documents, index, max_tokens, swap, short_probability, rng) -> Iterator[SentencePair]:
    document = documents[index]
    # One target for the whole document, as in the reference.
    target = rng.randint(2, max_tokens) if rng.random() < short_probability else max_tokens
    chunk: list[Sentence] = []
    length, position = 0, 0
    while position < len(document):
        chunk.append(document[position])
        length += len(chunk[-1])
        position += 1
        if length < target and position < len(document):
            continue
        cut = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
        first, second = _joined(chunk[:cut]), _joined(chunk[cut:])
        label = int(len(chunk) == 1 or rng.random() < 0.5)
        if label and (len(chunk) == 1 or not swap):
            second = _random_run(documents, index, target - len(first), rng)
            position -= len(chunk) - cut  # The sentences not used are taken up again.
        elif label:
            first, second = second, first
        yield SentencePair(*_truncated(first, second, max_tokens, rng), label)
        chunk, length = [], 0


def _random_run(documents, index, target, rng) -> list[int]:
    for _ in range(_DRAWS):
        other = rng.randint(0, len(documents) - 1)
        if other != index:
            break
    document = documents[other]
    run: list[int] = []
    for position in range(rng.randint(0, len(document) - 1), len(document)):
        run.extend(document[position])
        if len(run) >= target:
            break
    return run


def _truncated(first: list[int], second: list[int], max_tokens: int, rng) -> tuple[list[int], list[int]]:
    begins, ends = [0, 0], [len(first), len(second)]
    for _ in range(len(first) + len(second) - max_tokens):
        longer = 0 if ends[0] - begins[0] > ends[1] - begins[1] else 1
        if rng.random() < 0.5:
            begins[longer] += 1
        else:
            ends[longer] -= 1
    return first[begins[0] : ends[0]], second[begins[1] : ends[1]]


def _single_runs(document: Document, max_tokens: int) -> Iterator[SentencePair]:
    """Whole sentences up to `max_tokens`; only a sentence longer than that is cut."""
    run: list[int] = []
    for position in range(len(document)):
        sentence = document[position]
        if run and len(run) + len(sentence) > max_tokens:
            yield SentencePair(run, [], 0)
            run = []
        run.extend(sentence)
        begin = 0  # The rest is copied once, not at each cut: a sentence may be a book without line ends.
        while len(run) - begin > max_tokens:
            yield SentencePair(run[begin : begin + max_tokens], [], 0)
            begin += max_tokens
        del run[:begin]
    if run:
        yield SentencePair(run, [], 0)


def _joined(sentences: list[Sentence]) -> list[int]:
    return [token for sentence in sentences for token in sentence]
