"""The score of a segment: how probable its text is, and what the model's reflection tokens say of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .settings import CritiqueSettings

SUPPORT_WEIGHTS = (1.0, 0.5, 0.0)
"""Of `[Fully supported]`, `[Partially supported]`, `[No support / Contradictory]`."""
UTILITY_WEIGHTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Of `[Utility:1]` to `[Utility:5]`."""


@dataclass(frozen=True)
class SegmentScore:
    """
    The score of a segment and its parts.

    Attributes:
        total (`float`): `probability + w_rel * relevance + w_sup * support + w_use * utility`.
        probability (`float`): exp of the mean log-probability of the segment's tokens, from 0 to 1.
        relevance (`float`, *optional*): ISREL, from 0 to 1. `None`, which counts as 0, if no passage was inserted.
        support (`float`, *optional*): ISSUP, from 0 to 1. `None`, which counts as 0, if the model wrote no such
            token.
        utility (`float`, *optional*): ISUSE, from -1 to 1. `None`, likewise.
    """

    total: float
    probability: float
    relevance: float | None
    support: float | None
    utility: float | None


def score_segment(
    log_probabilities: Sequence[float],
    relevance: Sequence[float] | None,
    support: Sequence[float] | None,
    utility: Sequence[float] | None,
    settings: CritiqueSettings,
) -> SegmentScore:
    """
    Score a segment (Self-RAG, arXiv 2310.11511, equations 3 and 4 and appendix A.3).

    Args:
        log_probabilities (`Sequence[float]`): Of the segment's tokens, reflection tokens and the end token included,
            which the paper's scripts average as well; a segment without tokens has probability 0.
        relevance (`Sequence[float]`, *optional*): Probabilities of `[Relevant]` and `[Irrelevant]` right after the
            passage.
        support (`Sequence[float]`, *optional*): Probabilities of `[Fully supported]`, `[Partially supported]` and
            `[No support / Contradictory]` where the model wrote the first of these.
        utility (`Sequence[float]`, *optional*): Probabilities of `[Utility:1]` to `[Utility:5]`, likewise.
        settings ([`CritiqueSettings`]): Holds the weights.

    Example:

    ```python
    >>> score = score_segment([-0.5, -0.5], [0.6, 0.2], [0.5, 0.3, 0.0], [0, 0, 0, 0.2, 0.2], CritiqueSettings())
    >>> round(score.relevance, 4), round(score.support, 4), round(score.utility, 4), round(score.total, 4)
    (0.75, 0.8125, 0.75, 2.544)
    ```
    """
    mean = math.fsum(log_probabilities) / len(log_probabilities) if log_probabilities else -math.inf
    probability = math.exp(mean)
    isrel = None if relevance is None else expectation(relevance, (1.0, 0.0))
    issup = None if support is None else expectation(support, SUPPORT_WEIGHTS)
    isuse = None if utility is None else expectation(utility, UTILITY_WEIGHTS)
    total = probability
    for weight, part in ((settings.w_rel, isrel), (settings.w_sup, issup), (settings.w_use, isuse)):
        total += weight * (part or 0.0)
    return SegmentScore(total, probability, isrel, issup, isuse)


def expectation(probabilities: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted mean over the tokens of a group: `sum(w * p) / sum(p)`; 0 if all probabilities vanish."""
    total = math.fsum(probabilities)
    if total == 0:
        return 0.0
    return math.fsum(weight * p for weight, p in zip(weights, probabilities, strict=True)) / total
