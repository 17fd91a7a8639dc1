"""Searching where a passage has several rows: each passage once, by its best row."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backends.faiss import MISSING, search_faiss


def search_distinct(index: Any, starts: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """
    The best rows of the `k` best passages.

    More rows than wanted are fetched, until every query has `k` different passages or there are no more rows.

    Args:
        index (`faiss.Index`)
        starts (`np.ndarray` of shape `(n_passages + 1,)`, int64): First row of each passage, and the number of rows.
        queries (`np.ndarray` of shape `(n, hidden)`, float32): Of unit length.
        k (`int`): At most the number of passages.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Scores (float32) and rows (int64), both `(n, k)`, best first; row -1 and score
        -inf where an approximate index finds fewer.
    """
    fetched = min(index.ntotal, 4 * k)
    while True:
        all_scores, all_rows = search_faiss(index, queries, fetched)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), MISSING, np.int64)
        for query, found in enumerate(all_rows):
            found = found[found != MISSING]  # these stand at the end
            owners = np.searchsorted(starts, found, side="right") - 1
            first = np.sort(np.unique(owners, return_index=True)[1])[:k]
            scores[query, : len(first)], rows[query, : len(first)] = all_scores[query, first], found[first]
        if fetched == index.ntotal or not (rows == MISSING).any():
            return scores, rows
        fetched = min(index.ntotal, 4 * fetched)
