"""Percentile bootstrap: how far a score would move with another sample of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..checks import integer, number, shown

_CELLS_AT_A_TIME = 4_000_000
"""Resampled values held at once, so that memory does not grow with the number of examples."""


def confidence_interval(
    scores: Sequence[float], level: float = 0.95, seed: int = 0, n_resamples: int = 2000
) -> tuple[float, float]:
    """
    Percentile bootstrap interval of the mean of per-example scores (`scipy.stats.bootstrap`).

    Args:
        scores (`Sequence[float]`): One score per example.
        level (`float`, *optional*, defaults to 0.95): Between 0 and 1.
        seed (`int`, *optional*, defaults to 0): The same seed and scores give the same interval.
        n_resamples (`int`, *optional*, defaults to 2000)

    Returns:
        `tuple[float, float]`: Lower and upper bound.

    Raises:
        `ValueError`: If there are no scores, one is not finite, or `level` or `n_resamples` is out of range.

    Example:

    ```python
    >>> confidence_interval([1.0, 0.0, 1.0, 1.0], seed=0)
    (0.25, 1.0)
    ```
    """
    return _percentile_interval((_column(scores, "scores"),), np.mean, level, seed, n_resamples)


def ratio_confidence_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
) -> tuple[float, float]:
    """
    Percentile bootstrap interval of `sum(numerators) / sum(denominators)`, examples drawn as pairs.

    Every micro-averaged score is such a ratio: precision `tp / (tp + fp)`, recall `tp / (tp + fn)`, F1
    `2 tp / (2 tp + fp + fn)`, recall per hop `hits / hops`.

    Args:
        numerators (`Sequence[float]`): One value per example.
        denominators (`Sequence[float]`): One value per example, none negative. Where a resample sums to 0, its ratio
            counts as 0.
        level (`float`, *optional*, defaults to 0.95): Between 0 and 1.
        seed (`int`, *optional*, defaults to 0)
        n_resamples (`int`, *optional*, defaults to 2000)

    Returns:
        `tuple[float, float]`: Lower and upper bound.

    Raises:
        `ValueError`: As [`confidence_interval`], and if the lengths differ or a denominator is negative.
    """
    return _percentile_interval(_columns(numerators, denominators), _ratio, level, seed, n_resamples)


def mean_ratio_confidence_interval(
    samples: Sequence[tuple[Sequence[float], Sequence[float]]],
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
) -> tuple[float, float]:
    """
    Percentile bootstrap interval of the plain mean of ratios, one per dataset; examples are drawn within each dataset.

    Args:
        samples (`Sequence[tuple]`): Numerators and denominators of each dataset, as for [`ratio_confidence_interval`].
        level (`float`, *optional*, defaults to 0.95): Between 0 and 1.
        seed (`int`, *optional*, defaults to 0)
        n_resamples (`int`, *optional*, defaults to 2000)

    Returns:
        `tuple[float, float]`: Lower and upper bound.

    Raises:
        `ValueError`: As [`ratio_confidence_interval`], and if there is no dataset.
    """
    if not samples:
        raise ValueError("samples is empty: give the numerators and denominators of at least one dataset")
    _check_range(level, seed, n_resamples)
    random = np.random.default_rng(seed)
    total = np.zeros(n_resamples)
    for pair in samples:
        numerators, denominators = _columns(*pair)
        number = len(numerators)
        batch = max(1, _CELLS_AT_A_TIME // number)
        for start in range(0, n_resamples, batch):
            part = total[start : start + batch]
            drawn = random.integers(number, size=(len(part), number))
            part += _ratio(numerators[drawn], denominators[drawn])
    low, high = np.quantile(total / len(samples), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _columns(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    columns = _column(numerators, "numerators"), _column(denominators, "denominators")
    if len(columns[0]) != len(columns[1]):
        raise ValueError(
            f"numerators has {len(columns[0])} values and denominators {len(columns[1])}: give one of each per example"
        )
    if (columns[1] < 0).any():
        raise ValueError(f"denominators holds the negative value {columns[1].min()}: give counts")
    return columns


def _ratio(numerators: np.ndarray, denominators: np.ndarray, axis: int = -1) -> np.ndarray:
    total = np.sum(denominators, axis=axis)
    return np.sum(numerators, axis=axis) / np.where(total == 0, 1, total)


def _column(values: Sequence[float], name: str) -> np.ndarray:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}={shown(values)} must be a list of numbers: {error}") from None
    if column.ndim != 1 or not len(column):
        raise ValueError(f"{name} has the shape {column.shape}: give one number per example, and at least one example")
    if not np.isfinite(column).all():
        place = int(np.argmin(np.isfinite(column)))
        raise ValueError(f"{name}[{place}]={column[place]} is not finite: drop it or score it 0")
    return column


def _check_range(level: float, seed: int, n_resamples: int) -> None:
    number(above=0, below=1)("level", level)
    integer(least=0)("seed", seed)
    integer(least=1)("n_resamples", n_resamples)


def _percentile_interval(
    columns: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], level: float, seed: int, n_resamples: int
) -> tuple[float, float]:
    from scipy.stats import bootstrap  # half a second that only the report of an evaluation has to spend

    _check_range(level, seed, n_resamples)
    if len(columns[0]) == 1:  # every resample is the sample itself, which scipy refuses
        value = float(statistic(*columns, axis=-1))
        return value, value
    interval = bootstrap(
        columns,
        statistic,
        n_resamples=n_resamples,
        batch=max(1, _CELLS_AT_A_TIME // len(columns[0])),
        vectorized=True,
        paired=len(columns) > 1,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
