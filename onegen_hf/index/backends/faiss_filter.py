"""Searching a part of the rows of a FAISS index."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .faiss_installation import faiss_message, import_faiss

_FEW = 0.1
"""Share of the rows below which comparing all of them costs less than following a graph past the others."""


def search_allowed(index: Any, queries: np.ndarray, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    The nearest of the allowed rows: exact in an exact index. An approximate one looks at as many more candidates as
    the filter leaves fewer rows, up to all of them.

    Args:
        index (`faiss.Index`)
        queries (`np.ndarray` of shape `(n, hidden)`, float32)
        k (`int`)
        allowed (`np.ndarray` of shape `(ntotal,)`, bool)

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Scores and rows, `(n, k)`; row -1 where fewer are found.

    Raises:
        `ValueError`: If FAISS cannot filter this kind of index.
    """
    faiss = import_faiss()
    selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    share = max(float(allowed.mean()), 1 / len(allowed))
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexHNSW) and share < _FEW:
        index = faiss.downcast_index(index.storage)
    try:
        result: tuple[np.ndarray, np.ndarray] = index.search(queries, k, params=_parameters(index, selector, share, k))
    except RuntimeError as error:
        raise ValueError(
            f"filter: FAISS cannot filter an index of the kind {type(index).__name__} ({faiss_message(error)}): build "
            "it with the factory 'Flat', 'HNSW32' or one with IVF"
        ) from error
    return result


def _parameters(index: Any, selector: Any, share: float, k: int) -> Any:
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=_parameters(index.index, selector, share, k))
    if isinstance(index, faiss.IndexRefine):
        factor = max(1.0, min(index.k_factor / share, share * index.ntotal / k))
        inner = _parameters(index.base_index, selector, share, math.ceil(k * factor))
        return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        probes = min(index.nlist, int(np.ceil(index.nprobe / share)))
        return faiss.SearchParametersIVF(sel=selector, nprobe=probes, max_codes=index.max_codes)
    if isinstance(index, faiss.IndexHNSW):
        candidates = min(index.ntotal, int(np.ceil(index.hnsw.efSearch / share)))
        return faiss.SearchParametersHNSW(sel=selector, efSearch=candidates)
    return faiss.SearchParameters(sel=selector)
