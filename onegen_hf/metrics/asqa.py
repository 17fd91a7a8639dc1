"""ASQA's string match: the share of a question's readings whose short answer stands in a long answer."""

from __future__ import annotations

from collections.abc import Sequence

from .answers import check_answers
from .normalization import normalize_answer


def str_em(prediction: str, short_answers: Sequence[Sequence[str]]) -> float:
    """
    The share of readings of which any short answer stands in the prediction, after [`normalize_answer`] (STR-EM of
    ASQA, arXiv 2204.06092, as ALCE, arXiv 2305.14627, computes it).

    Args:
        prediction (`str`): The long answer, without citation marks.
        short_answers (`Sequence[Sequence[str]]`): For each reading of the question its acceptable short answers.

    Raises:
        `ValueError`: If there is no reading, or one without answers.
        `TypeError`: If something is no text.

    Example:

    ```python
    >>> str_em("It opened in 1911 and again in 1930.", [["1911"], ["May 1930", "1930"], ["1950"]])
    0.6666666666666666
    ```
    """
    if not len(short_answers):
        raise ValueError("short_answers is empty: give the answers to at least one reading, or leave the example out")
    for answers in short_answers:
        check_answers(prediction, answers)
    text = normalize_answer(prediction)
    present = [any(normalize_answer(answer) in text for answer in answers) for answers in short_answers]
    return sum(present) / len(present)
