"""Exact match and F1 of short answers, as SQuAD and HotpotQA score them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = {"yes", "no", "noanswer"}


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and extra white space (SQuAD 1.1's evaluation script)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """
    1.0 if the prediction equals one of the answers after [`normalize_answer`], else 0.0.

    Args:
        prediction (`str`)
        answers (`Sequence[str]`): At least one.
    """
    return float(any(normalize_answer(prediction) == normalize_answer(answer) for answer in answers))


def answer_f1(prediction: str, answers: Sequence[str]) -> float:
    """
    F1 over the words of prediction and answer, of the best answer.

    As in HotpotQA's evaluation, `yes`, `no` and `noanswer` share nothing with any other text.

    Args:
        prediction (`str`)
        answers (`Sequence[str]`): At least one.
    """
    return max(_f1(normalize_answer(prediction), normalize_answer(answer)) for answer in answers)


def _f1(prediction: str, answer: str) -> float:
    if prediction != answer and (prediction in _CLOSED or answer in _CLOSED):
        return 0.0
    words, gold = prediction.split(), answer.split()
    shared = sum((Counter(words) & Counter(gold)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(words), shared / len(gold)
    return 2 * precision * recall / (precision + recall)
