"""Exact match and word overlap of short answers, as HotpotQA and 2WikiMultihopQA score them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..checks import instance, shown
from .normalization import normalize_answer

_CLOSED = {"yes", "no", "noanswer"}


class Overlap(NamedTuple):
    """Shared items of a prediction and the truth."""

    f1: float
    precision: float
    recall: float

    @classmethod
    def of_rates(cls, precision: float, recall: float) -> Overlap:
        """Precision and recall with their harmonic mean, 0 where both are 0."""
        total = precision + recall
        return cls(2 * precision * recall / total if total else 0.0, precision, recall)


NO_OVERLAP = Overlap(0.0, 0.0, 0.0)


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """
    1.0 if the prediction equals one of the answers after [`normalize_answer`], else 0.0.

    Args:
        prediction (`str`)
        answers (`Sequence[str]`): At least one.

    Raises:
        `ValueError`: If there are no answers.
        `TypeError`: If `answers` is a single text.
    """
    check_answers(prediction, answers)
    normal = normalize_answer(prediction)
    return float(any(normal == normalize_answer(answer) for answer in answers))


def answer_f1(prediction: str, answers: Sequence[str]) -> float:
    """
    F1 over the words of prediction and answer, of the best answer; see [`answer_overlap`].

    Args:
        prediction (`str`)
        answers (`Sequence[str]`): At least one.

    Raises:
        `ValueError`: If there are no answers.
        `TypeError`: If `answers` is a single text.
    """
    check_answers(prediction, answers)
    return max(answer_overlap(prediction, answer).f1 for answer in answers)


def answer_overlap(prediction: str, answer: str) -> Overlap:
    """
    F1, precision and recall over normalised words (`hotpot_evaluate_v1.py`).

    `yes`, `no` and `noanswer` share nothing with any other text.
    """
    normal, gold = normalize_answer(prediction), normalize_answer(answer)
    if normal != gold and (normal in _CLOSED or gold in _CLOSED):
        return NO_OVERLAP
    return word_overlap(normal, gold)


def word_overlap(prediction: str, answer: str) -> Overlap:
    """F1, precision and recall over the words of two normalised texts, without a rule for closed answers (SQuAD)."""
    words, gold = prediction.split(), answer.split()
    shared = sum((Counter(words) & Counter(gold)).values())
    return Overlap.of_rates(shared / len(words), shared / len(gold)) if shared else NO_OVERLAP


def check_answers(prediction: str, answers: Sequence[str], empty: bool = False) -> None:
    """
    Check a prediction and the answers that it is compared with.

    Args:
        prediction (`str`)
        answers (`Sequence[str]`)
        empty (`bool`, *optional*, defaults to `False`): Whether there may be no answer.

    Raises:
        `TypeError`: If `answers` is a single text, which would be compared letter by letter, or something is no text.
        `ValueError`: If it is empty.
    """
    instance(str)("prediction", prediction)
    if not isinstance(answers, (str, Collection)):
        raise TypeError(f"answers={shown(answers)} must be a list of texts, got {type(answers).__name__}")
    if isinstance(answers, str):
        raise TypeError(f"answers is the text {answers!r}: give a list of acceptable answers, such as [{answers!r}]")
    for place, answer in enumerate(answers):
        instance(str)(f"answers[{place}]", answer)
    if not len(answers) and not empty:
        raise ValueError("answers is empty: give at least one acceptable answer, or leave the example out")
