"""FAISS: the one place that imports it, builds an index from a factory string, and searches."""

from __future__ import annotations

import functools
import importlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .faiss_installation import check_faiss

MISSING = -1
"""Row that stands for "nothing found" in the result of an approximate search."""
CANDIDATES = 128
"""Of an HNSW graph: of 100,000 made-up vectors (benchmarks/README.md) 16 find 0.84 of the best, and 128 find 0.99 in
0.4 ms a query, a fraction of a token."""


@functools.cache
def import_faiss() -> Any:
    """
    The module `faiss`; a mixed or broken installation is reported once.

    Raises:
        `ImportError`: If FAISS is missing or does not load.
    """
    check_faiss()
    return importlib.import_module("faiss")


def build_faiss(embeddings: np.ndarray, factory: str) -> Any:
    """
    Build and fill a FAISS index for the inner product.

    Args:
        embeddings (`np.ndarray` of shape `(n, hidden)`, float32): Of unit length: the inner product is the cosine.
        factory (`str`): `"Flat"` (exact), `"HNSW32"` (graph), `"IVF256,PQ32np"` (clusters, compressed), or another
            string of `faiss.index_factory`. Without `np` (no polysemous training) FAISS spends more than a second per
            code byte on sorting codes for a filter (`ht`) that is off.

    Returns:
        `faiss.Index`: An index with clusters probes a sixteenth of them, at least 8, and a graph follows 128
        candidates; FAISS's own defaults of 1 and 16 find little in a large corpus.
        [`~PassageIndex.set_search_parameters`] changes that.

    Raises:
        `ValueError`: If FAISS does not know the string, makes an index of it that does not compare by inner product,
            or needs more embeddings for its training.
    """
    faiss = import_faiss()
    number, dimension = embeddings.shape
    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ValueError(
            f"factory={factory!r} is no index of {dimension} dimensions that FAISS knows ({_last_line(error)}). "
            "Take 'Flat', 'HNSW32' or, for millions of passages, 'IVF4096,PQ64np'; a PQ must divide the dimension."
        ) from error
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(
            f"factory={factory!r}: FAISS makes this kind of index for the L2 distance, whatever it is asked for, and "
            "its scores would be no cosines. Take 'HNSW32_SQ8' in place of an HNSW over PQ, or 'IVF4096,PQ64np'."
        )
    try:
        if not index.is_trained:
            index.train(embeddings)
        index.add(embeddings)
    except RuntimeError as error:
        raise ValueError(
            f"factory={factory!r} can't be trained on {number} embeddings ({_last_line(error)}). Take fewer clusters "
            "(about 4 times the square root of the corpus), or 'Flat', which needs no training."
        ) from error
    clusters = try_inverted_lists(index)
    if clusters is not None:
        clusters.nprobe = min(clusters.nlist, max(8, clusters.nlist // 16))
    else:
        with suppress(RuntimeError):  # of an index without a graph
            faiss.ParameterSpace().set_index_parameter(index, "efSearch", CANDIDATES)
    return index


def try_inverted_lists(index: Any) -> Any | None:
    """The part of an index that has clusters, or `None`."""
    try:
        return import_faiss().extract_index_ivf(index)
    except RuntimeError:
        return None


def search_faiss(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """
    The nearest rows of each query.

    Args:
        index (`faiss.Index`)
        queries (`np.ndarray` of shape `(n, hidden)`, float32): Of unit length.
        k (`int`)

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Scores (float32) and rows (int64), both `(n, k)`, best first.
    """
    if len(queries) == 0:
        return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
    return index.search(np.ascontiguousarray(queries), k)


def write_faiss(index: Any, path: Path) -> None:
    """Write an index file."""
    import_faiss().write_index(index, str(path))


def read_faiss(path: Path, mmap: bool) -> Any:
    """
    Read an index file.

    Args:
        path (`Path`)
        mmap (`bool`): Map the file instead of reading it: loading takes no time, and processes share the memory.

    Raises:
        `ValueError`: If it is no FAISS index, is damaged, keeps its lists in another file, or does not compare by
            inner product.
    """
    faiss = import_faiss()
    # Lists on disk are a path within the file, anywhere on this machine, that FAISS would open to read and to write.
    # With this flag it refuses them before that, unless its reader is the plain one of files.
    here = faiss.IO_FLAG_ONDISK_SAME_DIR
    try:
        if mmap:
            # IO_FLAG_MMAP maps only some kinds of index; this one maps them all.
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | here)
        else:
            index = faiss.read_index(faiss.BufferedIOReader(faiss.FileIOReader(str(path))), here)
    except RuntimeError as error:
        if "ONDISK_SAME_DIR" in str(error):
            raise ValueError(
                f"{path} keeps its lists in another file, which can be any file of this machine: don't use this index"
            ) from error
        raise ValueError(
            f"{path} is no readable FAISS index ({_last_line(error)}): build or download it again"
        ) from error
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(
            f"{path} does not compare by inner product (FAISS metric type {index.metric_type}), so its scores are "
            "no cosines: build it again with another factory than an HNSW over PQ"
        )
    return index


def _last_line(error: BaseException) -> str:
    """What FAISS says, without the C++ signature before it."""
    return str(error).strip().splitlines()[-1].split(": ", 1)[-1]
