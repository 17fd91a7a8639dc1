"""Self-RAG's `match` and `accuracy`, for PopQA, TriviaQA, PubHealth and ARC-Challenge."""

from __future__ import annotations

from collections.abc import Sequence

from .answers import check_answers

CONTROL_TOKENS = (
    "[Fully supported]", "[Partially supported]", "[No support / Contradictory]", "[No Retrieval]", "[Retrieval]",
    "[Irrelevant]", "[Relevant]", "<paragraph>", "</paragraph>",
    "[Utility:1]", "[Utility:2]", "[Utility:3]", "[Utility:4]", "[Utility:5]", "</s>", "\n", "<|endoftext|>",
)  # fmt: skip
"""What the official evaluation removes from a generation."""


def match(prediction: str, answers: Sequence[str]) -> float:
    """
    1.0 if any answer stands in the prediction, letter by letter, else 0.0 (Self-RAG, `retrieval_lm/metrics.py`).

    Args:
        prediction (`str`): Usually from [`clean_prediction`].
        answers (`Sequence[str]`): At least one.

    Raises:
        `ValueError`: If there are no answers.
        `TypeError`: If `answers` is a single text.
    """
    check_answers(prediction, answers)
    return float(any(answer in prediction for answer in answers))


def accuracy(prediction: str, answers: Sequence[str], contained: bool = False) -> float:
    """
    1.0 if the prediction is the first answer, else 0.0 (Self-RAG, `retrieval_lm/metrics.py`).

    Args:
        prediction (`str`): Usually from [`clean_prediction`] and [`closed_answer`].
        answers (`Sequence[str]`): The label: `"true"` or `"false"` (PubHealth), a letter (ARC-Challenge). Only the
            first one counts.
        contained (`bool`, *optional*, defaults to `False`): Whether it is enough that the answer stands in the
            prediction, as in the official script for baselines (`retrieval_lm/run_baseline_lm.py`).

    Raises:
        `ValueError`: If there are no answers.
        `TypeError`: If `answers` is a single text.
    """
    check_answers(prediction, answers)
    return float(answers[0] in prediction if contained else prediction == answers[0])


def clean_prediction(text: str) -> str:
    """
    A generation as `retrieval_lm/run_short_form.py` scores it: without control tokens, line breaks and one leading `#`
    or `:`; `SUPPORTS` anywhere makes it `"true"`, else `REFUTES` makes it `"false"`.
    """
    for token in CONTROL_TOKENS:
        text = text.replace(token, "")
    text = text[1:] if text[:1] in ("#", ":") else text
    if "SUPPORTS" in text:
        return "true"
    return "false" if "REFUTES" in text else text


def closed_answer(text: str, pubhealth: bool = False, choices: Sequence[str] = ()) -> str:
    """
    The label that a generation gives (`postprocess_answers_closed` of `retrieval_lm/utils.py`).

    Args:
        text (`str`)
        pubhealth (`bool`, *optional*, defaults to `False`): Whether a text that is just `SUPPORTS` becomes
            `"true"`, and `true` or `false` in any case lower case. A bare `REFUTES` stays as it is, as officially;
            [`clean_prediction`] turns it into `"false"`.
        choices (`Sequence[str]`, *optional*): The possible labels, such as `"ABCD"`: the last of them that stands in
            the text is the answer, unless the rule for PubHealth gives one.

    Returns:
        `str`: The label, or the text itself if it gives none.
    """
    if pubhealth and text.lower() in ("true", "false"):
        return text.lower()
    if pubhealth and text in ("SUPPORTS", "REFUTES"):
        return "true" if text == "SUPPORTS" else text
    return next((choice for choice in reversed(choices) if choice in text), text)
