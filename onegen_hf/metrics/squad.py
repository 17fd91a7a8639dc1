"""SQuAD 1.1 and SQuAD 2.0."""

from __future__ import annotations

from collections.abc import Sequence

from .answers import check_answers, word_overlap
from .normalization import normalize_answer


def squad_scores(prediction: str, answers: Sequence[str]) -> dict[str, float]:
    """
    Exact match and F1 of one answer (SQuAD 1.1, `evaluate-v1.1.py`).

    Unlike HotpotQA's, the F1 has no rule for `yes` and `no`; two answers that are both empty after normalisation
    match exactly, but share no word.

    Args:
        prediction (`str`)
        answers (`Sequence[str]`): At least one; the best counts.

    Returns:
        `dict[str, float]`: `exact_match` and `f1`, from 0 to 1. The official script prints percentages.

    Raises:
        `ValueError`: If there are no answers.
    """
    check_answers(prediction, answers)
    normal, golds = normalize_answer(prediction), [normalize_answer(answer) for answer in answers]
    return {"exact_match": float(normal in golds), "f1": max(word_overlap(normal, gold).f1 for gold in golds)}


def squad_v2_scores(prediction: str, answers: Sequence[str]) -> dict[str, float]:
    """
    Exact match and F1 of one answer where a question may have none (SQuAD 2.0, `evaluate-v2.0.py`).

    An empty prediction says that there is no answer. Against a question without answers it scores 1, and so does a
    prediction of nothing but articles and punctuation; everything else scores 0 there.

    Args:
        prediction (`str`)
        answers (`Sequence[str]`): May be empty. Answers of nothing but articles and punctuation do not count.

    Returns:
        `dict[str, float]`: `exact_match`, `f1` and `has_answer` (1 or 0), from 0 to 1.
    """
    check_answers(prediction, answers, empty=True)
    normal = normalize_answer(prediction)
    golds = [gold for gold in map(normalize_answer, answers) if gold]
    exact = float(normal in (golds or [""]))
    f1 = max(word_overlap(normal, gold).f1 for gold in golds) if golds and normal else exact
    return {"exact_match": exact, "f1": f1, "has_answer": float(bool(golds))}
