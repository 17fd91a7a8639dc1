"""The one definition of similarity that training, search and evaluation share."""

from __future__ import annotations

from typing import Any

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


def as_numbers(embeddings: Any, shape: str) -> Tensor:
    """
    Embeddings that a caller gave, as a tensor outside any gradient.

    Args:
        embeddings (`Tensor`, `np.ndarray` or nested lists of numbers)
        shape (`str`): The shape wanted, for the message.

    Returns:
        `Tensor` of the shape and dtype given.

    Raises:
        `TypeError`: If they are no numbers.
    """
    try:
        return torch.as_tensor(embeddings).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"embeddings is a {type(embeddings).__name__} that holds no matrix of numbers ({error}): give a tensor or "
            f"array of shape {shape}"
        ) from error


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


def has_direction(vectors: Tensor) -> Tensor:
    """
    Which rows of a result of [`normalize`] are of unit length.

    Zero vectors are not, nor are vectors with NaN or infinite values, or so small or large that float32 cannot hold
    their length: their cosine with anything would mean nothing.

    Args:
        vectors (`Tensor` of shape `(..., hidden)`)

    Returns:
        `Tensor` of shape `(...)`, bool
    """
    return (torch.linalg.vector_norm(vectors, dim=-1) - 1).abs() < 0.01


def unit_vectors(embeddings: Tensor, what: str) -> Tensor:
    """
    [`normalize`] embeddings, and refuse those that have no direction.

    Args:
        embeddings (`Tensor` of shape `(n, hidden)`): Any floating dtype.
        what (`str`): What they are, for the error.

    Returns:
        `Tensor` of shape `(n, hidden)`, float32

    Raises:
        `ValueError`: If any row is zero, holds NaN or infinite values, or exceeds float32; names the first one.
    """
    vectors = normalize(embeddings)
    usable = has_direction(vectors)
    if not bool(usable.all()):
        check_finite(embeddings, what)
        row = int((~usable).nonzero()[0, 0])
        raise ValueError(
            f"{what}: embedding {row} of {len(embeddings)} has no direction: it is zero, or too small or too large "
            "for float32, and its similarity to anything would mean nothing. Check where it comes from."
        )
    return vectors


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
