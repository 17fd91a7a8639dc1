"""Fits the weight of the prior relative to the embedding similarity on a development set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_DIGITS = 9


def fit_prior_weight(candidates: Sequence[Sequence[Mapping[str, Any]]], gold: Sequence[str]) -> float:
    """
    Find the weight of the prior that gives the most mentions the right entity.

    The score of a candidate, `similarity + weight * prior`, is linear in the weight. The weights for which the gold
    entity beats all others therefore form one interval per mention, and the point where most intervals overlap is
    found exactly.

    Args:
        candidates (`Sequence[Sequence[Mapping]]`): Per mention, `entity_id`, `similarity` and `prior` of its
            candidates: what the pipeline returns with `aliases=`.
        gold (`Sequence[str]`): The right entity of each mention. A mention whose entity is not among the candidates
            is wrong at every weight.

    Returns:
        `float`: The middle of the best interval, or of the lowest of several; never negative, and 0 if the prior does
        not help.

    Raises:
        `ValueError`: If there is no mention, the lengths differ, or candidates have no prior.

    Example:

    ```python
    >>> near, named = {"entity_id": "Q1", "similarity": 0.6}, {"entity_id": "Q2", "similarity": 0.5}
    >>> fit_prior_weight([[near | {"prior": 0.0}, named | {"prior": 0.5}]], ["Q2"])
    0.7
    ```
    """
    if len(candidates) != len(gold):
        raise ValueError(
            f"candidates has {len(candidates)} mentions and gold {len(gold)}: give one right entity for each"
        )
    if not gold:
        raise ValueError("gold is empty: a weight can't be fitted without mentions")
    intervals = [_winning(entities, entity) for entities, entity in zip(candidates, gold, strict=True)]
    # Rounding errors must not make intervals that only touch appear to overlap.
    bounds = np.asarray(intervals).round(_DIGITS)
    bounds = bounds[bounds[:, 0] < bounds[:, 1]]
    low, high = np.sort(bounds[:, 0]), np.sort(bounds[:, 1])
    # Nothing changes between two edges, so the midpoint represents all weights between them.
    edges = np.append(0.0, np.unique(bounds[(bounds > 0) & np.isfinite(bounds)]))
    middles = (edges + np.append(edges[1:], edges[-1] + 1.0)) / 2
    weights = np.append(0.0, middles)
    right = np.searchsorted(low, weights, side="left") - np.searchsorted(high, weights, side="right")
    return float(weights[np.argmax(right)])


def _winning(candidates: Sequence[Mapping[str, Any]], gold: str) -> tuple[float, float]:
    """The interval of weights for which the gold entity is ahead of all others; empty if there are none."""
    if any("prior" not in candidate for candidate in candidates):
        raise ValueError("candidates have no `prior`: link the development set with `aliases=`")
    right = next((candidate for candidate in candidates if candidate["entity_id"] == gold), None)
    if right is None:
        return math.inf, -math.inf
    low, high = -math.inf, math.inf
    for other in candidates:
        if other is right:
            continue
        behind, gain = other["similarity"] - right["similarity"], right["prior"] - other["prior"]
        if gain > 0:
            low = max(low, behind / gain)
        elif gain < 0:
            high = min(high, behind / gain)
        elif behind >= 0:
            return math.inf, -math.inf
    return low, high
