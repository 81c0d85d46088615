"""Similarity and recall of vectors whose neighbours are known."""

import tracemalloc

import numpy as np
import pytest

from kbert.evaluation import recall_at_k, recalls, retrieval_scores, right_ranks, similarity_scores


def test_cosine_does_not_see_lengths():
    angles = np.array([0.1, 0.5, 1.0, 2.0])
    first = np.tile([1.0, 0.0], (4, 1)) * [[1], [50], [3], [7]]
    second = np.stack([np.cos(angles), np.sin(angles)], 1) * [[9], [1], [0.1], [4]]
    assert similarity_scores(first, second, np.array([5, 4, 2, 0]))["spearman"] == 1.0
    assert similarity_scores(first, second, np.cos(angles))["pearson"] == pytest.approx(1.0)
    assert similarity_scores(first, second, np.array([0, 4, 2, 5]))["spearman"] == pytest.approx(-0.8)


def test_recall_counts_the_better_ones():
    texts = np.array([[1.0, 0.0], [1.0, 0.2], [1.0, 0.4], [0.0, 1.0]])
    queries = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    found = recall_at_k(queries, texts, right=np.array([0, 2, 3]), ks=(1, 2, 3))
    assert found == {"recall@1": pytest.approx(2 / 3), "recall@2": pytest.approx(2 / 3), "recall@3": 1.0}


def test_vectors_that_are_all_the_same_find_nothing():
    same = np.ones((20, 3))
    assert recall_at_k(same, same, ks=(1, 10)) == {"recall@1": 0.0, "recall@10": 0.0}
    assert recall_at_k(np.zeros((2, 3)), np.zeros((2, 3)), ks=(1,)) == {"recall@1": 0.0}


def test_many_queries_are_taken_in_parts():
    vectors = np.random.default_rng(0).normal(size=(1500, 8))
    assert recall_at_k(vectors + 1e-3, vectors, ks=(1,)) == {"recall@1": 1.0}


def test_of_many_texts_fewer_queries_go_at_a_time(monkeypatch):
    """A thousand queries beside a million texts would take 8 GB."""
    rng = np.random.default_rng(1)
    queries, texts, right = rng.normal(size=(300, 4)), rng.normal(size=(2000, 4)), rng.integers(0, 2000, 300)
    expected = right_ranks(queries, texts, right).tolist()
    for most in (2**14, 100):
        monkeypatch.setattr(retrieval_scores, "_MOST_COSINES", most)
        tracemalloc.start()
        assert right_ranks(queries, texts, right).tolist() == expected
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


def test_ranks_restated():
    rng = np.random.default_rng(3)
    queries, texts, right = rng.normal(size=(20, 4)), rng.normal(size=(9, 4)), rng.integers(0, 9, 20)
    ranks = right_ranks(queries, texts, right)
    for query, own, rank in zip(queries, right, ranks, strict=True):
        cosines = [query @ text / np.linalg.norm(query) / np.linalg.norm(text) for text in texts]
        assert rank == 1 + sum(cosine > cosines[own] for cosine in cosines)
    assert (
        recalls(ranks, (2,)) == recall_at_k(queries, texts, right, (2,)) == {"recall@2": np.mean(ranks <= 2)}
    )
