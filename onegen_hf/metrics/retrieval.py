"""Recall, MRR, nDCG and MAP of ranked passages, computed by `ir-measures` (trec_eval's definitions)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import instance, integer, shown

Relevance = Mapping[str, int] | Sequence[str]
"""Relevant ids, all alike, or ids with their grades (for nDCG)."""


def ranking_scores(
    rankings: Sequence[Sequence[str]], relevant: Sequence[Relevance], at: Sequence[int] = (1, 5, 10)
) -> list[dict[str, float]]:
    """
    Scores of each query's ranked passages.

    Args:
        rankings (`Sequence[Sequence[str]]`): Ids per query, best first. An empty list scores 0.
        relevant (`Sequence[Sequence[str] | Mapping[str, int]]`): The relevant ids per query, or ids with grades.
        at (`Sequence[int]`, *optional*, defaults to `(1, 5, 10)`): Ranks to cut at.

    Returns:
        `list[dict[str, float]]`: Per query `recall@k` (share of its relevant passages among the first k), `success@k`
        (1 if any is: what the trainer logs as recall), `ndcg@k`, and over the whole ranking `mrr` (1 / rank of the
        first relevant passage) and `map`. A query without relevant passages has no scores: its dict is empty.

    Raises:
        `ValueError`: If the lengths differ, an id is repeated within a ranking, a k is below 1, or a grade is
            negative.
        `TypeError`: If a ranking is a single text.

    Example:

    ```python
    >>> ranking_scores([["p3", "p1"]], [["p1"]], at=(1,))[0]["mrr"]
    0.5
    ```
    """
    import ir_measures
    from ir_measures import AP, RR, R, Success, nDCG

    _check(rankings, relevant, at)
    names = {AP: "map", RR: "mrr"}
    for k in at:
        names |= {R @ k: f"recall@{k}", Success @ k: f"success@{k}", nDCG @ k: f"ndcg@{k}"}
    grades = {str(query): _grades(wanted) for query, wanted in enumerate(relevant)}
    qrels = {query: wanted for query, wanted in grades.items() if any(wanted.values())}
    # Distinct falling scores keep the order of the ranking; trec_eval would order equal ones by id.
    run = {query: {name: float(-rank) for rank, name in enumerate(rankings[int(query)])} for query in qrels}
    scores: list[dict[str, float]] = [
        dict.fromkeys(names.values(), 0.0) if str(q) in qrels else {} for q in range(len(rankings))
    ]
    for found in ir_measures.iter_calc(list(names), qrels, {query: ids for query, ids in run.items() if ids}):
        scores[int(found.query_id)][names[found.measure]] = float(found.value)
    return scores


def mean_ranking_scores(
    rankings: Sequence[Sequence[str]], relevant: Sequence[Relevance], at: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """
    The means of [`ranking_scores`] over all queries that have a relevant passage, and their number.

    Returns:
        `dict[str, float]`: The scores and `queries`. Without such a query only `queries`, which is 0.
    """
    scored = [scores for scores in ranking_scores(rankings, relevant, at) if scores]
    means = {name: float(np.mean([scores[name] for scores in scored])) for name in (scored[0] if scored else ())}
    return {**means, "queries": float(len(scored))}


def hop_scores(
    retrievals: Sequence[Sequence[Sequence[str]]],
    positives: Sequence[Sequence[Relevance]],
    at: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """
    Retrieval within generations: scores over all hops, over the hops of each number, and whether the hops are as many.

    Args:
        retrievals (`Sequence[Sequence[Sequence[str]]]`): Example → hop → ids found, best first.
        positives (`Sequence[Sequence[Sequence[str]]]`): Example → hop → relevant ids. A hop that the model did not
            take counts 0; one beyond the gold ones counts nothing. A hop without positives is left out.
        at (`Sequence[int]`, *optional*, defaults to `(1, 5, 10)`)

    Returns:
        `dict[str, float]`: The names of [`ranking_scores`], the same behind `hop_0/`, `hop_1/`, ...; `queries`: the
        gold hops; `hop_count_accuracy`: the share of examples with as many hops as gold ones.

    Raises:
        `ValueError`: If the lengths differ; else as [`ranking_scores`].
    """
    _check_lengths("retrievals", retrievals, "positives", positives)
    hops = list(gold_hops(retrievals, positives))
    scores = mean_ranking_scores([hop[1] for hop in hops], [hop[2] for hop in hops], at)
    for number in sorted({hop[0] for hop in hops}):
        same = [hop for hop in hops if hop[0] == number]
        found = mean_ranking_scores([hop[1] for hop in same], [hop[2] for hop in same], at)
        scores |= {f"hop_{number}/{name}": value for name, value in found.items()}
    if len(positives):
        scores["hop_count_accuracy"] = float(
            np.mean([len(found) == len(gold) for found, gold in zip(retrievals, positives, strict=True)])
        )
    return scores


def gold_hops(
    retrievals: Sequence[Sequence[Sequence[str]]], positives: Sequence[Sequence[Relevance]]
) -> Iterator[tuple[int, Sequence[str], Relevance]]:
    """Number, ids found and relevant ids of every gold hop; nothing found where the model did not take it."""
    for found, gold in zip(retrievals, positives, strict=True):
        for number, relevant in enumerate(gold):
            yield number, found[number] if number < len(found) else [], relevant


def _grades(relevant: Relevance) -> dict[str, int]:
    if isinstance(relevant, Mapping):
        return {str(name): int(grade) for name, grade in relevant.items()}
    return {str(name): 1 for name in relevant}


def _check(rankings: Sequence[Sequence[str]], relevant: Sequence[Relevance], at: Sequence[int]) -> None:
    _check_lengths("rankings", rankings, "relevant", relevant)
    for place, k in enumerate(instance(list, tuple, range)("at", at)):
        integer(least=1)(f"at[{place}]", k)
    for query, (ranking, wanted) in enumerate(zip(rankings, relevant, strict=True)):
        if isinstance(ranking, str) or isinstance(wanted, str):
            raise TypeError(
                f"query {query}: give a list of ids, not the text {ranking if isinstance(ranking, str) else wanted!r}"
            )
        if len(set(ranking)) != len(ranking):
            raise ValueError(
                f"query {query}: an id stands twice in its ranking {list(ranking)[:10]}. Keep the first one."
            )
        if isinstance(wanted, Mapping):
            for identifier, grade in wanted.items():
                integer(least=0)(f"query {query}: the grade of {identifier!r}", grade)


def _check_lengths(name: str, left: Sequence[Any], other_name: str, right: Sequence[Any]) -> None:
    for argument, value in ((name, left), (other_name, right)):
        if isinstance(value, (str, Mapping)) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
            raise TypeError(
                f"{argument}={shown(value)} must be a list with an entry per query, got {type(value).__name__}"
            )
    if len(left) != len(right):
        raise ValueError(f"{name} has {len(left)} entries and {other_name} {len(right)}: give one of each per query")
