"""`IndexPlace`: files searched with one of the backends, or a collection of a database, through one interface."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from onegen_hf import Passage, PassageIndex
from onegen_hf.index.backends import BACKENDS
from onegen_hf.index.encode import EncodedCorpus, as_document_store
from onegen_hf.index.fingerprint import ModelFingerprint
from onegen_hf.index.stores.collection import StoredCollection
from onegen_hf.index.versions import publish_version
from support.store_passages import FINGERPRINT


class IndexPlace:
    """
    Where an index is kept.

    Args:
        name (`str`): Of a backend, or of the engine of a database.
        target (`str`): A directory, or the URL of a collection.
    """

    def __init__(self, name: str, target: str) -> None:
        self.name, self.target = name, target
        self._opened: list[PassageIndex] = []

    @property
    def in_files(self) -> bool:
        return self.name in BACKENDS

    @property
    def writer(self) -> type:
        """The class whose `write` sends the vectors to their place."""
        return BACKENDS[self.name] if self.in_files else StoredCollection

    def fill(
        self,
        corpus: list[Passage],
        vectors: np.ndarray,
        counts: np.ndarray | None = None,
        fingerprint: ModelFingerprint = FINGERPRINT,
        **options: Any,
    ) -> PassageIndex:
        """Build an index of passages with these vectors."""
        counts = np.ones(len(corpus), np.int64) if counts is None else counts
        owners = np.repeat(np.arange(len(corpus)), counts)
        parts = np.concatenate([np.arange(count) for count in counts])
        backend = self.name if self.in_files else self.target
        encoded = EncodedCorpus(vectors, owners, parts, truncated=0)
        index = PassageIndex.from_encoded(corpus, encoded, fingerprint, "Flat", "org/m", None, backend, **options)
        if self.in_files:
            index.save(self.target)
        self._opened.append(index)
        return index

    def open(self) -> PassageIndex:
        """The index, as another process finds it."""
        index = PassageIndex.load(self.target)
        self._opened.append(index)
        return index

    def write(
        self, index: PassageIndex, corpus: list[Passage], vectors: np.ndarray, counts: np.ndarray | None = None
    ) -> list[Passage]:
        """Add or replace passages, for whoever opens the index from now on; returns those that had to be encoded."""
        plan = index._collection.changes(as_document_store(corpus))
        assert len(plan.to_encode) == len(vectors) if counts is None else len(plan.to_encode) == len(counts)
        index._apply(plan, np.ones(len(vectors), np.int64) if counts is None else counts, vectors)
        self._publish(index)
        return plan.to_encode

    def remove(self, index: PassageIndex, ids: list[str]) -> None:
        """Remove passages, for whoever opens the index from now on."""
        index.remove(ids)
        self._publish(index)

    def _publish(self, index: PassageIndex) -> None:
        if self.in_files:
            with publish_version(self.target) as folder:
                index.save(folder)

    def close(self) -> None:
        """Give up all connections."""
        for index in self._opened:
            if isinstance(index._collection, StoredCollection):
                index._collection.store.close()
        self._opened.clear()


def search(index: PassageIndex, queries: np.ndarray, k: int, filter: Any = None) -> list[list[str]]:
    """The ids that each query finds, best first."""
    _, rows = index.search(torch.from_numpy(queries), k, filter)
    return [[index[int(row)].id for row in of_query if row >= 0] for of_query in rows]
