"""A tokenized corpus on disk: what goes in comes out, in parts, by number, in any process."""

import pickle
import random

import numpy as np
import pytest

from kbert.data.id_store import IdStore, IdStoreWriter, read_counts
from kbert.errors import InputError


def write(path, batches):
    """Each batch: a list of sentences, in which None ends a document."""
    with IdStoreWriter(path) as writer:
        for batch in batches:
            sentences = [item for item in batch if item is not None]
            ends = [
                sum(other is not None for other in batch[:place])
                for place, item in enumerate(batch)
                if item is None
            ]
            tokens = np.array([token for sentence in sentences for token in sentence], np.int32)
            writer.add(tokens, [len(sentence) for sentence in sentences], ends)


def plain(store):
    return [[list(sentence) for sentence in document] for document in store]


def test_documents_go_on_over_batches_and_empty_ones_are_left_out(tmp_path):
    write(
        tmp_path / "a", [[None, [1, 2], [3]], [[], [4], None, None, [5]], [[], None, []], [None, [6]], [None]]
    )
    write(tmp_path / "b", [[None, [], None]])
    write(tmp_path / "c", [[[7], [], [8, 9], None]])
    store = IdStore([tmp_path / name for name in "abc"])
    assert plain(store) == [[[1, 2], [3], [4]], [[5]], [[6]], [[7], [8, 9]]]
    assert (len(store), store.num_sentences, store.num_tokens) == (4, 7, 9)
    assert len(store[3]) == 2 and list(store[3][1]) == [8, 9]
    assert store.share([7, 9, 99]) == 2 / 9
    assert IdStore([]).share([7]) == 0
    for wrong in (-1, 4):
        with pytest.raises(IndexError):
            store[wrong]
    with pytest.raises(IndexError):
        store[1][1]


def test_random_documents_survive_and_travel_between_processes(tmp_path):
    rng = random.Random(1)
    documents = [
        [[rng.randrange(1 << 31) for _ in range(rng.randint(1, 9))] for _ in range(rng.randint(1, 5))]
        for _ in range(200)
    ]
    for part in range(4):
        batches = [[*document, None] for document in documents[part * 50 : part * 50 + 50]]
        write(tmp_path / str(part), batches)
    store = IdStore([tmp_path / str(part) for part in range(4)])
    assert plain(store) == documents == plain(pickle.loads(pickle.dumps(store)))


def test_a_file_appears_when_it_is_complete_and_a_cut_one_is_named(tmp_path):
    with pytest.raises(RuntimeError), IdStoreWriter(tmp_path / "part") as writer:
        writer.add(np.array([1, 2]), [2], [1])
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    write(tmp_path / "part", [[[1, 2], [3], None]])
    assert read_counts(tmp_path / "part") == (1, 2, 3)
    content = (tmp_path / "part").read_bytes()
    for size in (0, 5, len(content) - 1):
        (tmp_path / "cut").write_bytes(content[:size])
        with pytest.raises(InputError, match="cut: is no complete part"):
            IdStore([tmp_path / "cut"])
