"""`PassageStore`: the interface between an index and a database that keeps its passages and vectors."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from ...data.passages import Passage
from ...filters import Condition
from .location import StoreLocation

Item = TypeVar("Item")


class StoreError(OSError):
    """A database cannot be reached, does not answer in time, or refuses a request."""


@dataclass(frozen=True)
class StoredRow:
    """
    One embedding's entry in a store, with the passage that it belongs to.

    Args:
        passage ([`Passage`])
        part (`int`): Which embedding of the passage it is, counted from 0.
    """

    passage: Passage
    part: int

    @property
    def key(self) -> int:
        """
        The number of the row, made from the id of its passage: whoever writes a passage again replaces it. 63 bits:
        some two of 20 million rows share a key with a probability of 2e-5, of a billion with 0.05, and are refused
        ([`refuse_shared_keys`]).
        """
        digest = hashlib.blake2b(f"{self.part}\0{self.passage.id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    @property
    def reference(self) -> str:
        """What a message calls the row: `doc`, or `doc#sentence`."""
        return f"{self.passage.id}#{self.part}" if self.part else self.passage.id

    def columns(self) -> dict[str, Any]:
        """The values by the names of columns, JSON-serialisable."""
        passage = self.passage
        return {
            "id": passage.id,
            "part": self.part,
            "title": passage.title,
            "text": passage.text,
            "sentences": list(passage.sentences),
            "meta": passage.meta,
        }

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> StoredRow:
        """Inverse of [`~StoredRow.columns`]."""
        passage = Passage(
            columns["id"], columns["title"], columns["text"], tuple(columns["sentences"] or ()), columns["meta"]
        )
        return cls(passage, int(columns["part"]))


class PassageStore(ABC):
    """
    One collection of passages with their vectors in a database, and the properties that say what it is.

    A subclass in a file of its own and a line in [`~onegen_hf.index.stores.STORES`] make a database available
    wherever an index is named. Vectors have unit length and are compared by inner product. Threads may call every
    method at the same time, and other processes may write to the same collection.

    A connected store may have no collection yet: [`properties`] is `None` then, and [`create`] makes it.

    Args:
        location ([`StoreLocation`])

    Raises:
        `ImportError`: If the package of the client is missing.
        `StoreError`: If the database cannot be reached. So does every method.
    """

    scheme: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    """How the numbers of a vector can be kept."""
    batch_size: ClassVar[int] = 512
    """Rows of one [`upsert`]."""

    def __init__(self, location: StoreLocation) -> None:
        self.location = location

    @property
    def read_only(self) -> bool:
        """Whether the collection can only be searched."""
        return False

    @abstractmethod
    def properties(self) -> dict[str, Any] | None:
        """What [`set_properties`] has kept in the collection itself; `None` if there is no collection."""

    @abstractmethod
    def set_properties(self, properties: Mapping[str, Any]) -> None:
        """Replace the properties of the collection."""

    @abstractmethod
    def create(self, properties: Mapping[str, Any], size: int, precision: str) -> None:
        """
        Make the collection.

        Args:
            properties (`Mapping[str, Any]`): JSON-serialisable.
            size (`int`): Of its vectors.
            precision (`str`): One of [`precisions`].
        """

    @abstractmethod
    def drop(self) -> None:
        """Remove the collection and all that is in it."""

    def finish(self) -> None:  # noqa: B027
        """Called once all rows of a first build are there; the place to make a vector index."""

    @abstractmethod
    def count(self, passages: bool = False) -> int:
        """Number of rows, or of passages."""

    def check_passage(self, passage: Passage) -> None:  # noqa: B027
        """
        Raises:
            `ValueError`: If the database cannot keep a passage. Called before anything is encoded.
        """

    @abstractmethod
    def upsert(self, rows: Sequence[StoredRow], vectors: np.ndarray) -> None:
        """
        Write rows in the place of those with their keys. A killed call leaves the old or the new row of each key.

        Args:
            rows (`Sequence[StoredRow]`): At most [`batch_size`].
            vectors (`np.ndarray` of shape `(len(rows), size)`, float32)
        """

    @abstractmethod
    def delete(self, ids: Sequence[str], from_part: int = 0) -> None:
        """Remove the rows of passages, those below `from_part` excepted."""

    @abstractmethod
    def search(self, query: np.ndarray, k: int, condition: Condition | None) -> list[tuple[float, StoredRow]]:
        """
        The nearest rows, best first.

        Args:
            query (`np.ndarray` of shape `(size,)`, float32)
            k (`int`)
            condition ([`Condition`], *optional*): Which passages may be found.

        Returns:
            `list[tuple[float, StoredRow]]`: At most `k` cosines and rows.
        """

    @abstractmethod
    def fetch(self, keys: Sequence[int]) -> list[StoredRow]:
        """The rows with these keys, in any order; those that are missing are left out."""

    @abstractmethod
    def scan(self) -> Iterator[StoredRow]:
        """The first row of every passage, in an order that stays as long as nothing is written."""

    def files(self) -> tuple[Path, list[str]]:
        """
        The local files that the collection consists of, to be sent to a repository of the Hub.

        Returns:
            `tuple[Path, list[str]]`: A folder, and names relative to it, with `/`.

        Raises:
            `ValueError`: If it consists of no such files.
        """
        raise ValueError(
            f"{self.location} cannot be pushed to the Hub: build a Lance dataset, lance://./folder/films, or an index "
            "in files"
        )

    def close(self) -> None:  # noqa: B027
        """Give up the connection."""


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to `size` items."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
