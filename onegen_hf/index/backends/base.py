"""`VectorBackend`: the interface between a [`PassageIndex`] and what stores and searches its vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

MISSING = -1
"""Row that stands for "nothing found" in the result of an approximate search."""


class VectorBackend(ABC):
    """
    Stores the vectors of an index and searches them.

    A subclass in a file of its own and a line in [`~onegen_hf.index.backends.BACKENDS`] make a vector database
    available to [`PassageIndex`]: to `build(..., backend=name)`, to `load`, which reads the name in index.json, and to
    `update`, `remove`, `save` and `push_to_hub`.

    A backend starts empty, made with its options (`FaissBackend(factory="HNSW32")`). [`check`] says beforehand whether
    it could hold a corpus, [`build`] fills it. Vectors have unit length and are compared by inner product, so a score
    is a cosine. *Rows* number them from 0 in the order of the corpus; which passage a row belongs to is not the
    backend's business.
    """

    name: ClassVar[str]
    """What index.json, `build(backend=...)` and [`BACKENDS`] call it."""
    file_name: ClassVar[str]
    """The file beside index.json and passages.parquet that holds the vectors."""
    write_errors: ClassVar[tuple[type[Exception], ...]] = ()
    """With which errors its library reports that a file could not be written."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of vectors."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Size of a vector."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """JSON-serialisable facts that index.json keeps and [`read`] is given again."""
        return {}

    @abstractmethod
    def check(self, dimension: int, count: int) -> None:
        """
        Make sure that [`build`] will succeed, before any passage is encoded.

        Args:
            dimension (`int`): Size of the vectors.
            count (`int`): Number of vectors.

        Raises:
            `ValueError`: If the options do not fit such vectors.
            `ImportError`: If a library is missing; names the command that installs it.
        """

    @abstractmethod
    def build(self, embeddings: np.ndarray) -> None:
        """
        Fill the empty backend.

        Args:
            embeddings (`np.ndarray` of shape `(n, hidden)`, float32): Of unit length.

        Raises:
            `ValueError`: If the options do not fit the vectors.
        """

    @abstractmethod
    def search(self, queries: Tensor, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """
        The nearest rows of each query. Threads may search at the same time.

        Args:
            queries (`Tensor` of shape `(n, hidden)`, float32): Of unit length, on any device.
            k (`int`): From 1 to [`count`].
            allowed (`np.ndarray` of shape `(count,)`, bool, *optional*): The rows that may be returned; by default
                all. Passed only where a search is filtered.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: Scores (float32) and rows (int64), both `(n, k)`, best first. A search
            that finds fewer, because it is approximate or filtered, fills up with row -1.

        Raises:
            `ValueError`: If the vectors turn out to be damaged, or this kind of storage cannot be filtered.
        """

    @abstractmethod
    def take(self, rows: np.ndarray, new: np.ndarray) -> Self:
        """
        A backend with other rows, made from this one, which stays as it is.

        Args:
            rows (`np.ndarray` of shape `(n_rows,)`, int64): For each row of the result the present row that becomes
                it, or -1 for the next one of `new`.
            new (`np.ndarray` of shape `(n_new, hidden)`, float32): Of unit length.

        Raises:
            `ValueError`: If rows of this kind of storage cannot be moved.
        """

    @abstractmethod
    def write(self, path: Path) -> None:
        """
        Write the vectors to a file.

        Raises:
            `OSError`, or one of [`write_errors`]: If the file cannot be written.
        """

    @classmethod
    @abstractmethod
    def read(cls, path: Path, settings: Mapping[str, Any], mmap: bool = True) -> Self:
        """
        Read what [`write`] has written. The file may come from a stranger.

        Args:
            path (`Path`)
            settings (`Mapping[str, Any]`): The content of index.json, with the facts of [`settings`].
            mmap (`bool`, *optional*, defaults to `True`): Map the file instead of reading it, where that is possible.

        Raises:
            `ValueError`: If the file is damaged, or does not compare by inner product.
        """

    @property
    def search_parameters(self) -> dict[str, float]:
        """What trades speed for accuracy, by name; empty for an exact search."""
        return {}

    def set_search_parameters(self, **parameters: float) -> None:
        """
        Change the [`search_parameters`].

        Raises:
            `ValueError`: If there is no such parameter.
        """
        for name, value in parameters.items():
            raise ValueError(
                f"{name}={value!r} is no search parameter of this index: the search of the {self.name} backend is "
                "exact and has none"
            )
