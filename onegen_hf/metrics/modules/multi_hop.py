"""HotpotQA's and 2WikiMultihopQA's evaluations as `evaluate.Metric` classes."""

from __future__ import annotations

from typing import Any

from ..hotpotqa import hotpotqa_example_scores
from ..multi_hop_scores import mean_scores
from ..two_wiki import Aliases, two_wiki_example_scores
from .base import RecordMetric

_YANG = (
    "Yang et al., HotpotQA: A Dataset for Diverse, Explainable Multi-hop Question Answering, EMNLP 2018, 1809.09600"
)
_HO = "Ho et al., Constructing A Multi-hop QA Dataset for Comprehensive Evaluation of Reasoning Steps, COLING 2020"


class HotpotQAMetric(RecordMetric):
    """
    HotpotQA: `em`, `f1`, `prec`, `recall` of the answer, the same with `sp_` of the supporting facts and with `joint_`
    of both, from 0 to 1.

    Example:

    ```python
    >>> gold = {"answer": "yes", "supporting_facts": [["Tin Boat", 0]]}
    >>> HotpotQAMetric().compute(predictions=[gold], references=[gold])["joint_em"]
    1.0
    ```
    """

    citation = _YANG
    inputs_description = """
Args:
    predictions (`list[dict]`): `{"answer": str, "supporting_facts": [[title, sentence], ...]}`; what is missing or
        `None` counts 0.
    references (`list[dict]`): Records of the dataset: `answer` and `supporting_facts`, in either public layout.
"""

    def compute_records(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        """Means of [`hotpotqa_example_scores`]."""
        return mean_scores(
            (
                hotpotqa_example_scores(
                    (found or {}).get("answer"),
                    (found or {}).get("supporting_facts"),
                    gold["answer"],
                    gold["supporting_facts"],
                )
                for found, gold in zip(predictions, references, strict=True)
            ),
            "predictions",
        )


class TwoWikiMetric(RecordMetric):
    """
    2WikiMultihopQA: `em`, `f1`, `prec`, `recall` of the answer, the same with `sp_` of the supporting facts, with
    `evi_` of the evidence triples and with `joint_` of all three, from 0 to 1.
    """

    citation = _HO
    inputs_description = """
Args:
    predictions (`list[dict]`): `{"answer": str, "supporting_facts": [[title, sentence], ...], "evidences": [[subject,
        relation, object], ...]}`; what is missing or `None` counts 0.
    references (`list[dict]`): Records of the dataset.
    aliases (`Mapping[str, Collection[str]]`, *optional*): Wikidata id to other names, from `read_aliases`.
"""

    def compute_records(
        self, predictions: list[Any], references: list[Any], aliases: Aliases | None = None
    ) -> dict[str, float]:
        """Means of [`two_wiki_example_scores`]."""
        return mean_scores(
            (
                two_wiki_example_scores(
                    (found or {}).get("answer"),
                    (found or {}).get("supporting_facts"),
                    (found or {}).get("evidences"),
                    gold,
                    aliases,
                )
                for found, gold in zip(predictions, references, strict=True)
            ),
            "predictions",
        )
