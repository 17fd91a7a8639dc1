"""The one definition of similarity that training, search and evaluation share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize as _normalize


def normalize(embeddings: Tensor) -> Tensor:
    """
    Scale to unit length over the hidden dimension, in float32.

    Args:
        embeddings (`Tensor` of shape `(..., hidden)`): Any floating dtype.

    Returns:
        `Tensor` of shape `(..., hidden)`, float32. A zero vector stays zero.
    """
    return _normalize(embeddings.float(), dim=-1)


def similarity_matrix(queries: Tensor, passages: Tensor) -> Tensor:
    """
    Cosine similarity of every query with every passage (paper section 3.3).

    Args:
        queries (`Tensor` of shape `(n_queries, hidden)`)
        passages (`Tensor` of shape `(n_passages, hidden)`)

    Returns:
        `Tensor` of shape `(n_queries, n_passages)`, float32 in [-1, 1].

    Raises:
        `ValueError`: If the hidden sizes differ.
    """
    if queries.shape[-1] != passages.shape[-1]:
        raise ValueError(
            f"queries have dimension {queries.shape[-1]} and passages {passages.shape[-1]}: they come from different "
            "models. Encode both with the same one."
        )
    return normalize(queries) @ normalize(passages).T


def check_finite(embeddings: Tensor, what: str) -> None:
    """
    Raises:
        `ValueError`: If any value is NaN or infinite; names the first bad row.
    """
    bad = ~torch.isfinite(embeddings).all(dim=-1)
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0])
        raise ValueError(
            f"{what}: embedding {row} of {bad.numel()} holds NaN or infinite values ({int(bad.sum())} such rows). The "
            "model diverged or overflowed: check its training log, or load it in float32 or bfloat16, not float16."
        )
