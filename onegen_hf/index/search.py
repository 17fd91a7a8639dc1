"""Searching passages: queries are checked and scaled, and a passage with several rows counts once, by its best row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..similarity import as_numbers, unit_vectors
from .backends import MISSING, VectorBackend


def unit_queries(embeddings: Tensor | np.ndarray, dimension: int) -> Tensor:
    """
    Queries as a backend takes them: of unit length, on the device where they lie.

    Args:
        embeddings (`Tensor` or `np.ndarray` of shape `(n, hidden)`): Any floating dtype.
        dimension (`int`): Of the index.

    Returns:
        `Tensor` of shape `(n, hidden)`, float32

    Raises:
        `TypeError`: If they are no numbers.
        `ValueError`: If the shape or dimension is wrong, or a query is zero or holds NaN or infinite values.
    """
    queries = as_numbers(embeddings, f"(n, {dimension})")  # (n, hidden)
    if queries.dtype == torch.bool or queries.is_complex():
        raise TypeError(f"embeddings has dtype {queries.dtype}: give floating-point numbers")
    if queries.ndim != 2:
        raise ValueError(
            f"embeddings has shape {tuple(queries.shape)}, expected (n, {dimension}): one row per query, also "
            "for a single one"
        )
    if queries.shape[1] != dimension:
        raise ValueError(
            f"the queries have dimension {queries.shape[1]} and the index {dimension}: they come from "
            "different models. Load the index that was built with this model, or build it again."
        )
    return unit_vectors(queries, "queries")


def search_rows(
    backend: VectorBackend, queries: Tensor, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """
    The best rows of each query, where every passage has one.

    Args:
        backend ([`VectorBackend`])
        queries (`Tensor` of shape `(n, hidden)`, float32): Of unit length.
        k (`int`): From 1 to the number of rows.
        allowed (`np.ndarray` of shape `(num_rows,)`, bool, *optional*): The rows that may be returned; by default all.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Scores (float32) and rows (int64), both `(n, k)`, best first; row -1 and score
        -inf where an approximate or filtered search finds fewer.

    Raises:
        `ValueError`: If the backend answers with rows or scores that cannot be, as a damaged one does.
    """
    if len(queries) == 0:
        return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
    scores, rows = backend.search(queries, k) if allowed is None else backend.search(queries, k, allowed)
    scores = np.where(rows == MISSING, np.float32(-np.inf), scores)
    if not ((rows >= MISSING) & (rows < backend.count)).all() or not (np.isfinite(scores) | (rows == MISSING)).all():
        raise ValueError(
            "the vectors of the index are damaged: a search gave rows that do not exist, or scores that are no "
            "numbers. Build the index again, or download it with `force_download=True`."
        )
    return scores, rows


def search_passages(
    backend: VectorBackend, starts: np.ndarray, queries: Tensor, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """
    The best rows of the `k` best passages, where a passage may have several.

    More rows than `k` are fetched, until every query has `k` different passages or all rows were fetched.

    Args:
        backend ([`VectorBackend`])
        starts (`np.ndarray` of shape `(n_passages + 1,)`, int64): First row of each passage, and the number of rows.
        queries (`Tensor` of shape `(n, hidden)`, float32): Of unit length.
        k (`int`): From 1 to the number of passages.
        allowed (`np.ndarray` of shape `(num_rows,)`, bool, *optional*): The rows that may be returned; by default all.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: As [`search_rows`].
    """
    most = backend.count if allowed is None else int(allowed.sum())
    fetched = min(most, 4 * k)
    while True:
        all_scores, all_rows = search_rows(backend, queries, fetched, allowed)  # (n, fetched)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), MISSING, np.int64)
        for query, candidates in enumerate(all_rows):
            candidates = candidates[candidates != MISSING]  # these stand at the end
            owners = np.searchsorted(starts, candidates, side="right") - 1
            # Place of the best row of each passage, best passage first.
            best = np.sort(np.unique(owners, return_index=True)[1])[:k]
            scores[query, : len(best)], rows[query, : len(best)] = all_scores[query, best], candidates[best]
        if fetched == most or not (rows == MISSING).any():
            return scores, rows
        fetched = min(most, 4 * fetched)
