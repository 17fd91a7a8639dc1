"""The score below which a mention is NIL: fitted on a development set and stored in the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ..configuration import write_setting


def fit_threshold(scores: Sequence[float], is_right: Sequence[bool], num_gold: int) -> float:
    """
    Find the threshold with the highest micro-F1, `2 tp / (linked + num_gold)`, by trying all distinct ones.

    Args:
        scores (`Sequence[float]`): The best score of each mention. Leave out mentions that count neither as right
            nor as wrong, such as mentions outside the annotated part of a text.
        is_right (`Sequence[bool]`): Whether the best candidate of each mention is the gold entity of that span.
        num_gold (`int`): Number of gold mentions that can be linked, detected or not.

    Returns:
        `float`: Mentions with a lower score are NIL. Of equally good thresholds, the lowest is returned, which keeps
        the most mentions. It lies half-way between the lowest score that is kept and the highest that is not; if
        keeping all mentions is best, it is the lowest score.

    Raises:
        `ValueError`: If there is no mention or no gold mention, the lengths differ, a score is not finite, or more
            mentions are right than there are gold ones.

    Example:

    ```python
    >>> fit_threshold([0.9, 0.8, 0.3, 0.2], [True, True, False, True], num_gold=3)
    0.2
    >>> fit_threshold([0.9, 0.8, 0.3, 0.2], [True, True, False, False], num_gold=2)
    0.55
    ```
    """
    values, right = np.asarray(scores, np.float64), np.asarray(is_right, bool)
    if values.ndim != 1 or values.shape != right.shape:
        raise ValueError(
            f"scores has the shape {values.shape} and is_right {right.shape}: give one of each per mention"
        )
    if not len(values):
        raise ValueError("scores is empty: a threshold can't be fitted on a set in which no mention was linked")
    if not np.isfinite(values).all():
        place = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"scores[{place}]={values[place]} must be finite: leave out mentions without a candidate")
    if num_gold < max(int(right.sum()), 1):
        raise ValueError(
            f"num_gold={num_gold} must be at least 1, and at least the {int(right.sum())} mentions that are right"
        )
    distinct, level, counts = np.unique(-values, return_inverse=True, return_counts=True)
    levels = -distinct  # descending
    tp = np.cumsum(np.bincount(level, weights=right, minlength=len(levels)))
    f1 = 2 * tp / (np.cumsum(counts) + num_gold)
    chosen = int(np.flatnonzero(f1 == f1.max())[-1])
    kept = float(levels[chosen])
    if chosen + 1 == len(levels):
        return kept
    dropped = float(levels[chosen + 1])
    between = dropped + (kept - dropped) / 2
    return between if between > dropped else kept


def write_threshold(checkpoint: str | os.PathLike[str], threshold: float) -> None:
    """
    Store a threshold in a checkpoint, where `pipeline("onegen-entity-linking")` finds it.

    Args:
        checkpoint (`str` or path): A directory with a `config.json` that has an `onegen` section.
        threshold (`float`)

    Raises:
        `ValueError`: If the directory is not a OneGen checkpoint, or `threshold` is not finite.
    """
    write_setting(checkpoint, "link_threshold", float(threshold))
