"""Scores of stored results, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from onegen_hf.evaluation.examples import EvaluationExample
from onegen_hf.evaluation.report import Estimate, EvaluationReport, RunResult
from onegen_hf.evaluation.scoring import TASK_METRICS, ExampleScores, answer_scores, hop_scores_of, score_rag
from onegen_hf.evaluation.table import format_report


def example(
    answers: tuple[str, ...] = ("Fern Bay",), positives: Any = (), meta: dict[str, Any] | None = None
) -> EvaluationExample:
    return EvaluationExample("x", "Where?", (), answers, positives, meta or {})


def result(answer: str = "Fern Bay", *hops: list[Any]) -> dict[str, Any]:
    return {
        "answer": answer,
        "retrievals": [
            {"hop": n, "passages": [one if isinstance(one, dict) else {"id": one} for one in found]}
            for n, found in enumerate(hops)
        ],
    }


@pytest.mark.parametrize(
    ("meta", "answers", "answer", "expected"),
    [
        ({}, ("Fern Bay",), "the Fern bay.", {"exact_match": 1.0, "f1": 1.0}),
        ({}, ("Elm Hill", "Fern Bay"), "Fern Hill", {"exact_match": 0.0, "f1": 0.5}),
        ({}, ("Fern Bay",), "", {"exact_match": 0.0, "f1": 0.0}),
        ({}, (), "Fern Bay", {}),
        ({"metric": "match"}, ("Bay",), "It is Fern Bay.[Utility:5]", {"match": 1.0}),
        ({"metric": "match"}, ("bay",), "It is Fern Bay.", {"match": 0.0}),
        ({"metric": "accuracy", "task": "pubhealth"}, ("true",), "True", {"accuracy": 1.0}),
        ({"metric": "accuracy", "task": "pubhealth"}, ("false",), "REFUTES it", {"accuracy": 1.0}),
        ({"metric": "accuracy", "choices": {"B": "tin", "A": "oak"}}, ("B",), "B: tin", {"accuracy": 1.0}),
        ({"metric": "accuracy", "choices": {"B": "tin", "A": "oak"}}, ("A",), "It is B", {"accuracy": 0.0}),
    ],
)
def test_answers_by_task(
    meta: dict[str, Any], answers: tuple[str, ...], answer: str, expected: dict[str, float]
) -> None:
    assert answer_scores(example(answers, meta=meta), result(answer)) == expected


def test_one_entry_adds_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASK_METRICS, "length", lambda example, text: float(len(text)))
    assert answer_scores(example(meta={"metric": "length"}), result("Fern Bay")) == {"length": 8.0}


def test_an_unknown_metric() -> None:
    with pytest.raises(ValueError, match="'x': meta.metric is 'bleu'; give 'match', 'accuracy', 'str_em' or none"):
        answer_scores(example(meta={"metric": "bleu"}), result())


@pytest.mark.parametrize(("hops", "expected"), [([["a"], ["b"]], 1.0), ([["a"]], 0.0), ([["a"], ["b"], ["c"]], 0.0)])
def test_as_many_hops(hops: list[list[str]], expected: float) -> None:
    scores = answer_scores(example(positives=(("a",), ("b",))), result("", *hops))
    assert scores["hop_count_accuracy"] == expected


@pytest.mark.parametrize("layout", ["pairs", "columns"])
def test_supporting_facts_where_sentences_were_found(layout: str) -> None:
    gold: Any = [["Tin Boat", 0], ["Ada Moll", 1]]
    if layout == "columns":
        gold = {"title": ["Tin Boat", "Ada Moll"], "sent_id": [0, 1]}
    found = [[{"id": "d0", "title": "Tin Boat", "sentence": 0}], [{"id": "d1", "title": "Ada Moll", "sentence": 0}]]
    scores = answer_scores(example(meta={"supporting_facts": gold}), result("Fern Bay", *found))
    assert scores == {
        "exact_match": 1.0, "f1": 1.0, "sp_em": 0.0, "sp_f1": 0.5, "joint_em": 0.0, "joint_f1": 0.5,
    }  # fmt: skip


def test_hops() -> None:
    examples = [
        example(positives=(("a",), ("b", "c"))),
        example(positives=((), ("d",))),
        example(positives=(("e",),)),
        example(),
    ]
    found = [[["a", "x", "y"], ["x", "c", "y"]], [["d"]], [["x"], ["e"]], []]
    scores = hop_scores_of(examples, found, k=3)
    assert [sorted(one) for one in scores] == [[0, 1], [1], [0], []]
    assert scores[0][0] == {
        "recall@1": 1.0, "recall@3": 1.0, "success@1": 1.0, "success@3": 1.0, "mrr": 1.0, "ndcg@3": 1.0,
    }  # fmt: skip
    second = scores[0][1]
    assert (second["recall@1"], second["recall@3"], second["success@3"], second["mrr"]) == (0.0, 0.5, 1.0, 0.5)
    assert set(scores[1][1].values()) == {0.0}  # the model took one hop only
    assert set(scores[2][0].values()) == {0.0}  # at another hop does not count


def test_only_cutoffs_that_were_retrieved() -> None:
    (scores,) = hop_scores_of([example(positives=(("a",),))], [[["a"]]], k=1)
    assert sorted(scores[0]) == ["mrr", "ndcg@1", "recall@1", "success@1"]
    (scores,) = hop_scores_of([example(positives=(("a",),))], [[["a"]]], k=20)
    assert "ndcg@10" in scores[0] and "recall@20" in scores[0] and "recall@50" not in scores[0]


def test_more_examples_than_are_scored_together(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [example(positives=(("a",),)) for _ in range(5)]
    results = [result("Fern Bay", ["a"]), result("Elm", ["b"])] * 2 + [result("Fern Bay", ["a"])]
    together = list(score_rag(examples, results, 1))
    monkeypatch.setattr("onegen_hf.evaluation.scoring._EXAMPLES_AT_A_TIME", 2)
    assert list(score_rag(examples, iter(results), 1)) == together
    assert [one.answer["exact_match"] for one in together] == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert [one.hops[0]["recall@1"] for one in together] == [1.0, 0.0, 1.0, 0.0, 1.0]


SCORES = [
    ExampleScores("bridge", {"exact_match": 1.0}, {0: {"recall@1": 1.0}, 1: {"recall@1": 1.0}}),
    ExampleScores("bridge", {"exact_match": 0.0}, {0: {"recall@1": 1.0}, 1: {"recall@1": 0.0}}),
    ExampleScores("single", {"match": 1.0}, {0: {"recall@1": 0.0}}),
    ExampleScores(None, {}, {}),
]


def test_retrieval_is_averaged_over_hops_and_answers_over_examples() -> None:
    run = RunResult.of(SCORES)
    assert (run.all.examples, run.all.hops) == (4, 5)
    assert run.all.metrics["recall@1"].value == pytest.approx(3 / 5)
    assert run.all.metrics["exact_match"].value == 0.5
    assert run.all.metrics["match"] == Estimate(1.0, 1.0, 1.0)
    assert list(run.by_type) == ["bridge", "single"]
    assert run.by_type["bridge"].metrics["recall@1"].value == 0.75
    assert "exact_match" not in run.by_type["single"].metrics
    assert list(run.by_hop) == ["1", "2"]
    assert run.by_hop["1"].metrics["recall@1"].value == pytest.approx(2 / 3)
    assert run.by_hop["2"].examples == 2 and run.by_hop["2"].metrics["recall@1"].value == 0.5
    assert all(e.low <= e.value <= e.high for e in run.all.metrics.values())


def report(run: RunResult) -> EvaluationReport:
    settings = {"k": 1, "max_hops": 5, "index": {"passages": 12}, "model": {"dtype": "float32"}}
    return EvaluationReport(
        "rag", "org/tiny", "org/data", "dev", 0.95, settings, {"retrieved": run, "gold_passages": run}
    )


def test_entry_for_a_model_card() -> None:
    from huggingface_hub import ModelCard

    found = report(RunResult.of(SCORES))
    card = ModelCard(f"---\n{found.model_index()}---\n\n# Tiny\n")
    read = {result.metric_type: result for result in card.data.eval_results}
    assert read["recall@1"].metric_value == 0.6
    assert read["exact_match_with_gold_passages"].metric_value == 0.5
    assert read["recall@1"].dataset_type == "org/data" and read["recall@1"].dataset_split == "dev"
    assert read["recall@1"].dataset_args == {"examples": 4, "k": 1, "max_hops": 5}
    assert card.data.model_name == "tiny"
    assert [r.unique_identifier for r in found.eval_results()] == [r.unique_identifier for r in read.values()]


def test_table() -> None:
    lines = format_report(report(RunResult.of(SCORES))).splitlines()
    assert lines[0] == "rag of org/tiny on org/data, split dev"
    assert lines[1] == "12 passages searched, k=1, float32; [95% confidence interval]"
    assert lines[3].split() == ["retrieved", "examples", "recall@1", "exact_match", "match"]
    assert lines[4].startswith("all               4  0.600 [")
    assert [line.split()[0] for line in lines[4:9]] == ["all", "bridge", "single", "hop", "hop"]
    assert lines[6].split()[5:6] == ["-"]
    assert lines[10].startswith("gold passages")
    assert max(map(len, lines)) <= 110
