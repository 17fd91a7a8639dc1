"""How well the passages of an answer were found, and the threshold below which the answer is withheld."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from .results import is_withheld

ResultT = TypeVar("ResultT", bound=Mapping[str, Any])


def retrieval_confidence(best_scores: Iterable[float | None]) -> float | None:
    """
    The lowest score over the hops: an answer is as good as its worst retrieval.

    Args:
        best_scores (`Iterable[float | None]`): Of each hop, the score of its best passage; `None` for a hop that found
            nothing, which counts as 0.

    Returns:
        `float`, *optional*: `None` if nothing was retrieved.
    """
    return min((0.0 if score is None else score for score in best_scores), default=None)


def withhold(result: ResultT, threshold: float | None) -> ResultT:
    """
    Withhold the answer of a result whose `retrieval_confidence` is below a threshold.

    Args:
        result (`Mapping`): As `pipeline("onegen-rag")` returns it.
        threshold (`float`, *optional*): `None` or `-inf` withholds nothing.

    Returns:
        `Mapping`: A result of the same class that names the threshold in `answer_threshold`. If the answer is
        withheld, it is empty in it, `answered` is `False`, and `text` still holds what was written.
    """
    if threshold is None or threshold == -math.inf:
        return result
    changes: dict[str, Any] = {"answer_threshold": threshold}
    score = result["retrieval_confidence"]
    if result["answered"] and score is not None and score < threshold:
        changes |= {"answer": "", "answered": False, "citations": [], "confidence": None}
    return type(result)({**result, **changes})  # type: ignore[call-arg]


def why_withheld(result: Mapping[str, Any]) -> str | None:
    """
    Why a result has no answer, in words; `None` if it has one, or if no threshold is the reason.

    Args:
        result (`Mapping`): As `pipeline("onegen-rag")` returns it.
    """
    if not is_withheld(result):
        return None
    score, threshold = result["retrieval_confidence"], result["answer_threshold"]
    # Enough digits to tell the two apart.
    digits = next((digits for digits in range(2, 9) if f"{score:.{digits}f}" != f"{threshold:.{digits}f}"), 9)
    return f"The passages do not answer this: best score {score:.{digits}f}, threshold {threshold:.{digits}f}"
