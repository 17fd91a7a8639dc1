"""`StoredCollection`: the passages of an index in a database."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from ...checks import integer
from ...data.documents import Corpus as DocumentStore
from ...data.passages import Passage
from ...filters import PassageFilter
from ..backends import MISSING
from ..backends.prefix import unit_prefixes
from ..collection import Hybrid, PassageCollection
from ..passage_table import ID_TYPE
from ..update import UpdatePlan, check_ids
from .base import PassageStore, StoredRow, batches
from .properties import IndexProperties
from .row_keys import refuse_shared_keys

_KEPT_ROWS = 8192


class StoredCollection(PassageCollection):
    """
    Passages and vectors in a [`PassageStore`]; nothing but the rows that were found last is kept in memory.

    Args:
        store ([`PassageStore`]): With a collection.
        properties ([`IndexProperties`]): Its properties.
    """

    def __init__(self, store: PassageStore, properties: IndexProperties) -> None:
        self.store, self.properties = store, properties
        # What a search has found is asked for by its row next.
        self._kept: OrderedDict[int, StoredRow] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self.store.scheme

    @property
    def passages(self) -> Sequence[Passage]:
        return StoredPassages(self.store)

    @property
    def num_rows(self) -> int:
        return self.store.count()

    @property
    def dimension(self) -> int:
        return self.properties.dimension

    @property
    def settings(self) -> Mapping[str, Any]:
        settings: dict[str, Any] = {"url": str(self.store.location), "precision": self.properties.precision}
        if self.properties.dimensions is not None:
            settings["dimensions"] = self.properties.dimensions
        return settings

    def __len__(self) -> int:
        return self.store.count(passages=True)

    def __iter__(self) -> Iterator[Passage]:
        return (row.passage for row in self.store.scan())

    def passage(self, row: int) -> Passage:
        return self._row(row).passage

    def part(self, row: int) -> int:
        return self._row(row).part

    def get(self, id: str) -> Passage | None:
        if not isinstance(id, str):
            return None
        rows = self.store.fetch([StoredRow(Passage(id, "", ""), 0).key])
        return next((row.passage for row in rows if row.passage.id == id), None)

    def ids(self) -> pa.Array:
        return pa.array((row.passage.id for row in self.store.scan()), ID_TYPE)

    def search(
        self, queries: Tensor, k: int, filter: PassageFilter | None = None, hybrid: Hybrid | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        if hybrid is not None:
            raise ValueError(
                f"hybrid={hybrid.weight}: {self.store.location} is searched by embedding only; an index in files "
                "has a search by words"
            )
        vectors = self._cut(queries.cpu().numpy())
        hits = [self._nearest(vector, k, filter) for vector in vectors]
        width = max(map(len, hits), default=0)
        scores = np.full((len(hits), width), -np.inf, np.float32)
        rows = np.full((len(hits), width), MISSING, np.int64)
        for place, of_query in enumerate(hits):
            for rank, (score, row) in enumerate(of_query):
                scores[place, rank], rows[place, rank] = score, row.key
        self._keep(row for of_query in hits for _, row in of_query)
        return scores, rows

    def changes(self, passages: DocumentStore) -> UpdatePlan:
        new: list[Passage] = []
        for batch in batches(passages, self.store.batch_size):
            present = {row.passage.id: row.passage for row in self._find([passage.id for passage in batch])}
            new += [passage for passage in batch if present.get(passage.id) != passage]
        for passage in new:
            self.store.check_passage(passage)
        return UpdatePlan(np.empty(0, np.int64), 0, new, np.full(len(new), MISSING))

    def removal(self, ids: Iterable[str]) -> UpdatePlan:
        unwanted = check_ids(ids)
        known = [row.passage.id for batch in batches(sorted(unwanted), 512) for row in self._find(list(batch))]
        unknown = sorted(unwanted.difference(known))
        if unknown:
            raise ValueError(
                f"ids: the index has no passage {', '.join(map(repr, unknown[:5]))}: "
                "leave out the ids that it does not have"
            )
        if len(known) == len(self):
            raise ValueError(f"ids: all {len(known)} passages would go, and an index needs at least one")
        return UpdatePlan(np.empty(0, np.int64), 0, [], np.empty(0, np.int64), known)

    def apply(self, plan: UpdatePlan, counts: np.ndarray, embeddings: np.ndarray) -> None:
        self.write(plan.new, counts, embeddings)
        for batch in batches(plan.removes, self.store.batch_size):
            self.store.delete(batch)
        with self._lock:
            self._kept.clear()

    def write(
        self, passages: Sequence[Passage], counts: np.ndarray, embeddings: np.ndarray, new: bool = False
    ) -> None:
        """
        Add passages, in the place of those with their ids.

        Args:
            passages (`Sequence[Passage]`)
            counts (`np.ndarray` of shape `(len(passages),)`): Number of embeddings of each.
            embeddings (`np.ndarray` of shape `(counts.sum(), hidden)`, float32): Of unit length.
            new (`bool`, *optional*, defaults to `False`): The collection is empty.

        Raises:
            `ValueError`: If two different passages have the same row key. Nothing has been written then.
        """
        refuse_shared_keys(_rows(passages, counts), None if new else self.store)
        start = 0
        for batch in batches(_rows(passages, counts), self.store.batch_size):
            self.store.upsert(batch, self._cut(embeddings[start : start + len(batch)]))
            start += len(batch)
        if self.properties.granularity == "sentence":
            # Sentences that a passage no longer has.
            lengths: dict[int, list[str]] = {}
            for passage, count in zip((passages[n] for n in range(len(passages))), counts.tolist(), strict=True):
                lengths.setdefault(count, []).append(passage.id)
            for count, ids in lengths.items():
                for some in batches(ids, self.store.batch_size):
                    self.store.delete(some, from_part=count)

    def _cut(self, vectors: np.ndarray) -> np.ndarray:
        dimensions = self.properties.dimensions
        return vectors if dimensions is None else unit_prefixes(vectors, dimensions)

    def _nearest(self, vector: np.ndarray, k: int, filter: PassageFilter | None) -> list[tuple[float, StoredRow]]:
        """The best passages, each by its best row."""
        condition = None if filter is None else filter.condition
        if self.properties.granularity == "passage":
            return self.store.search(vector, k, condition)
        fetched = 4 * k
        while True:
            hits = self.store.search(vector, fetched, condition)
            best: dict[str, tuple[float, StoredRow]] = {}
            for score, row in hits:
                best.setdefault(row.passage.id, (score, row))
            if len(best) >= k or len(hits) < fetched:
                return list(best.values())[:k]
            fetched *= 4

    def _find(self, ids: Sequence[str]) -> list[StoredRow]:
        """The first row of each of these passages that is there."""
        wanted = set(ids)
        rows = self.store.fetch([StoredRow(Passage(identifier, "", ""), 0).key for identifier in ids])
        return [row for row in rows if row.passage.id in wanted]

    def _row(self, row: int) -> StoredRow:
        if isinstance(row, str):
            raise TypeError(f"index[{row!r}]: rows are numbers; the passage with an id is index.get({row!r})")
        key = integer()("row", row)
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            rows = self.store.fetch([key]) if key >= 0 else []
            if not rows:
                raise IndexError(
                    f"row {key} is not in {self.store.location}: it was removed, or a search found too few"
                )
            kept = rows[0]
            self._keep(rows)
        return kept

    def _keep(self, rows: Iterable[StoredRow]) -> None:
        with self._lock:
            for row in rows:
                self._kept[row.key] = row
            while len(self._kept) > _KEPT_ROWS:
                self._kept.popitem(last=False)


def _rows(passages: Sequence[Passage], counts: np.ndarray) -> Iterator[StoredRow]:
    for number, count in enumerate(counts.tolist()):
        passage = passages[number]
        yield from (StoredRow(passage, part) for part in range(count))


class StoredPassages(Sequence[Passage]):
    """
    The passages of a store in the order of a scan. Access by position reads what stands before, once for positions
    that ascend.

    Args:
        store ([`PassageStore`])
    """

    def __init__(self, store: PassageStore) -> None:
        self._store = store
        self._rest: Iterator[Passage] = iter(())
        self._next: int | None = None  # position of the first of the rest

    def __len__(self) -> int:
        return self._store.count(passages=True)

    def __iter__(self) -> Iterator[Passage]:
        return (row.passage for row in self._store.scan())

    def __getitem__(self, place: Any) -> Any:
        if self._next is None or place < self._next:
            self._rest, self._next = iter(self), 0
        skipped = int(place) - self._next
        self._next = int(place) + 1
        for passage in islice(self._rest, skipped, None) if place >= 0 else ():
            return passage
        self._next = None
        raise IndexError(f"passage {place} of {len(self)}")
