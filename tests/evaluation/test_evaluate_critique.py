"""Evaluation with critique: closed and open tasks in one run, long answers with citations, and what answers cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.reflection_setup import reflection_setup

from onegen_hf import OneGenRagPipeline
from onegen_hf.evaluation import evaluate_rag, format_report
from onegen_hf.evaluation.long_form import citation_metrics, cited_sentences
from onegen_hf.generation import CritiqueSettings

OPTIONS: dict[str, Any] = {"k": 3, "max_new_tokens": 16, "retrieval": "always", "show_progress": False}


@pytest.fixture(scope="module")
def rag(base_tokenizer: Any) -> OneGenRagPipeline:
    setup, _ = reflection_setup(base_tokenizer)
    return OneGenRagPipeline(model=setup.model, tokenizer=setup.tokenizer, index=setup.index, device="cpu")


def example(identifier: str, task: str, metric: str, **meta: Any) -> dict[str, Any]:
    meta = {"task": task, "metric": metric, **meta}
    return {"id": identifier, "question": f"What is {identifier}?", "answers": ["A"], "meta": json.dumps(meta)}


def stored(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_tasks_of_the_paper_in_one_run(rag: OneGenRagPipeline, tmp_path: Path) -> None:
    examples = [
        example("p", "popqa", "match"), example("h", "pubhealth", "accuracy"), example("t", "triviaqa", "match"),
        example("c", "arc_challenge", "accuracy", choices={"A": "stone", "B": "wood"}),
    ]  # fmt: skip
    report = evaluate_rag(rag, examples, tmp_path, critique=True, batch_size=4, **OPTIONS)
    groups = report.results["retrieved"].by_type
    assert sorted(groups) == ["arc_challenge", "popqa", "pubhealth", "triviaqa"]
    for task, group in groups.items():
        metric = "match" if task in ("popqa", "triviaqa") else "accuracy"
        assert {metric, "retrieval_frequency", "hops", "forwarded_tokens"} <= set(group.metrics)
        assert group.metrics["retrieval_frequency"].value == group.metrics["hops"].value == 1.0
    assert [("answer_scores" in result) for result in stored(tmp_path)] == [False, True, False, True]
    assert report.settings["critique"]["w_use"] == 0.5
    table = format_report(report)
    assert "retrieval_frequency" in table and "forwarded_tokens" in table
    # Each is what the pipeline answers.
    for row, result in zip(examples, stored(tmp_path), strict=True):
        critique = CritiqueSettings(closed_set=json.loads(row["meta"])["metric"] == "accuracy")
        alone = rag(row["question"], k=3, max_new_tokens=16, retrieval="always", critique=critique)
        assert (result["answer"], result["text"]) == (alone.answer, alone.text)


def test_long_answers_are_scored_with_their_citations(rag: OneGenRagPipeline, tmp_path: Path) -> None:
    pairs = [{"short_answers": ["A"]}, {"short_answers": ["nowhere at all"]}]
    examples = [example(word, "asqa", "str_em", qa_pairs=pairs) for word in ("boat", "sea", "hill")]
    report = evaluate_rag(
        rag, examples, tmp_path, critique=CritiqueSettings(depth=3), **{**OPTIONS, "max_new_tokens": 40}
    )
    metrics = report.results["retrieved"].all.metrics
    assert {"str_em", "citation_precision", "citation_recall"} <= set(metrics)
    assert 0 <= metrics["str_em"].value <= 0.5


def test_the_citations_of_a_result() -> None:
    passages = [
        {"id": "a", "title": "Boats", "text": "The boat is red. It sails."},
        {"id": "b", "title": "Sea", "text": "Deep."},
    ]  # fmt: skip
    result = {
        "candidates": [{"passage": passage} for passage in [*passages, None]],
        "segments": [
            {"text": "The boat is red. It sank.", "passage_id": "a", "left_out": False},
            {"text": "It is long.", "passage_id": None, "left_out": False},
            {"text": "The sea is deep.", "passage_id": "b", "left_out": True},
        ],
    }
    cited = cited_sentences(result)
    assert [(sentence.text, len(sentence.passages)) for sentence in cited] == [
        ("The boat is red.", 1), ("It sank.", 1), ("It is long.", 0),
    ]  # fmt: skip
    # One of two citations supports its sentence, one of three sentences is supported.
    assert citation_metrics(result) == {"citation_precision": 1 / 2, "citation_recall": 1 / 3}
    assert citation_metrics({"answer": "x"}) == {}


def test_what_critique_is_not_combined_with(rag: OneGenRagPipeline) -> None:
    with pytest.raises(ValueError, match="can't be combined with gold_passages=True"):
        evaluate_rag(rag, [example("p", "popqa", "match")], critique=True, gold_passages=True, **OPTIONS)
