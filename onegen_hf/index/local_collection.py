"""`LocalCollection`: passages beside the vectors of a `VectorBackend`, in files or in memory."""

from __future__ import annotations

import json
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from ..checks import integer
from ..data.documents import Corpus as DocumentStore
from ..data.passages import Passage
from ..filters import PassageFilter
from ..hub.layout import PASSAGES_FILE, WORDS_FILE
from .backends import MISSING, PrefixBackend, VectorBackend
from .collection import Hybrid, PassageCollection
from .description import backend_of, require_same, vectors_description
from .fusion import less_missing_words, reciprocal_rank_fusion
from .passage_table import WRITE_ERRORS, PassageTable, write_passages
from .search import search_passages, search_rows
from .storage import write_directory
from .update import (
    UpdatedPassages,
    UpdatePlan,
    is_text,
    passage_ids,
    passage_metas,
    plan_removal,
    plan_update,
    row_sources,
)
from .words import WRITE_ERRORS as WORDS_WRITE_ERRORS
from .words import WordIndex

logger = logging.getLogger(__name__)

_KEPT_FILTERS = 16
_DEPTH = 100
"""Best passages of the search by embedding and of that by words that are fused, at least."""


class LocalCollection(PassageCollection):
    """
    Passages in an order, and a backend that holds their vectors in the same order.

    Args:
        passages (`Sequence[Passage]`)
        backend ([`VectorBackend`])
        counts (`np.ndarray` of shape `(n_passages,)`): Number of rows of each passage.

    Raises:
        `TypeError`: If `backend` is none.
        `ValueError`: If the number of rows does not agree with the backend's.
    """

    def __init__(self, passages: Sequence[Passage], backend: VectorBackend, counts: np.ndarray) -> None:
        if not isinstance(backend, VectorBackend):
            raise TypeError(
                f"backend is a {type(backend).__name__}: give a VectorBackend, such as `FaissBackend.of(faiss_index)`"
            )
        if len(counts) != len(passages) or int(counts.sum()) != backend.count or (counts < 1).any():
            raise ValueError(
                f"{len(passages)} passages with {int(counts.sum())} embeddings do not go with {backend.count} vectors "
                "(at least one for each passage): they come from different indexes. Build, save or download it again."
            )
        self._passages = passages
        self.backend = backend
        self._ids: pa.Array | None = None  # read when an id is asked for
        self._filtered: OrderedDict[str, np.ndarray] = OrderedDict()
        self._words: WordIndex | None = None
        self._with_words = False  # as a part of the index, which a search that asks for words once does not change
        self._saves_words = False
        self._set_counts(counts)

    @classmethod
    def read(cls, root: Path, description: Mapping[str, Any], mmap: bool = True) -> LocalCollection:
        """
        Read what [`~LocalCollection.write`] has written.

        Args:
            root (`Path`)
            description (`Mapping[str, Any]`): The checked content of index.json.
            mmap (`bool`, *optional*, defaults to `True`): Map the vectors instead of reading them.

        Raises:
            `ValueError`: If a file is damaged, or of another index.
        """
        kind = backend_of(description, root)
        backend: VectorBackend = kind.read(root / kind.file_name, description, mmap)
        if description.get("dimensions") is not None:
            backend = PrefixBackend(backend, description["dimensions"], description["dimension"])
        passages = PassageTable(root / PASSAGES_FILE)
        actual = {"passages": len(passages), "embeddings": backend.count, "dimension": backend.dimension}
        require_same(root, description, actual)
        collection = cls(passages, backend, passages.counts())
        if WORDS_FILE in description["files"]:
            collection._words = WordIndex.read(root / WORDS_FILE, len(passages))
            collection._with_words = collection._saves_words = True
        return collection

    def write(self, directory: str | os.PathLike[str], description: Mapping[str, Any]) -> Path:
        """
        Write the vectors, the passages and index.json.

        Args:
            directory (`str` or path)
            description (`Mapping[str, Any]`): What index.json says of the model.

        Returns:
            `Path`: The directory.
        """
        writers = {
            self.backend.file_name: self.backend.write,
            PASSAGES_FILE: lambda path: write_passages(self._passages, self.counts, path),
        }
        if self._saves_words:
            writers[WORDS_FILE] = self.words().write
        described = {**description, **vectors_description(self.backend, len(self), self.num_rows)}
        return write_directory(
            directory, writers, described, (*self.backend.write_errors, *WRITE_ERRORS, *WORDS_WRITE_ERRORS)
        )

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def passages(self) -> Sequence[Passage]:
        return self._passages

    @property
    def num_rows(self) -> int:
        return self.backend.count

    @property
    def dimension(self) -> int:
        return self.backend.dimension

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.backend.settings

    @property
    def search_parameters(self) -> Mapping[str, float]:
        return self.backend.search_parameters

    def set_search_parameters(self, **parameters: float) -> None:
        self.backend.set_search_parameters(**parameters)

    @property
    def has_words(self) -> bool:
        return self._with_words

    @property
    def counts(self) -> np.ndarray:
        """Number of rows of each passage."""
        return np.diff(self._starts)

    def __len__(self) -> int:
        return len(self._passages)

    def __iter__(self) -> Iterator[Passage]:
        return (self._passages[number] for number in range(len(self)))

    def passage(self, row: int) -> Passage:
        return self._passages[self._owner(row)]

    def part(self, row: int) -> int:
        return int(row) - int(self._starts[self._owner(row)])

    def get(self, id: str) -> Passage | None:
        number = self._number(id)
        return None if number == MISSING else self._passages[number]

    def _number(self, id: str) -> int:
        """The number of the passage with an id."""
        ids = self.ids()
        return int(pc.index(ids, pa.scalar(id, ids.type)).as_py()) if is_text(id) else MISSING

    def ids(self) -> pa.Array:
        if self._ids is None:
            self._ids = passage_ids(self._passages)
        return self._ids

    def search(
        self, queries: Tensor, k: int, filter: PassageFilter | None = None, hybrid: Hybrid | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(self))
        allowed = None if filter is None else self._allowed(filter)
        if hybrid is None or not len(queries):
            return self._search(queries, k, allowed)
        return self._search_both(queries, k, allowed, hybrid)

    def words(self) -> WordIndex:
        """The search by words; made when it is first asked for, and saved with the index from then on."""
        if self._words is None:
            logger.info("reading the words of %d passages", len(self))
            self._words, self._saves_words = WordIndex.build(self), True
        return self._words

    def add_words(self) -> None:
        """Make the search by words, as a part of the index."""
        self.words()
        self._with_words = True

    def _search_both(
        self, queries: Tensor, k: int, allowed: np.ndarray | None, hybrid: Hybrid
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both searches, fused; the scores are cosines, or with summed scores cosines less missing words."""
        depth = min(len(self), max(_DEPTH, 4 * k))
        nearest = self._search(queries, depth, allowed)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), MISSING, np.int64)
        for place, text in enumerate(hybrid.texts):
            of_words = self.words().scores(text, allowed)  # (n_passages,)
            if hybrid.without is not None:
                of_words[[number for id in hybrid.without[place] if (number := self._number(id)) != MISSING]] = 0
            by_words = WordIndex.best(of_words, depth)
            close = {self._owner(row): (score, row) for score, row in _hits(nearest, place)}
            if hybrid.fusion == "rrf" or hybrid.weight == 1:
                by_embedding = np.asarray(list(close), np.int64)
                chosen = reciprocal_rank_fusion([(1 - hybrid.weight, by_embedding), (hybrid.weight, by_words)], k)
                close |= self._among(queries[place : place + 1], [n for n in chosen if n not in close])
            else:
                close |= self._among(queries[place : place + 1], [n for n in by_words.tolist() if n not in close])
                cosines = {number: score for number, (score, _) in close.items()}
                ranked = less_missing_words(cosines, of_words, hybrid.weight)
                close = {number: (score, close[number][1]) for number, score in ranked.items()}
                chosen = list(close)[:k]
            # An approximate index may not reach a passage at all.
            best = [close[number] for number in chosen if number in close]
            scores[place, : len(best)] = [score for score, _ in best]
            rows[place, : len(best)] = [row for _, row in best]
        return scores, rows

    def _among(self, query: Tensor, numbers: Sequence[int]) -> dict[int, tuple[float, int]]:
        """The cosine and the best row of given passages for a query of shape `(1, hidden)`."""
        if not numbers:
            return {}
        wanted = np.zeros(len(self), bool)
        wanted[numbers] = True
        hits = _hits(self._search(query, len(numbers), wanted), 0)
        return {self._owner(row): (score, row) for score, row in hits}

    def _search(self, queries: Tensor, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The search by embedding, among allowed passages: a bool array of shape `(n_passages,)`."""
        if allowed is None:
            if self._most_rows == 1:
                return search_rows(self.backend, queries, k)
            return search_passages(self.backend, self._starts, queries, k)
        available = min(k, int(allowed.sum()))
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), MISSING, np.int64)
        if available and len(queries):
            if self._most_rows == 1:
                best = search_rows(self.backend, queries, available, allowed)
            else:
                allowed_rows = np.repeat(allowed, self.counts)
                best = search_passages(self.backend, self._starts, queries, available, allowed_rows)
            scores[:, :available], rows[:, :available] = best
        return scores, rows

    def _allowed(self, filter: PassageFilter) -> np.ndarray:
        """Whether each passage satisfies a filter: a bool array of shape `(n_passages,)`, kept for the next search."""
        # Threads may search at the same time: each works on what it has read, and replaces it.
        kept = self._filtered.get(filter.key)
        if kept is None:
            metas = passage_metas(self._passages).dictionary_encode()
            # Many passages share a `meta`: each is read once.
            matches = [filter.matches(_parsed(meta)) for meta in metas.dictionary.to_pylist()]
            matches.append(filter.matches(None))  # of passages without
            kept = np.asarray(matches, bool)[metas.indices.fill_null(len(matches) - 1).to_numpy()]
            self._filtered[filter.key] = kept
            while len(self._filtered) > _KEPT_FILTERS:
                self._filtered.popitem(last=False)
        return kept

    def changes(self, passages: DocumentStore) -> UpdatePlan:
        return plan_update(self._passages, passages)

    def removal(self, ids: Iterable[str]) -> UpdatePlan:
        return plan_removal(self._passages, ids)

    def apply(self, plan: UpdatePlan, counts: np.ndarray, embeddings: np.ndarray) -> None:
        all_counts = np.concatenate([self.counts, counts])  # of present and encoded passages
        owners = plan.owners()
        rows = row_sources(owners, all_counts)
        is_new = rows >= self.num_rows
        backend = self.backend.take(np.where(is_new, MISSING, rows), embeddings[rows[is_new] - self.num_rows])
        passages = self._passages if isinstance(self._passages, UpdatedPassages) else UpdatedPassages(self._passages)
        before = len(self)
        self._passages, self.backend = passages.apply(plan), backend
        self._set_counts(all_counts[owners])
        logger.info("the index went from %d to %d passages", before, len(self))

    def _set_counts(self, counts: np.ndarray) -> None:
        self._most_rows = int(counts.max())
        self._starts: Any = range(len(counts) + 1)  # first row of each passage, and the number of rows
        if self._most_rows > 1:
            self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        self._ids = None
        self._filtered.clear()
        self._words = None

    def _owner(self, row: int) -> int:
        """The number of the passage that a row belongs to."""
        if isinstance(row, str):
            raise TypeError(f"index[{row!r}]: rows are numbers; the passage with an id is index.get({row!r})")
        row = integer()("row", row)
        if not 0 <= row < self.num_rows:
            hint = ": an approximate search found too few, see `set_search_parameters`" if row == MISSING else ""
            raise IndexError(f"row {row} of an index with {self.num_rows} rows{hint}")
        if self._most_rows == 1:
            return row
        return int(np.searchsorted(self._starts, row, side="right")) - 1


def _hits(found: tuple[np.ndarray, np.ndarray], place: int) -> list[tuple[float, int]]:
    """Scores and rows of one query, without those that stand for nothing."""
    pairs = zip(found[0][place].tolist(), found[1][place].tolist(), strict=True)
    return [(score, row) for score, row in pairs if row != MISSING]


def _parsed(meta: str) -> Any:
    try:
        return json.loads(meta)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"the meta of a passage is no JSON ({meta[:60]!r}): build or download the index again"
        ) from error
