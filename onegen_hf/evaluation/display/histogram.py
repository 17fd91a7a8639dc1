"""A histogram of the scores of right and wrong retrievals, and the score that separates them best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 24


@dataclass(frozen=True)
class Bin:
    """A bar: where it begins and ends on the axis of scores, and how many retrievals of each kind it holds."""

    low: float
    high: float
    right: int
    wrong: int


@dataclass(frozen=True)
class Histogram:
    """
    Attributes:
        bins (`list[Bin]`): From the lowest score to the highest.
        threshold (`float`, *optional*): Taking what scores at least as much for right makes the fewest errors; `None`
            if all retrievals are of one kind.
        kept (`float`): Share of the right retrievals at or above it.
        dropped (`float`): Share of the wrong ones below it.
    """

    bins: list[Bin]
    threshold: float | None = None
    kept: float = 1.0
    dropped: float = 0.0

    @property
    def highest(self) -> int:
        """The height of the highest bar."""
        return max((one.right + one.wrong for one in self.bins), default=0)


def histogram(right: Sequence[float], wrong: Sequence[float]) -> Histogram:
    """
    Count scores.

    Args:
        right (`Sequence[float]`): Scores of retrievals whose first passage is a gold one.
        wrong (`Sequence[float]`): Scores of the others.
    """
    every = np.array([*right, *wrong], dtype=np.float64)
    if not len(every):
        return Histogram([])
    low, high = float(every.min()), float(every.max())
    edges = np.linspace(low, high if high > low else low + 1e-6, BINS + 1)
    counts = [np.histogram(scores, edges)[0] for scores in (right, wrong)]
    bins = [
        Bin(float(start), float(stop), int(first), int(second))
        for start, stop, first, second in zip(edges[:-1], edges[1:], *counts, strict=True)
    ]
    if not right or not wrong:
        return Histogram(bins)
    threshold = best_threshold(right, wrong)
    kept, dropped = np.mean(np.array(right) >= threshold), np.mean(np.array(wrong) < threshold)
    return Histogram(bins, threshold, float(kept), float(dropped))


def best_threshold(right: Sequence[float], wrong: Sequence[float]) -> float:
    """The score with the fewest errors: right ones below it, wrong ones at or above it."""
    candidates = np.unique([*right, *wrong])
    sorted_right, sorted_wrong = np.sort(right), np.sort(wrong)
    missed = np.searchsorted(sorted_right, candidates)  # right ones below each candidate
    accepted = len(sorted_wrong) - np.searchsorted(sorted_wrong, candidates)
    return float(candidates[np.argmin(missed + accepted)])
