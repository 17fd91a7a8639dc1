"""Bringing an index up to date: which passages come, stay and go, and from where each row of the result is taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..data.documents import DocumentStore
from ..data.passages import Passage
from ..data.splitting import pieces_of
from .backends import MISSING
from .encode import as_document_store
from .passage_table import ID_TYPE, META_TYPE, to_json
from .text_hash import hash_text

_NAMED = 5


@dataclass(frozen=True, eq=False)
class UpdatePlan:
    """
    The passages of an index after a change.

    Args:
        sources (`np.ndarray` of shape `(n_passages,)`, int64): For each passage afterwards, which of the present ones
            it is or, counted after them, which of the new ones.
        num_present (`int`): Number of passages before.
        new (`list[Passage]`): Those that are not in the index as they are.
        same_text (`np.ndarray` of shape `(n_new,)`, int64): For each new passage a present one with its title and
            text, whose embeddings it takes; -1 where there is none.
        removes (`Sequence[str]`): The ids that go.
    """

    sources: np.ndarray
    num_present: int
    new: list[Passage]
    same_text: np.ndarray
    removes: Sequence[str] = ()

    @property
    def to_encode(self) -> list[Passage]:
        """The new passages whose text is new."""
        return [passage for passage, same in zip(self.new, self.same_text, strict=True) if same == MISSING]

    def owners(self) -> np.ndarray:
        """
        For each passage afterwards, whose embeddings it has: `(n_passages,)`, the number of a present passage or,
        counted after them, of one of [`to_encode`].
        """
        is_new = self.sources >= self.num_present
        owners, encoded = self.sources.copy(), self.same_text == MISSING
        of_new = np.where(encoded, self.num_present + np.cumsum(encoded) - 1, self.same_text)
        owners[is_new] = of_new[self.sources[is_new] - self.num_present]
        return owners


def plan_update(present: Sequence[Passage], store: DocumentStore) -> UpdatePlan:
    """
    Put passages into an index: changed ones in the place of those with their id, new ones at the end.

    Args:
        present (`Sequence[Passage]`)
        store ([`DocumentStore`]): Those that are equal to a present one are left out.
    """
    places = pc.index_in(pa.array(store.ids, ID_TYPE), value_set=passage_ids(present)).fill_null(MISSING).to_numpy()
    differs = np.asarray(
        [at == MISSING or present[at] != passage for passage, at in zip(store, places, strict=True)], bool
    )
    new = [store[int(number)] for number in np.flatnonzero(differs)]
    sources = np.arange(len(present))
    numbers = len(present) + np.arange(len(new))  # of the new passages, counted after the present ones
    places = places[differs]
    replaces = places != MISSING
    sources[places[replaces]] = numbers[replaces]
    return UpdatePlan(np.concatenate([sources, numbers[~replaces]]), len(present), new, _same_texts(present, new))


def plan_removal(present: Sequence[Passage], ids: Iterable[str]) -> UpdatePlan:
    """
    Take passages out of an index.

    Args:
        present (`Sequence[Passage]`)
        ids (`Iterable[str]`)

    Raises:
        `TypeError`: If `ids` is a single string, or no collection.
        `ValueError`: If one of them is unknown, or no passage would be left.
    """
    unwanted, known = check_ids(ids), passage_ids(present)
    texts = pa.array([identifier for identifier in unwanted if is_text(identifier)], ID_TYPE)
    goes = pc.is_in(known, value_set=texts)
    unknown = sorted(map(repr, unwanted.difference(known.filter(goes).to_pylist())))
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise ValueError(
            f"ids: the index has no passage {', '.join(unknown[:_NAMED])}{more}. Leave out the ids that it does not "
            "have."
        )
    if len(unwanted) == len(known):
        raise ValueError(f"ids: all {len(known)} passages would go, and an index needs at least one")
    kept = np.flatnonzero(~goes.to_numpy(zero_copy_only=False))
    return UpdatePlan(kept, len(known), [], np.empty(0, np.int64), sorted(unwanted))


def missing_ids(present: Sequence[Passage], ids: Sequence[str], split: bool) -> list[str]:
    """
    The ids of an index that a corpus does not have.

    Args:
        present (`Sequence[Passage]`)
        ids (`Sequence[str]`): Of the corpus.
        split (`bool`): Its long passages stand in the index in pieces, such as `ID#0`.
    """
    known = passage_ids(present)
    if split:
        kept = set(pieces_of(known.to_pylist(), ids))
        return [identifier for identifier in known.to_pylist() if identifier not in kept]
    return known.filter(pc.invert(pc.is_in(known, value_set=pa.array(ids, ID_TYPE)))).to_pylist()


def _same_texts(present: Sequence[Passage], new: Sequence[Passage]) -> np.ndarray:
    """For each new passage, a present one with its title and text, or -1: `(n_new,)`, int64."""
    places = {hash_text(passage): MISSING for passage in new}
    if places:
        for number in range(len(present)):
            key = hash_text(present[number])
            if places.get(key) == MISSING:
                places[key] = number
    return np.asarray([places[hash_text(passage)] for passage in new], np.int64)


def check_ids(ids: Iterable[str]) -> set[str]:
    """
    The ids of passages that are to go.

    Raises:
        `TypeError`: If `ids` is a single string, or no collection.
    """
    if isinstance(ids, str):
        raise TypeError(f"ids={ids!r} is a single string: give a list of ids, such as [{ids!r}]")
    if not isinstance(ids, Iterable):
        raise TypeError(f"ids={ids!r} must be a list of ids, got {type(ids).__name__}")
    return set(ids)


def row_sources(sources: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """
    From where each row is taken.

    Args:
        sources (`np.ndarray` of shape `(n_passages,)`): As in [`UpdatePlan`].
        counts (`np.ndarray`): How many rows each present passage and then each encoded one has.

    Returns:
        `np.ndarray` of shape `(n_rows,)`, int64: Present rows and, counted after them, rows of new passages.
    """
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])  # row of each passage, present and new
    lengths = counts[sources]
    within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(first[sources], lengths) + within


class UpdatedPassages(Sequence[Passage]):
    """
    The passages of an index after changes; those that stayed are not copied.

    Args:
        base (`Sequence[Passage]`)
    """

    def __init__(self, base: Sequence[Passage]) -> None:
        self._base = base
        self._added: list[Passage] = []
        self._sources = np.arange(len(base))  # passages of the base and, counted after them, added ones

    def apply(self, plan: UpdatePlan) -> UpdatedPassages:
        """The passages after a further change."""
        changed = UpdatedPassages(self._base)
        changed._added = [*self._added, *plan.new]
        start = len(self._base) + len(self._added)
        changed._sources = np.concatenate([self._sources, start + np.arange(len(plan.new))])[plan.sources]
        return changed

    @property
    def ids(self) -> pa.Array:
        """The ids, in order."""
        return pa.concat_arrays([passage_ids(self._base), passage_ids(self._added)]).take(pa.array(self._sources))

    @property
    def metas(self) -> pa.Array:
        """The `meta` of each passage as JSON, in order."""
        metas = [passage_metas(self._base), passage_metas(self._added)]
        return pa.concat_arrays([part.cast(META_TYPE) for part in metas]).take(pa.array(self._sources))

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(f"passage {row} of {len(self)}")
        source = int(self._sources[row])
        return self._base[source] if source < len(self._base) else self._added[source - len(self._base)]


def passage_ids(passages: Sequence[Passage]) -> pa.Array:
    """The ids of passages as an Arrow array; a store or a table has them without reading the passages."""
    ids = getattr(passages, "ids", None)
    if isinstance(ids, pa.Array):
        return ids
    return pa.array([passage.id for passage in passages] if ids is None else ids, ID_TYPE)


def passage_metas(passages: Sequence[Passage]) -> pa.Array:
    """The `meta` of passages as JSON, null where there is none; a table has them without reading the passages."""
    metas = getattr(passages, "metas", None)
    if isinstance(metas, pa.Array):
        return metas
    return pa.array([to_json(passage.meta) for passage in passages], META_TYPE)


def store_with_ids(passages: Any) -> DocumentStore:
    """
    A [`DocumentStore`] of passages that name what they replace.

    Raises:
        `ValueError`: If a passage has no id: its number would replace an unrelated passage.
    """
    columns = getattr(passages, "column_names", None)
    if columns is not None and "id" not in columns:
        raise ValueError(f"passages: the dataset has no column 'id' (its columns are {sorted(columns)}): add it")
    if (
        columns is None
        and isinstance(passages, Iterable)
        and not isinstance(passages, (str, bytes, dict, DocumentStore))
    ):
        passages = list(passages)
        for number, record in enumerate(passages):
            if isinstance(record, str) or (isinstance(record, dict) and record.get("id") is None):
                raise ValueError(
                    f"passage {number} has no id, which says what to replace: give {{'id': ..., 'text': ...}}"
                )
    return as_document_store(passages)


def is_text(identifier: object) -> bool:
    """Whether it can be an id at all: a `str` that UTF-8 can hold."""
    try:
        return isinstance(identifier, str) and identifier.encode() is not None
    except UnicodeEncodeError:
        return False
