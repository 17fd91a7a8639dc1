"""The `evaluate.Metric` classes: the plain functions' scores, at once and batch by batch."""

from __future__ import annotations

from typing import Any

import evaluate
import pytest

from onegen_hf.metrics import modules
from onegen_hf.metrics.elevant import elevant_counts
from onegen_hf.metrics.entity_linking import average_datasets, linking_scores, summarize_counts
from onegen_hf.metrics.hotpotqa import hotpotqa_scores
from onegen_hf.metrics.retrieval import hop_scores, mean_ranking_scores
from onegen_hf.metrics.two_wiki import two_wiki_scores

FACTS = [["Tin Boat", 0], ["Ada Moll", 1]]
GOLD: list[dict[str, Any]] = [
    {"id": "1", "answer": "Fern Bay", "answer_id": "Q1", "supporting_facts": FACTS, "evidences": [["a", "b", "c"]]},
    {
        "id": "2",
        "answer": "no",
        "supporting_facts": {"title": ["Red Kite"], "sent_id": [0]},
        "evidences": [["x", "y", "z"]],
    },
]
FOUND: list[Any] = [{"answer": "the Bay", "supporting_facts": FACTS, "evidences": [["A", "b", "c"]]}, None]
FILE: dict[str, Any] = {"answer": {"1": "the Bay"}, "sp": {"1": FACTS}, "evidence": {"1": [["A", "b", "c"]]}}
ALIASES = {"Q1": {"Bay"}}
DOCUMENTS = [
    {
        "text": "Ada Moll was here.",
        "labels": [{"id": 1, "span": [0, 8], "entity_id": "Q1"}],
        "evaluation_span": [0, 18],
    },
    {"text": "So was I.", "labels": []},
]
MENTIONS = [[[0, 8, "Q1"], [9, 12, "Q2"]], []]

CASES: list[tuple[type[Any], list[Any], list[Any], dict[str, Any], dict[str, float]]] = [
    (modules.SquadMetric, ["Paris", ""], [["paris", "x"], ["y"]], {}, {"exact_match": 0.5, "f1": 0.5}),
    (
        modules.SquadV2Metric,
        ["Paris", "", "x"],
        [["paris"], [], []],
        {},
        {
            "exact_match": 2 / 3, "f1": 2 / 3, "has_answer_exact_match": 1, "has_answer_f1": 1,
            "no_answer_exact_match": 0.5, "no_answer_f1": 0.5, "total": 3,
        },
    ),
    (modules.MatchMetric, ["a [Relevant]true story", "no"], [["true"], ["yes"]], {}, {"match": 0.5}),
    (modules.MatchMetric, ["tr[Relevant]ue"], [["true"]], {"clean": False}, {"match": 0.0}),
    (modules.AccuracyMetric, ["B[Utility:5]", "A: x", "REFUTES"], [["B"], ["A"], ["false"]], {}, {"accuracy": 2 / 3}),
    (modules.AccuracyMetric, ["B.", "A: x"], [["B"], ["A"]], {"choices": "ABCD"}, {"accuracy": 1.0}),
    (modules.AccuracyMetric, ["B."], [["B"]], {"contained": True}, {"accuracy": 1.0}),
    (modules.HotpotQAMetric, FOUND, GOLD, {}, hotpotqa_scores(FILE, GOLD)),
    (modules.TwoWikiMetric, FOUND, GOLD, {"aliases": ALIASES}, two_wiki_scores(FILE, GOLD, ALIASES)),
    (
        modules.RetrievalMetric,
        [["a", "b"], ["c"]],
        [["b"], {"c": 2, "d": 1}],
        {"at": [1]},
        mean_ranking_scores([["a", "b"], ["c"]], [["b"], {"c": 2, "d": 1}], [1]),
    ),
    (
        modules.HopRetrievalMetric,
        [[["a"], ["b"]], []],
        [[["a"], ["c"]], [["d"]]],
        {},
        hop_scores([[["a"], ["b"]], []], [[["a"], ["c"]], [["d"]]]),
    ),
    (
        modules.EntityLinkingMetric,
        MENTIONS,
        DOCUMENTS,
        {"matching": "weak"},
        linking_scores(MENTIONS, DOCUMENTS, "weak"),
    ),
    (
        modules.EntityLinkingMetric,
        MENTIONS,
        DOCUMENTS,
        {"datasets": ["one", "two"]},
        average_datasets(
            {"one": linking_scores(MENTIONS[:1], DOCUMENTS[:1]), "two": linking_scores(MENTIONS[1:], DOCUMENTS[1:])}
        ),
    ),
    (
        modules.ElevantMetric,
        MENTIONS,
        DOCUMENTS,
        {},
        summarize_counts([elevant_counts(*pair) for pair in zip(MENTIONS, DOCUMENTS, strict=True)]),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "predictions", "references", "options", "expected"), CASES)
def test_compute_and_batches(
    metric: type[Any], predictions: list[Any], references: list[Any], options: dict[str, Any], expected: Any
) -> None:
    assert metric().compute(predictions=predictions, references=references, **options) == pytest.approx(expected)
    batched = metric()
    batched.add_batch(predictions=predictions[:1], references=references[:1])
    for prediction, reference in zip(predictions[1:], references[1:], strict=True):
        batched.add(prediction=prediction, reference=reference)
    assert batched.compute(**options) == pytest.approx(expected)


@pytest.mark.parametrize("name", modules.__all__)
def test_described(name: str) -> None:
    metric = getattr(modules, name)()
    assert isinstance(metric, evaluate.Metric)
    assert len(metric.description) > 40
    assert metric.citation
    assert "predictions (" in metric.inputs_description
    assert set(metric.features) == {"predictions", "references"}


def test_errors() -> None:
    with pytest.raises(ValueError, match="datasets has 1 names for 2 documents"):
        modules.EntityLinkingMetric().compute(predictions=MENTIONS, references=DOCUMENTS, datasets=["one"])
    with pytest.raises(TypeError, match="matchng"):
        modules.EntityLinkingMetric().compute(predictions=MENTIONS, references=DOCUMENTS, matchng="weak")
