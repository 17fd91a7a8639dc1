"""`FaissBackend`: vectors in a FAISS index, exact or approximate, made from a factory string."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...checks import checked, choice, number, text
from .base import VectorBackend
from .faiss_filter import search_allowed
from .faiss_installation import faiss_message, import_faiss
from .faiss_reading import read_faiss
from .faiss_rearrange import rearrange

GRAPH_CANDIDATES = 128
"""Of an HNSW graph: of 100,000 made-up vectors (benchmarks/README.md) 16 find 0.84 of the best, and 128 find 0.99 in
0.4 ms a query, a fraction of a token."""
_TRIAL_VECTORS = 256
_MAX_PARAMETER = 2**20
"""Greatest search parameter: FAISS allocates memory in proportion to it."""
RESCORED = 8
"""How many times `k` candidates by bits are compared again as int8."""
_FACTORIES = {"float16": "SQfp16", "int8": "SQ8", "binary": "RaBitQ,Refine(SQ8)"}
"""Precision → the factory string of a flat index that stores its numbers so."""


class FaissBackend(VectorBackend):
    """
    A FAISS index for the inner product.

    Args:
        factory (`str`, *optional*, defaults to `"Flat"`): `"Flat"` (exact), `"HNSW32"` (graph), `"IVF256,PQ32np"`
            (clusters, compressed), or another string of `faiss.index_factory`. Without `np` (no polysemous training)
            FAISS spends more than a second per code byte on sorting codes for a filter (`ht`) that is off.
        precision (`str`, *optional*, defaults to `"float32"`): Of the numbers of a flat index: `"float16"` takes half
            the bytes, `"int8"` a quarter, scaled by the smallest and largest value of each dimension. `"binary"`
            searches by one bit of each number (RaBitQ), and compares the best candidates again as int8.
    """

    name = "faiss"
    file_name = "index.faiss"
    write_errors = (RuntimeError,)

    @checked(factory=text(), precision=choice(["float32", *_FACTORIES]))
    def __init__(self, factory: str = "Flat", precision: str = "float32") -> None:
        if precision != "float32" and factory != "Flat":
            raise ValueError(
                f"precision={precision!r} is for factory='Flat', and {factory!r} says itself how its vectors are "
                "stored: leave one of them out"
            )
        self.factory = _FACTORIES.get(precision, factory)
        self._index: Any = None

    @classmethod
    def of(cls, index: Any, factory: str = "Flat") -> FaissBackend:
        """
        A backend around a FAISS index.

        Args:
            index (`faiss.Index`): Over unit vectors, for the inner product.
            factory (`str`, *optional*, defaults to `"Flat"`): What it was made with.
        """
        backend = cls(factory)
        backend._index = index
        return backend

    @property
    def index(self) -> Any:
        """The `faiss.Index`; `None` before [`build`]."""
        return self._index

    @property
    def count(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return 0 if self._index is None else int(self._index.d)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"factory": self.factory}

    def check(self, dimension: int, count: int) -> None:
        index = empty_index(self.factory, dimension)
        _require_enough(index, self.factory, count)
        # A trial with few made-up vectors shows what the factory string alone does not: kinds that cannot be trained
        # or added to.
        if _learns_rotation(index):
            return  # a trial would take long, whatever the number of vectors
        for clustering in _clusterings(index):
            clustering.niter, clustering.min_points_per_centroid = 1, 1
        enough = max(_TRIAL_VECTORS, *_needed(index))
        vectors = np.random.default_rng(0).normal(size=(min(count, enough), dimension)).astype(np.float32)
        add_only = index.is_trained
        try:
            _fill(index, vectors)
        except RuntimeError as error:
            if count <= enough or add_only:  # else it may be that only the trial has too few vectors
                raise _untrainable(self.factory, count, error) from error

    def build(self, embeddings: np.ndarray) -> None:
        self._index = build_faiss(embeddings, self.factory)

    def search(self, queries: Tensor, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        vectors = np.ascontiguousarray(queries.cpu().numpy())
        try:
            return (
                self._index.search(vectors, k) if allowed is None else search_allowed(self._index, vectors, k, allowed)
            )
        except RuntimeError as error:
            raise ValueError(
                f"FAISS cannot search this index ({faiss_message(error)}): build or download it again"
            ) from error

    def take(self, rows: np.ndarray, new: np.ndarray) -> FaissBackend:
        return FaissBackend.of(rearrange(self._index, rows, new), self.factory)

    def write(self, path: Path) -> None:
        import_faiss().write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path, settings: Mapping[str, Any], mmap: bool = True) -> FaissBackend:
        return cls.of(read_faiss(path, mmap), settings["factory"])

    @property
    def search_parameters(self) -> dict[str, float]:
        return read_parameters(self._index)

    def set_search_parameters(self, **parameters: float) -> None:
        space = import_faiss().ParameterSpace()
        for name, value in parameters.items():
            # FAISS takes 0 for "no limit" and "no filter" here, and nowhere else.
            least = 0 if name.endswith(("max_codes", "ht")) else 1
            number(least=least, most=_MAX_PARAMETER if name.endswith(("efSearch", "k_factor_rf")) else None)(
                name, value
            )
            try:
                space.set_index_parameter(self._index, name, value)
            except RuntimeError as error:
                raise ValueError(
                    f"{name}={value} is no search parameter of this index ({type(self._index).__name__}): nprobe "
                    "belongs to an IVF index, efSearch to an HNSW index, and a Flat index has none"
                ) from error


def build_faiss(embeddings: np.ndarray, factory: str) -> Any:
    """
    Build and fill a FAISS index for the inner product.

    Args:
        embeddings (`np.ndarray` of shape `(n, hidden)`, float32): Of unit length: the inner product is the cosine.
        factory (`str`): As for [`FaissBackend`].

    Returns:
        `faiss.Index`: An index with clusters probes a sixteenth of them, at least 8, and a graph follows 128
        candidates; FAISS's own defaults of 1 and 16 find little in a large corpus.
        [`~PassageIndex.set_search_parameters`] changes that.

    Raises:
        `ValueError`: If FAISS does not know the string, makes an index of it that does not compare by inner product,
            or needs more embeddings for its training.
    """
    index = empty_index(factory, embeddings.shape[1])
    try:
        _fill(index, embeddings)
    except RuntimeError as error:
        raise _untrainable(factory, len(embeddings), error) from error
    if factory == _FACTORIES["binary"]:
        index.k_factor = RESCORED
    clusters = try_inverted_lists(index)
    if clusters is not None:
        clusters.nprobe = min(clusters.nlist, max(8, clusters.nlist // 16))
    else:
        with suppress(RuntimeError):  # of an index without a graph
            import_faiss().ParameterSpace().set_index_parameter(index, "efSearch", GRAPH_CANDIDATES)
    return index


def try_inverted_lists(index: Any) -> Any | None:
    """The part of a FAISS index that has clusters, or `None`."""
    try:
        return import_faiss().extract_index_ivf(index)
    except RuntimeError:
        return None


def read_parameters(index: Any) -> dict[str, float]:
    """
    The search parameters of a FAISS index, those of the indexes that it is made of included.

    Args:
        index (`faiss.Index`)
    """
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return read_parameters(index.index)
    if isinstance(index, faiss.IndexRefine):
        return {**read_parameters(index.base_index), "k_factor_rf": index.k_factor}
    parameters: dict[str, float] = {}
    if isinstance(index, faiss.IndexHNSW):
        parameters["efSearch"] = index.hnsw.efSearch
    if isinstance(index, faiss.IndexIVF):
        parameters |= {"nprobe": index.nprobe, "max_codes": index.max_codes}
        parameters |= {f"quantizer_{name}": value for name, value in read_parameters(index.quantizer).items()}
    if isinstance(index, (faiss.IndexPQ, faiss.IndexIVFPQ)):
        parameters["ht"] = index.polysemous_ht
    return parameters


def empty_index(factory: str, dimension: int) -> Any:
    """
    A FAISS index for the inner product, neither trained nor filled.

    Raises:
        `ValueError`: If FAISS does not know the factory string, or makes an index of it that does not compare by inner
            product.
    """
    faiss = import_faiss()
    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, MemoryError) as error:
        raise ValueError(
            f"factory={factory!r} is no index of {dimension} dimensions that FAISS knows ({faiss_message(error)}). "
            "Take 'Flat', 'HNSW32' or, for millions of passages, 'IVF4096,PQ64np'; a PQ must divide the dimension."
        ) from error
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(
            f"factory={factory!r}: FAISS makes this kind of index for the L2 distance, whatever it is asked for, and "
            "its scores would be no cosines. Take 'HNSW32_SQ8' in place of an HNSW over PQ, or 'IVF4096,PQ64np'."
        )
    return index


def _fill(index: Any, embeddings: np.ndarray) -> None:
    if not index.is_trained:
        index.train(embeddings)
    index.add(embeddings)


def _needed(index: Any) -> tuple[int, int]:
    """How many vectors the training of clusters and of a product quantizer needs."""
    faiss = import_faiss()
    clusters = try_inverted_lists(index)
    part = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    quantizer = getattr(clusters if clusters is not None else part, "pq", None)
    return (0 if clusters is None else clusters.nlist, 0 if quantizer is None else quantizer.ksub)


def _clusterings(index: Any) -> list[Any]:
    """The settings of the clusterings that train an index."""
    faiss = import_faiss()
    owners = [index, try_inverted_lists(index)]
    if isinstance(index, faiss.IndexPreTransform):
        owners.append(faiss.downcast_index(index.index))
    owners += [owner.pq for owner in owners if hasattr(owner, "pq")]
    return [owner.cp for owner in owners if hasattr(owner, "cp")]


def _learns_rotation(index: Any) -> bool:
    faiss = import_faiss()
    if not isinstance(index, faiss.IndexPreTransform):
        return False
    transforms = (faiss.downcast_VectorTransform(index.chain.at(place)) for place in range(index.chain.size()))
    return any(isinstance(transform, faiss.OPQMatrix) for transform in transforms)


def _require_enough(index: Any, factory: str, count: int) -> None:
    needed = max(_needed(index))
    if count < needed:
        raise _untrainable(factory, count, RuntimeError(f"it needs at least {needed}"))


def _untrainable(factory: str, count: int, error: RuntimeError) -> ValueError:
    return ValueError(
        f"factory={factory!r} can't be trained on {count} embeddings ({faiss_message(error)}). Take fewer clusters "
        "(about 4 times the square root of the corpus), or 'Flat', which needs no training."
    )
