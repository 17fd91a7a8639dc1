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


def less_missing_words(cosines: Mapping[int, float], words: np.ndarray, weight: float) -> dict[int, float]:
    """
    Fuse scores: the cosine of each passage, less what it lacks of the best BM25 score for the query.

    `cosine - weight / (1 - weight) * (1 - BM25 / best BM25)` ranks as the convex combination
    `(1 - weight) * cosine + weight * BM25 / best BM25` does (Bruch et al., ACM TOIS 2023), and stays on the scale of
    cosines: that of a passage with the best words is its cosine, those of others are lower. How far a passage is ahead
    counts, so that words decide where cosines hardly differ, and not where one passage is clearly nearest.

    Args:
        cosines (`Mapping[int, float]`): Of the passages to rank, by number.
        words (`np.ndarray` of shape `(n_passages,)`): BM25 scores, 0 for passages without a word of the query.
        weight (`float`): From 0 to less than 1.

    Returns:
        `dict[int, float]`: Best first; equal ones in the order of `cosines`. Where no passage has a word of the query,
        the cosines.
    """
    best = float(words.max(initial=0))
    if best == 0:
        lacking = dict.fromkeys(cosines, 0.0)
    else:
        lacking = {number: 1 - float(words[number]) / best for number in cosines}
    factor = weight / (1 - weight)
    scores = {number: cosine - factor * lacking[number] for number, cosine in cosines.items()}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
