"""`PrefixBackend`: the first numbers of every embedding, in any backend."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...checks import checked, integer
from .base import VectorBackend


class PrefixBackend(VectorBackend):
    """
    Keeps the first `dimensions` numbers of each embedding, scaled to unit length, in another backend.

    Queries come in whole and are cut like the vectors. A model trained with `matryoshka_dims` loses little by it
    (Kusupati et al., arXiv 2205.13147).

    Args:
        inner ([`VectorBackend`]): Stores the prefixes.
        dimensions (`int`): Length of a prefix.
        embedding_dimension (`int`, *optional*): Length of whole embeddings; known once they were seen.
    """

    name = "prefix"
    file_name = "prefix"

    @checked(dimensions=integer(least=1), embedding_dimension=integer(least=0))
    def __init__(self, inner: VectorBackend, dimensions: int, embedding_dimension: int = 0) -> None:
        self.inner, self.dimensions, self._whole = inner, dimensions, embedding_dimension
        # On disk this is an index of the inner backend, which says how long its prefixes are.
        self.name, self.file_name, self.write_errors = inner.name, inner.file_name, inner.write_errors  # type: ignore[misc]
        if inner.count and inner.dimension != dimensions:
            raise ValueError(
                f"the vectors have dimension {inner.dimension} and not dimensions={dimensions}: they come from "
                "different indexes. Build or download it again."
            )

    @property
    def count(self) -> int:
        return self.inner.count

    @property
    def dimension(self) -> int:
        return self._whole

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**self.inner.settings, "dimensions": self.dimensions}

    def check(self, dimension: int, count: int) -> None:
        if self.dimensions > dimension:
            raise ValueError(
                f"dimensions={self.dimensions} is more than the {dimension} of the model's embeddings: choose fewer"
            )
        self.inner.check(self.dimensions, count)

    def build(self, embeddings: np.ndarray) -> None:
        self.inner.build(self.cut(embeddings))
        self._whole = embeddings.shape[1]

    def search(self, queries: Tensor, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        prefixes = torch.nn.functional.normalize(queries[:, : self.dimensions], dim=1)
        # A backend of before filters has no such argument.
        return self.inner.search(prefixes, k) if allowed is None else self.inner.search(prefixes, k, allowed)

    def take(self, rows: np.ndarray, new: np.ndarray) -> PrefixBackend:
        return PrefixBackend(self.inner.take(rows, self.cut(new)), self.dimensions, self._whole)

    def write(self, path: Path) -> None:
        self.inner.write(path)

    @classmethod
    def read(cls, path: Path, settings: Mapping[str, Any], mmap: bool = True) -> PrefixBackend:
        raise NotImplementedError("read the inner backend, and put this one around it")

    @property
    def search_parameters(self) -> dict[str, float]:
        return self.inner.search_parameters

    def set_search_parameters(self, **parameters: float) -> None:
        self.inner.set_search_parameters(**parameters)

    def cut(self, embeddings: np.ndarray) -> np.ndarray:
        """The prefixes of embeddings: `(n, hidden)` → `(n, dimensions)`, of unit length."""
        return unit_prefixes(embeddings, self.dimensions)


def unit_prefixes(embeddings: np.ndarray, dimensions: int) -> np.ndarray:
    """
    The first numbers of every embedding, scaled to unit length.

    Args:
        embeddings (`np.ndarray` of shape `(n, hidden)`, float32)
        dimensions (`int`): Numbers to keep.

    Returns:
        `np.ndarray` of shape `(n, dimensions)`, float32

    Raises:
        `ValueError`: If these numbers of an embedding are all zero.
    """
    prefixes = np.asarray(embeddings[:, :dimensions], np.float32)
    norms = np.linalg.norm(prefixes, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise ValueError(
            f"dimensions={dimensions}: the first {dimensions} numbers of an embedding are all zero, so it has no "
            "direction: keep more of them"
        )
    return np.ascontiguousarray(prefixes / norms)


def warn_of_untrained_prefixes(dimensions: int, trained: Sequence[int] | None, hidden: int) -> None:
    """
    Say that a model was not trained for prefixes of this length.

    Args:
        dimensions (`int`)
        trained (`Sequence[int]`, *optional*): The checkpoint's `matryoshka_dims`.
        hidden (`int`): Length of whole embeddings, which need no training.
    """
    if dimensions not in (*(trained or ()), hidden):
        known = f"for {sorted(trained)}" if trained else "without `matryoshka_dims`"
        warnings.warn(
            f"dimensions={dimensions}: the model was trained {known}, so its prefixes of this length may find less "
            "than whole embeddings do",
            stacklevel=4,
        )
