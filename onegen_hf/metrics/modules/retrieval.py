"""Retrieval scores as `evaluate.Metric` classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..retrieval import hop_scores, mean_ranking_scores
from .base import RecordMetric

_MACAVANEY = "MacAvaney et al., Streamlining Evaluation with ir-measures, ECIR 2022, arXiv 2111.13466"
_AT = """    at (`Sequence[int]`, *optional*, defaults to `(1, 5, 10)`): Ranks to cut at.
"""


class RetrievalMetric(RecordMetric):
    """
    `recall@k`, `success@k`, `ndcg@k`, `mrr` and `map` of ranked passages, as trec_eval defines them, from 0 to 1, and
    `queries`: those with a relevant passage, over which the means are taken.

    Example:

    ```python
    >>> RetrievalMetric().compute(predictions=[["p3", "p1"]], references=[["p1"]], at=[1])["mrr"]
    0.5
    ```
    """

    citation = _MACAVANEY
    inputs_description = f"""
Args:
    predictions (`list[list[str]]`): Ids per query, best first.
    references (`list[list[str] | dict[str, int]]`): Relevant ids per query, or ids with grades.
{_AT}"""

    def compute_records(
        self, predictions: list[Any], references: list[Any], at: Sequence[int] = (1, 5, 10)
    ) -> dict[str, float]:
        """[`mean_ranking_scores`]."""
        return mean_ranking_scores(predictions, references, at)


class HopRetrievalMetric(RecordMetric):
    """
    Retrieval within generations: the scores of [`RetrievalMetric`] over all hops and over the hops of each number, and
    `hop_count_accuracy`, the share of examples with as many hops as gold ones.
    """

    citation = _MACAVANEY
    inputs_description = f"""
Args:
    predictions (`list[list[list[str]]]`): Example, hop, ids found, best first.
    references (`list[list[list[str]]]`): Example, hop, relevant ids; a hop that was not taken counts 0.
{_AT}"""

    def compute_records(
        self, predictions: list[Any], references: list[Any], at: Sequence[int] = (1, 5, 10)
    ) -> dict[str, float]:
        """[`hop_scores`]."""
        return hop_scores(predictions, references, at)
