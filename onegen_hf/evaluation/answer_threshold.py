"""`fit_answer_threshold`: the score below which answers are withheld, from results with and without gold passages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..metrics import answer_f1
from .examples import EvaluationExample


@dataclass(frozen=True)
class Declining:
    """
    What a threshold does.

    Attributes:
        threshold (`float`): Answers with a lower `retrieval_confidence` are withheld; `-inf` for none.
        declined_rightly (`float`): Share of the unanswerable questions that get no answer.
        declined_wrongly (`float`): Share of the answerable questions that get no answer.
        f1_lost (`float`): What withholding costs on the answerable questions, in points of F1 (of 100).
    """

    threshold: float
    declined_rightly: float
    declined_wrongly: float
    f1_lost: float


class ScoredAnswers:
    """
    Answers of the same model to questions that the passages answer, and to questions that they do not.

    Args:
        scores (`Sequence[float]`): `retrieval_confidence` of each answerable question: `-inf` where the model itself
            gave no answer, `inf` where it answered without retrieving, which no threshold withholds.
        f1 (`Sequence[float]`): Of the answers to these, from 0 to 1; 0 where there is none.
        unanswerable_scores (`Sequence[float]`): As `scores`, of the unanswerable questions.

    Raises:
        `ValueError`: If one of the two kinds is missing, the lengths differ, or a score is NaN.
    """

    def __init__(self, scores: Sequence[float], f1: Sequence[float], unanswerable_scores: Sequence[float]) -> None:
        if len(scores) != len(f1):
            raise ValueError(
                f"there are {len(scores)} scores and {len(f1)} values of f1: give one of each per question"
            )
        for name, values in (("scores", scores), ("unanswerable_scores", unanswerable_scores)):
            if not len(values):
                raise ValueError(f"{name} is empty: a threshold needs answerable and unanswerable questions")
            if np.isnan(values).any():
                raise ValueError(f"{name}[{int(np.argmax(np.isnan(values)))}] is NaN: leave that question out")
        order = np.argsort(scores, kind="stable")
        self._scores = np.asarray(scores, np.float64)[order]
        self._f1 = np.concatenate([[0.0], np.cumsum(np.asarray(f1, np.float64)[order])])  # of the lowest scores
        self._unanswerable = np.sort(np.asarray(unanswerable_scores, np.float64))

    @classmethod
    def of(
        cls,
        examples: Sequence[EvaluationExample],
        results: Sequence[Mapping[str, Any]],
        without_gold: Sequence[Mapping[str, Any]],
    ) -> ScoredAnswers:
        """From the results of examples over the whole index, and over the index without their gold passages."""
        f1 = [
            answer_f1(result["answer"], list(example.answers)) if result["answer"] else 0.0
            for example, result in zip(examples, results, strict=True)
        ]
        return cls([_score(result) for result in results], f1, [_score(result) for result in without_gold])

    @property
    def mean_f1(self) -> float:
        """Points of F1 (of 100) on the answerable questions, without a threshold."""
        return 100 * float(self._f1[-1]) / len(self._scores)

    def at(self, threshold: float) -> Declining:
        """What a threshold does to these answers."""
        below = max(threshold, np.nextafter(-np.inf, 0))  # a question without an answer is declined in any case
        declined = int(np.searchsorted(self._scores, below))
        rightly = int(np.searchsorted(self._unanswerable, below))
        return Declining(
            threshold,
            rightly / len(self._unanswerable),
            declined / len(self._scores),
            100 * float(self._f1[declined]) / len(self._scores),
        )

    def thresholds(self) -> list[float]:
        """One threshold for each way to divide the answers: below all scores, between any two, and above all."""
        scores = np.concatenate([self._scores, self._unanswerable])
        levels = np.unique(scores[np.isfinite(scores)])
        if not len(levels):
            return [-math.inf]
        return [float(levels[0]), *((levels[:-1] + levels[1:]) / 2).tolist(), float(np.nextafter(levels[-1], np.inf))]


def fit_answer_threshold(answers: ScoredAnswers, decline: float = 0.7, most_loss: float = 3.0) -> Declining:
    """
    Find a threshold that declines enough unanswerable questions at a low cost on the others.

    Both grow with the threshold, so those that keep both promises are a range. The middle of it is taken, which leaves
    room on both sides for other questions; the range ends where all unanswerable questions are declined.

    Args:
        answers ([`ScoredAnswers`])
        decline (`float`, *optional*, defaults to 0.7): Smallest share of the unanswerable questions to decline.
        most_loss (`float`, *optional*, defaults to 3.0): Most points of F1 to lose on the answerable questions.

    Returns:
        [`Declining`]

    Raises:
        `ValueError`: If no threshold keeps both promises; says what each of them alone would mean.

    Example:

    ```python
    >>> answers = ScoredAnswers([0.9, 0.8, 0.7, 0.5], [1.0, 1.0, 1.0, 0.0], [0.6, 0.4, 0.3, 0.2])
    >>> fit_answer_threshold(answers, decline=0.75, most_loss=0)
    Declining(threshold=0.55, declined_rightly=0.75, declined_wrongly=0.25, f1_lost=0.0)
    ```
    """
    candidates = [answers.at(threshold) for threshold in answers.thresholds()]
    enough = [each for each in candidates if each.declined_rightly >= decline]
    cheap = [each for each in candidates if each.f1_lost <= most_loss]
    if not enough or not cheap or enough[0].f1_lost > most_loss:
        raise ValueError(_unmet(enough, cheap, decline, most_loss))
    lowest = enough[0]
    ends = [each.threshold for each in enough if each.f1_lost <= most_loss]
    all_declined = [each.threshold for each in enough if each.declined_rightly == candidates[-1].declined_rightly]
    highest = max(lowest.threshold, min(ends[-1], all_declined[0]))
    return answers.at(lowest.threshold + (highest - lowest.threshold) / 2)


def declining_at(answers: ScoredAnswers, shares: Sequence[float]) -> list[Declining]:
    """For each share of unanswerable questions the lowest threshold that declines it, without those out of reach."""
    candidates = [answers.at(threshold) for threshold in answers.thresholds()]
    found = [next((each for each in candidates if each.declined_rightly >= share), None) for share in shares]
    return [each for each in found if each is not None]


def _score(result: Mapping[str, Any]) -> float:
    if not result["answer"]:
        return -math.inf
    score = result["retrieval_confidence"]
    return math.inf if score is None else float(score)


def _unmet(enough: list[Declining], cheap: list[Declining], decline: float, most_loss: float) -> str:
    facts = [
        f"declining {enough[0].declined_rightly:.0%} costs {enough[0].f1_lost:.1f} points"
        if enough
        else "some of them are answered without a retrieval, which no threshold declines"
    ]
    if cheap:
        facts.append(f"{cheap[-1].f1_lost:.1f} points decline {cheap[-1].declined_rightly:.0%}")
    return (
        f"no threshold declines {decline:.0%} of the unanswerable questions and loses at most {most_loss:g} points of "
        f"F1 on the others ({'; '.join(facts)}): lower `decline`, raise `most_loss`, or train with "
        "unanswerable examples"
    )
