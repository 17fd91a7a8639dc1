"""`fit_retrieval_threshold`: the threshold at which a wished share of answers retrieves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import checked, number


@dataclass(frozen=True)
class RetrievalFrequency:
    """
    What a threshold does.

    Attributes:
        threshold (`float`): For `retrieval="adaptive"`.
        frequency (`float`): Share of the answers that retrieve at least once with it.
    """

    threshold: float
    frequency: float


@checked(frequency=number(least=0, most=1))
def fit_retrieval_threshold(probabilities: Sequence[float], frequency: float) -> RetrievalFrequency:
    """
    Find the threshold whose retrieval frequency is closest to the one wished for.

    Args:
        probabilities (`Sequence[float]`): Of each answer the highest probability of a retrieval at any of its decision
            points, decoded without retrieving. Up to its first retrieval an answer does not depend on the threshold,
            so it retrieves with every threshold below that number and with no other.
        frequency (`float`): From 0 to 1.

    Returns:
        [`RetrievalFrequency`]: Halfway between two probabilities, so that rounding decides nothing.

    Raises:
        `ValueError`: If there are no probabilities, or one is not from 0 to 1.

    Example:

    ```python
    >>> fit_retrieval_threshold([0.9, 0.6, 0.4, 0.1], frequency=0.5)
    RetrievalFrequency(threshold=0.5, frequency=0.5)
    ```
    """
    if not len(probabilities):
        raise ValueError("probabilities is empty: a threshold needs the answers to at least one question")
    rule = number(least=0, most=1)
    values = np.asarray([rule(f"probabilities[{n}]", value) for n, value in enumerate(probabilities)], np.float64)
    levels = np.unique(values)
    candidates = [*((levels[:-1] + levels[1:]) / 2).tolist(), 0.0, 1.0]
    reached = [RetrievalFrequency(threshold, float((values > threshold).mean())) for threshold in candidates]
    return min(reached, key=lambda each: abs(each.frequency - frequency))
