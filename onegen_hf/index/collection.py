"""`PassageCollection`: what an index searches, wherever it is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from ..data.documents import Corpus as DocumentStore
from ..data.passages import Passage
from ..filters import PassageFilter
from .fusion import Fusion
from .update import UpdatePlan


@dataclass(frozen=True)
class Hybrid:
    """
    How much a search by words counts beside the search by embedding.

    Args:
        weight (`float`): Of the search by words, from 0 to 1.
        texts (`Sequence[str]`): The text of each query.
        fusion (`str`, *optional*, defaults to `"rrf"`): Whether ranks are fused (`"rrf"`) or scores (`"weighted"`).
        without (`Sequence[Collection[str]]`, *optional*): For each query the ids of passages whose words do not count.
    """

    weight: float
    texts: Sequence[str]
    fusion: Fusion = "rrf"
    without: Sequence[Collection[str]] | None = None


class PassageCollection(ABC):
    """
    Passages with their embeddings.

    Two kinds exist: files that this process has opened ([`LocalCollection`]) and a database
    ([`~onegen_hf.index.stores.StoredCollection`]). A *row* is a number that stands for one embedding; rows of a
    database are not consecutive.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What keeps the vectors."""

    @property
    @abstractmethod
    def passages(self) -> Sequence[Passage]:
        """The passages; access by position may be slow."""

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """Number of embeddings."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Size of a whole embedding."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """How the vectors are kept, by name."""

    @property
    def search_parameters(self) -> Mapping[str, float]:
        """What trades speed for accuracy, by name."""
        return {}

    def set_search_parameters(self, **parameters: float) -> None:
        """Change the [`search_parameters`]."""
        for name, value in parameters.items():
            raise ValueError(f"{name}={value!r} is no search parameter of the {self.name} backend: leave it out")

    @property
    def has_words(self) -> bool:
        """Whether a search by words is ready, beside that by embedding."""
        return False

    @abstractmethod
    def __len__(self) -> int:
        """Number of passages."""

    @abstractmethod
    def __iter__(self) -> Iterator[Passage]: ...

    @abstractmethod
    def passage(self, row: int) -> Passage:
        """The passage that a row belongs to."""

    @abstractmethod
    def part(self, row: int) -> int:
        """Which embedding of its passage a row is, counted from 0."""

    @abstractmethod
    def get(self, id: str) -> Passage | None:
        """The passage with an id, if there is one."""

    @abstractmethod
    def ids(self) -> pa.Array:
        """The ids of all passages."""

    @abstractmethod
    def search(
        self, queries: Tensor, k: int, filter: PassageFilter | None = None, hybrid: Hybrid | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        The best passages of each query, each by its best row.

        Args:
            queries (`Tensor` of shape `(n, hidden)`, float32): Of unit length.
            k (`int`): From 1 to the number of passages.
            filter ([`PassageFilter`], *optional*)
            hybrid ([`Hybrid`], *optional*)

        Returns:
            `tuple[np.ndarray, np.ndarray]`: Cosines (float32) and rows (int64), both `(n, k)`, best first; row -1 and
            score -inf where fewer are found.
        """

    @abstractmethod
    def changes(self, passages: DocumentStore) -> UpdatePlan:
        """What has to be encoded to add passages, or replace those with their ids."""

    @abstractmethod
    def removal(self, ids: Iterable[str]) -> UpdatePlan:
        """What remains without some passages; refuses ids that are not there, and the removal of all."""

    @abstractmethod
    def apply(self, plan: UpdatePlan, counts: np.ndarray, embeddings: np.ndarray) -> None:
        """
        Carry out a change.

        Args:
            plan ([`UpdatePlan`])
            counts (`np.ndarray` of shape `(len(plan.new),)`): Number of embeddings of each new passage.
            embeddings (`np.ndarray` of shape `(counts.sum(), hidden)`, float32): Theirs, of unit length.
        """
