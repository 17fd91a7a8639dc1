"""HotpotQA: answers, supporting facts, and both jointly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .answers import answer_overlap, exact_match
from .multi_hop_scores import check_predictions, combine_parts, mean_scores, record_id
from .supporting_facts import read_supporting_facts, supporting_fact_scores


def hotpotqa_example_scores(
    prediction: str | None, supporting_facts: Any, answer: str, gold_supporting_facts: Any
) -> dict[str, float]:
    """
    Scores of one question (`hotpot_evaluate_v1.py`).

    Args:
        prediction (`str`, *optional*): `None` if there is none: the answer and the joint scores are then 0.
        supporting_facts (`Sequence` or `Mapping`, *optional*): The predicted facts, in a layout of
            [`read_supporting_facts`]; `None` if there are none.
        answer (`str`)
        gold_supporting_facts (`Sequence` or `Mapping`)

    Returns:
        `dict[str, float]`: `em`, `f1`, `prec`, `recall`, the same with `sp_` and with `joint_`, from 0 to 1.
    """
    found = None if prediction is None else (exact_match(prediction, [answer]), answer_overlap(prediction, answer))
    facts = None
    if supporting_facts is not None:
        facts = supporting_fact_scores(
            read_supporting_facts(supporting_facts), read_supporting_facts(gold_supporting_facts)
        )
    return combine_parts({"": found, "sp_": facts})


def hotpotqa_scores(predictions: Mapping[str, Any], gold: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """
    HotpotQA's official scores from a prediction file and a gold file.

    Args:
        predictions (`Mapping`): `{"answer": {id: text}, "sp": {id: [[title, sentence], ...]}}`.
        gold (`Sequence[Mapping]`): Records with `_id` or `id`, `answer` and `supporting_facts` (either layout). Every
            score is divided by their number: what was not predicted counts 0.

    Returns:
        `dict[str, float]`: The twelve scores of [`hotpotqa_example_scores`], means from 0 to 1, as officially.

    Raises:
        `ValueError`: If `gold` is empty or `predictions` has another layout.
    """
    check_predictions(predictions, ("answer", "sp"))
    return mean_scores(
        (
            hotpotqa_example_scores(
                predictions["answer"].get(record_id(record)),
                predictions["sp"].get(record_id(record)),
                record["answer"],
                record["supporting_facts"],
            )
            for record in gold
        ),
        "gold",
    )
