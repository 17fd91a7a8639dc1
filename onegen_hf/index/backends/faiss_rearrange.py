"""Rows of a FAISS index kept, dropped, moved and added, as they are stored: nothing is compressed a second time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import MISSING
from .faiss_installation import import_faiss


def rearrange(index: Any, source: np.ndarray, embeddings: np.ndarray) -> Any:
    """
    A FAISS index with other rows, trained as the given one.

    Vectors and codes are taken over as they stand; clusters (IVF) and codebooks (PQ) stay those of the first build; a
    graph (HNSW) is made anew. Over codes (SQ) it is made of what the codes stand for, so it may link other neighbours
    than one made of the vectors as they were; it finds as much.

    Args:
        index (`faiss.Index`): Left as it is, mapped from a file or not.
        source (`np.ndarray` of shape `(n_rows,)`, int64): For each row wanted, the row that it is now, or -1 for the
            next one of `embeddings`.
        embeddings (`np.ndarray` of shape `(n_new, hidden)`, float32): Of unit length.

    Returns:
        `faiss.Index`

    Raises:
        `ValueError`: If rows of this kind of index can't be moved.
    """
    faiss = import_faiss()
    # A mapped index is read-only: FAISS ends the process at an attempt to change it.
    changed = faiss.deserialize_index(faiss.serialize_index(index))
    _replace_rows(changed, source, embeddings)
    return changed


def _replace_rows(index: Any, source: np.ndarray, embeddings: np.ndarray) -> None:
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        for number in range(index.chain.size()):
            embeddings = faiss.downcast_VectorTransform(index.chain.at(number)).apply(embeddings)
        _replace_rows(index.index, source, embeddings)
    elif isinstance(index, faiss.IndexRefine):
        _replace_rows(index.base_index, source, embeddings)
        _replace_rows(index.refine_index, source, embeddings)
    elif isinstance(index, faiss.IndexFlatCodes):
        _replace_codes(index, source, embeddings)
    elif isinstance(index, faiss.IndexHNSW):
        _replace_graph(index, source, embeddings)
    elif _has_plain_lists(index):
        _replace_lists(index, source, embeddings)
    else:
        raise ValueError(
            f"an index of the kind {type(index).__name__} can't be updated: its rows can't be moved. Build it again, "
            "or choose a factory with Flat, SQ, PQ, HNSW or IVF (without 'fs')."
        )
    index.ntotal = len(source)


def _has_plain_lists(index: Any) -> bool:
    faiss = import_faiss()
    # IndexIVFPQR keeps further codes beside its lists.
    if not isinstance(index, faiss.IndexIVF) or isinstance(index, faiss.IndexIVFPQR):
        return False
    return isinstance(faiss.downcast_InvertedLists(index.invlists), faiss.ArrayInvertedLists)


def _replace_codes(index: Any, source: np.ndarray, embeddings: np.ndarray) -> None:
    size = index.code_size
    old = import_faiss().rev_swig_ptr(index.codes.data(), index.ntotal * size).reshape(-1, size)
    codes = np.empty((len(source), size), np.uint8)
    kept = source != MISSING
    codes[kept] = old[source[kept]]
    if len(embeddings):
        codes[~kept] = index.sa_encode(np.ascontiguousarray(embeddings))
    index.reset()
    index.add_sa_codes(codes)


def _replace_graph(index: Any, source: np.ndarray, embeddings: np.ndarray) -> None:
    kept = source != MISSING
    rows = np.empty((len(source), index.d), np.float32)
    # What codes stand for is encoded to the same codes again.
    rows[kept] = index.reconstruct_batch(source[kept]) if kept.any() else 0
    rows[~kept] = embeddings
    index.reset()
    index.add(rows)


def _replace_lists(index: Any, source: np.ndarray, embeddings: np.ndarray) -> None:
    faiss = import_faiss()
    kept = source != MISSING
    moved = np.full(index.ntotal, MISSING, np.int64)
    moved[source[kept]] = np.flatnonzero(kept)
    lists, size = index.invlists, index.code_size
    stored = []  # copies: the index is emptied before it is filled
    for number in range(index.nlist):
        length = lists.list_size(number)
        if length:
            ids = moved[faiss.rev_swig_ptr(lists.get_ids(number), length)]
            codes = faiss.rev_swig_ptr(lists.get_codes(number), length * size).reshape(length, size)
            stored.append((number, ids[ids != MISSING], codes[ids != MISSING]))
    index.reset()
    for number, ids, codes in stored:
        if len(ids):
            lists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(codes))
    index.ntotal = int(kept.sum())
    if len(embeddings):
        index.add_with_ids(np.ascontiguousarray(embeddings), np.flatnonzero(~kept))
