"""Whether sentence vectors tell what belongs together."""

from collections.abc import Sequence

import numpy as np

from kbert.evaluation.scores import regression_scores

#: Cosines at a time: queries, and all numbers, which are half a gigabyte.
_MOST_QUERIES, _MOST_COSINES = 1024, 2**26


def similarity_scores(first: np.ndarray, second: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    """How the cosine of two texts' vectors goes with how similar people say they are.

    Args:
        first: float (rows, H), vectors of any length.
        second: float (rows, H).
        gold: float (rows), on any scale.

    Returns:
        `spearman` and `pearson` of the cosines and the gold scores.

    Reference:
        Reimers and Gurevych, 2019, "Sentence-BERT", section 4.
    """
    scores = regression_scores(gold, (unit_vectors(first) * unit_vectors(second)).sum(1))
    return {"spearman": scores["spearman"], "pearson": scores["pearson"]}


def recall_at_k(
    queries: np.ndarray, texts: np.ndarray, right: np.ndarray | None = None, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """How often the text that belongs to a query is among the k most similar of all texts.

    Args:
        queries: float (Q, H).
        texts: float (T, H), the pool in which to look.
        right: int (Q), which text belongs to each query; None is text i to query i.
        ks: The lengths of the list to look through.

    Returns:
        `recall@1` and so on, 0 to 1. Of equally similar texts the right one comes last, so vectors that
        are all the same find nothing.

    Example:
        >>> recall_at_k(np.eye(2), np.array([[0.0, 1.0], [0.0, 2.0]]), ks=(1, 2))
        {'recall@1': 0.0, 'recall@2': 1.0}
    """
    right = np.arange(len(queries)) if right is None else np.asarray(right)
    return recalls(right_ranks(queries, texts, right), ks)


def right_ranks(queries: np.ndarray, texts: np.ndarray, right: np.ndarray) -> np.ndarray:
    """At which place of the list of all texts, by falling cosine, each query's own text stands.

    Args:
        queries: float (Q, H).
        texts: float (T, H).
        right: int (Q), which text belongs to each query.

    Returns:
        int64 (Q), from 1; of equally similar texts the right one comes last.
    """
    queries, texts = unit_vectors(queries), unit_vectors(texts)
    ranks, chunk = [], max(1, min(_MOST_QUERIES, _MOST_COSINES // len(texts)))
    for start in range(0, len(queries), chunk):
        cosines = queries[start : start + chunk] @ texts.T
        own = np.take_along_axis(cosines, right[start : start + chunk, None], 1)
        ranks.append((cosines >= own - 1e-12).sum(1))  # The right one itself is among them.
    return np.concatenate(ranks)


def recalls(ranks: np.ndarray, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """`recall@1` and so on, 0 to 1, of ranks from 1, such as those of `right_ranks`."""
    return {f"recall@{k}": float((ranks <= k).mean()) for k in ks}


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """float64 (rows, H), each divided by its length; a vector of zeros stays one."""
    vectors = np.asarray(vectors, np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
