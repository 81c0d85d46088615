"""The rows of gpu.py: drawn ids, as full rows or as documents packed into rows, with places to guess."""

import numpy as np

from speed.cases import FIRST_WORD, MASK, PAST_WORDS, SEED, hidden_places

_SHORTEST = 64


class Rows:
    """A batch.

    Args:
        batch_size: Rows.
        length: Of each row.
        documents: Whether a row is filled with documents of 64 pieces up to the whole row; else it is one.
    """

    def __init__(self, batch_size: int, length: int, documents: bool):
        rng = np.random.default_rng(SEED)
        self.length = length
        self.rows = [self._fill(rng) if documents else [length] for _ in range(batch_size)]
        self.documents = [
            rng.integers(FIRST_WORD, PAST_WORDS, size, dtype=np.int32) for row in self.rows for size in row
        ]
        self.hidden = [hidden_places(ids, rng) for ids in self.documents]

    def _fill(self, rng) -> list[int]:
        """Sizes of documents that fit into a row, until the next one does not."""
        sizes: list[int] = []
        while sum(sizes) + (size := int(rng.integers(_SHORTEST, self.length + 1))) <= self.length:
            sizes.append(size)
        return sizes or [self.length]

    @property
    def lengths(self) -> list[int]:
        """Pieces of each document."""
        return [len(ids) for ids in self.documents]

    @property
    def num_tokens(self) -> int:
        """Real tokens of the batch."""
        return sum(self.lengths)

    @property
    def num_masked(self) -> int:
        """Tokens to guess."""
        return sum(map(len, self.hidden))

    def packed(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Inputs and targets under kbert's names, several documents in a row; int32, weights float32."""
        names = ("token_ids", "part_ids", "position_ids")
        inputs = {name: np.zeros([len(self.rows), self.length], np.int32) for name in names}
        firsts = np.zeros([len(self.rows), max(map(len, self.rows))], np.int32)
        slots = max(self._masked_of_rows())
        positions = np.zeros([len(self.rows), slots], np.int32)
        targets = {
            "mask_ids": np.zeros([len(self.rows), slots], np.int32),
            "mask_weights": np.zeros([len(self.rows), slots], np.float32),
        }
        number = 0
        for row, sizes in enumerate(self.rows):
            begin = filled = 0
            for part, size in enumerate(sizes, 1):
                ids, hidden = self.documents[number].copy(), self.hidden[number]
                slot = slice(filled, filled + len(hidden))
                targets["mask_ids"][row, slot] = ids[hidden]
                targets["mask_weights"][row, slot] = 1
                positions[row, slot] = begin + hidden
                ids[hidden] = MASK
                place = slice(begin, begin + size)
                inputs["token_ids"][row, place] = ids
                inputs["part_ids"][row, place] = part
                inputs["position_ids"][row, place] = np.arange(size)
                firsts[row, part - 1] = begin
                begin, filled, number = begin + size, filled + len(hidden), number + 1
        if all(sizes == [self.length] for sizes in self.rows):
            return {"token_ids": inputs["token_ids"], "mask_positions": positions}, targets
        return {**inputs, "first_positions": firsts, "mask_positions": positions}, targets

    def padded(self) -> dict[str, np.ndarray]:
        """A document in each row, under the names of transformers; labels are -100 where nothing is asked."""
        longest = max(self.lengths)
        ids = np.zeros([len(self.documents), longest], np.int64)
        labels = np.full_like(ids, -100)
        for row, (document, hidden) in enumerate(zip(self.documents, self.hidden, strict=True)):
            ids[row, : len(document)] = document
            labels[row, hidden] = document[hidden]
            ids[row, hidden] = MASK
        return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "labels": labels}

    def _masked_of_rows(self):
        number = 0
        for sizes in self.rows:
            yield sum(map(len, self.hidden[number : number + len(sizes)]))
            number += len(sizes)
