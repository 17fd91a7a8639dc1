"""`EarlierVectors`: what an earlier encoding by the same model has computed, found by the text of a passage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...data.passages import Passage
from ..text_hash import as_halves, hash_text
from .layout import ShardFolder
from .manifest import Manifest
from .sorted_hashes import HashTable, sort_hashes


class EarlierVectors:
    """
    The vectors of an encoding, by text. Nothing of it is held in memory.

    Args:
        folder ([`ShardFolder`]): Of a finished encoding.
    """

    def __init__(self, folder: ShardFolder) -> None:
        self._manifest = Manifest.read(folder)
        path = folder.root / "texts.sorted"
        if not path.is_file():  # several workers may write it at once: all write the same
            hashes = (np.asarray(shard.text_hashes) for shard in self._manifest.shards())
            sort_hashes(hashes, self._manifest.num_passages, path)
        self._table = HashTable(path)
        sizes = [summary.passages for summary in self._manifest.summaries]
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])

    def knows(self, passages: Sequence[Passage], counts: np.ndarray) -> np.ndarray:
        """
        Which passages need not be encoded.

        Args:
            passages (`Sequence[Passage]`)
            counts (`np.ndarray` of shape `(n,)`): Number of vectors of each.

        Returns:
            `np.ndarray` of shape `(n,)`, bool
        """
        rows = self._rows(passages)
        known = rows >= 0
        for shard, places in self._by_shard(rows):
            known[places] &= shard.counts[rows[places] - self._start_of(rows[places[0]])] == counts[places]
        return known

    def take(self, passages: Sequence[Passage]) -> np.ndarray:
        """
        The vectors of passages that are known, passage by passage: `(n_vectors, dimension)`, float32.
        """
        rows = self._rows(passages)
        parts: list[np.ndarray] = [np.empty(0)] * len(passages)
        for shard, places in self._by_shard(rows):
            ends = np.cumsum(shard.counts, dtype=np.int64)
            start = self._start_of(rows[places[0]])
            for place in places:
                row = int(rows[place]) - start
                parts[place] = shard.vectors[int(ends[row]) - int(shard.counts[row]) : int(ends[row])]
        return np.concatenate(parts).astype(np.float32)

    def _rows(self, passages: Sequence[Passage]) -> np.ndarray:
        return self._table.find(as_halves([hash_text(passage) for passage in passages]))

    def _by_shard(self, rows: np.ndarray):  # type: ignore[no-untyped-def]
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(owners[rows >= 0]):
            yield self._manifest.shard(int(number)), np.flatnonzero((owners == number) & (rows >= 0))

    def _start_of(self, row: int) -> int:
        return int(self._starts[np.searchsorted(self._starts, row, side="right") - 1])
