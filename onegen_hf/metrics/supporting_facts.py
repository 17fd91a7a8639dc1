"""Supporting facts: which sentences a system says that its answer rests on (HotpotQA, 2WikiMultihopQA)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .answers import Overlap

Fact = tuple[str, int]


def read_supporting_facts(facts: Any) -> list[Fact]:
    """
    Bring supporting facts to pairs of title and sentence number, whichever of the public layouts they have.

    Args:
        facts (`Sequence` or `Mapping`): Pairs `[title, sentence]` (the datasets' JSON files and official prediction
            files), mappings `{"title": ..., "sent_id": ...}`, or the columns `{"title": [...], "sent_id": [...]}` (the
            Hub's Parquet files).

    Raises:
        `ValueError`: If they have another form.
    """
    if isinstance(facts, Mapping) and {"title", "sent_id"} <= set(facts):
        titles, numbers = facts["title"], facts["sent_id"]
        if isinstance(titles, str) or len(titles) != len(numbers):
            raise ValueError(
                f"supporting facts: title {titles!r} and sent_id {numbers!r} must be lists of the same length"
            )
        return [(str(title), int(number)) for title, number in zip(titles, numbers, strict=True)]
    if isinstance(facts, (str, Mapping)) or not isinstance(facts, Iterable):
        raise ValueError(f"supporting facts must be a list of pairs [title, sentence number], got {facts!r}")
    return [_read_fact(fact) for fact in facts]


def _read_fact(fact: Any) -> Fact:
    pair = (fact.get("title"), fact.get("sent_id")) if isinstance(fact, Mapping) else tuple(fact)
    if len(pair) != 2 or not isinstance(pair[0], str) or pair[1] is None:
        raise ValueError(f"supporting fact {fact!r} must be a pair [title, sentence number]")
    return pair[0], int(pair[1])


def supporting_fact_scores(prediction: Sequence[Fact], gold: Sequence[Fact]) -> tuple[float, Overlap]:
    """
    Exact match and overlap of two sets of supporting facts (`hotpot_evaluate_v1.py`).

    Without gold and without prediction the match is exact, and the overlap 0.

    Returns:
        `tuple[float, Overlap]`: Exact match, and F1 with precision and recall.
    """
    return fact_scores(list(set(prediction)), list(set(gold)))


def fact_scores(prediction: Sequence[Any], gold: Sequence[Any]) -> tuple[float, Overlap]:
    """
    As [`supporting_fact_scores`] on lists whose repetitions count: the prediction's that are gold are true positives,
    the gold ones that are not predicted false negatives.
    """
    predicted, wanted = set(prediction), set(gold)
    hits = sum(fact in wanted for fact in prediction)
    missed = sum(fact not in predicted for fact in gold)
    exact = float(hits == len(prediction) and not missed)
    precision = hits / len(prediction) if prediction else 0.0
    recall = hits / (hits + missed) if hits + missed else 0.0
    return exact, Overlap.of_rates(precision, recall)
