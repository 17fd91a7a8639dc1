"""How a search by embedding and a search by words become one ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..configuration import Fusion, OneGenConfig

RANK_OFFSET = 60
"""Added to each rank before its reciprocal is taken, as Cormack et al. (SIGIR 2009) propose."""


def hybrid_settings(
    config: OneGenConfig, index: Any, hybrid: float | None, fusion: Fusion | None
) -> tuple[float, Fusion]:
    """
    What a search does that does not say how much words count.

    Args:
        config ([`OneGenConfig`]): Of the checkpoint.
        index ([`Retriever`])
        hybrid (`float`, *optional*): By default that of `config`, if the index has a search by words.
        fusion (`str`, *optional*): By default that of `config`.

    Returns:
        `tuple[float, str]`: The weight of the words, and how the two rankings are fused.
    """
    if hybrid is None:
        hybrid = config.hybrid if getattr(index, "has_words", False) else None
    return hybrid or 0.0, fusion or config.fusion


def reciprocal_rank_fusion(rankings: Sequence[tuple[float, np.ndarray]], k: int) -> list[int]:
    """
    Fuse rankings by weighted reciprocal rank (Cormack et al., SIGIR 2009): only places count.

    Args:
        rankings (`Sequence[tuple[float, np.ndarray]]`): The weight and the numbers of each, best first.
        k (`int`)

    Returns:
        `list[int]`: The `k` best numbers; equal ones in the order in which they first come.
    """
    scores: dict[int, float] = {}
    for weight, numbers in rankings:
        for rank, number in enumerate(numbers.tolist(), start=1):
            scores[number] = scores.get(number, 0.0) + weight / (RANK_OFFSET + rank)
    return sorted((number for number in scores if scores[number] > 0), key=lambda number: -scores[number])[:k]


def weighted_sum(cosines: Mapping[int, float], words: np.ndarray, weight: float, k: int) -> list[int]:
    """
    Fuse scores by a convex combination (Bruch et al., ACM TOIS 2023): `1 - weight` times the cosine and `weight` times
    the BM25 score, divided by the best one for the query. How far a passage is ahead counts, so that words decide
    where cosines hardly differ, and not where one passage is clearly nearest.

    Args:
        cosines (`Mapping[int, float]`): Of the passages to rank, by number.
        words (`np.ndarray` of shape `(n_passages,)`): BM25 scores, 0 for passages without a word of the query.
        weight (`float`): From 0 to 1.
        k (`int`)

    Returns:
        `list[int]`: The `k` best numbers; equal ones in the order of `cosines`. For a weight of 1 only passages with a
        word of the query.
    """
    best = float(words.max(initial=0)) or 1.0
    numbers = [number for number in cosines if weight < 1 or words[number] > 0]
    return sorted(
        numbers, key=lambda number: -((1 - weight) * cosines[number] + weight * float(words[number]) / best)
    )[:k]
