"""SQuAD's and Self-RAG's scores of answers as `evaluate.Metric` classes."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Features, List, Value

from ..multi_hop_scores import mean_scores
from ..self_rag import accuracy, clean_prediction, closed_answer, match
from ..squad import squad_scores, squad_v2_scores
from .base import DescribedMetric

_TEXTS = """
Args:
    predictions (`list[str]`): One answer per question.
    references (`list[list[str]]`): The acceptable answers of each question.
"""
_SELF_RAG = """
    clean (`bool`, *optional*, defaults to `True`): Whether to remove control tokens and to map SUPPORTS and REFUTES,
        as the official script does with generations.
"""
_FEATURES = Features({"predictions": Value("string"), "references": List(Value("string"))})
_SQUAD = "Rajpurkar et al., SQuAD: 100,000+ Questions for Machine Comprehension of Text, EMNLP 2016, arXiv 1606.05250"
_SQUAD_2 = "Rajpurkar et al., Know What You Don't Know: Unanswerable Questions for SQuAD, ACL 2018, arXiv 1806.03822"
_ASAI = "Asai et al., Self-RAG: Learning to Retrieve, Generate, and Critique through Self-Reflection, arXiv 2310.11511"


class SquadMetric(DescribedMetric):
    """
    Exact match and F1 of SQuAD 1.1: `exact_match` and `f1`, from 0 to 1.

    Example:

    ```python
    >>> SquadMetric().compute(predictions=["the Paris"], references=[["Paris", "Paris, France"]])
    {'exact_match': 1.0, 'f1': 1.0}
    ```
    """

    citation = _SQUAD
    inputs_description = _TEXTS
    input_features = _FEATURES

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        return mean_scores((squad_scores(text, answers) for text, answers in pairs), "predictions")


class SquadV2Metric(DescribedMetric):
    """
    Exact match and F1 of SQuAD 2.0, where a question may have no answer (an empty list) and an empty prediction says
    so: `exact_match` and `f1`, from 0 to 1, the same with `has_answer_` and `no_answer_` over the questions of each
    kind, if there are any, and `total`.
    """

    citation = _SQUAD_2
    inputs_description = _TEXTS
    input_features = _FEATURES

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        rows = [squad_v2_scores(text, answers) for text, answers in zip(predictions, references, strict=True)]
        means = mean_scores(rows, "predictions")
        report = {name: means[name] for name in ("exact_match", "f1")}
        for kind, wanted in (("has_answer", 1.0), ("no_answer", 0.0)):
            same = [row for row in rows if row["has_answer"] == wanted]
            if same:
                found = mean_scores(same, kind)
                report |= {f"{kind}_{name}": found[name] for name in ("exact_match", "f1")}
        return {**report, "total": float(len(rows))}


class MatchMetric(DescribedMetric):
    """
    Self-RAG's `match`: the share of predictions in which an acceptable answer stands letter by letter (PopQA,
    TriviaQA; officially also PubHealth and ARC-Challenge): `match`, from 0 to 1.
    """

    citation = _ASAI
    inputs_description = _TEXTS + _SELF_RAG
    input_features = _FEATURES

    def _compute(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]], clean: bool = True
    ) -> dict[str, float]:
        texts = map(clean_prediction, predictions) if clean else predictions
        pairs = zip(texts, references, strict=True)
        return mean_scores(({"match": match(text, answers)} for text, answers in pairs), "predictions")


class AccuracyMetric(DescribedMetric):
    """
    Self-RAG's `accuracy`: the share of predictions that are the first answer, a label such as `true` (PubHealth) or a
    letter (ARC-Challenge): `accuracy`, from 0 to 1.
    """

    citation = _ASAI
    inputs_description = f"""{_TEXTS}{_SELF_RAG}
    pubhealth (`bool`, *optional*, defaults to `False`): See `closed_answer`.
    choices (`Sequence[str]`, *optional*): The possible labels, see `closed_answer`.
    contained (`bool`, *optional*, defaults to `False`): Whether it is enough that the label stands in the prediction.
"""
    input_features = _FEATURES

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        clean: bool = True,
        pubhealth: bool = False,
        choices: Sequence[str] = (),
        contained: bool = False,
    ) -> dict[str, float]:
        texts = map(clean_prediction, predictions) if clean else predictions
        labels = (closed_answer(text, pubhealth, choices) for text in texts)
        pairs = zip(labels, references, strict=True)
        return mean_scores(
            ({"accuracy": accuracy(label, answers, contained)} for label, answers in pairs), "predictions"
        )
