"""The threshold below which answers are withheld: hand-worked fits, and a model asked without its gold passages."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from support.evaluation_setup import pipeline, rows

from onegen_hf.evaluation import (
    Declining,
    ScoredAnswers,
    calibrate_answers,
    evaluate_rag,
    fit_answer_threshold,
    format_report,
)
from onegen_hf.evaluation.answer_threshold import declining_at
from onegen_hf.evaluation.examples import EvaluationExample, read_examples
from onegen_hf.evaluation.rag import Answering
from onegen_hf.evaluation.report import COSTS
from onegen_hf.evaluation.scoring import ExampleScores, score_rag
from onegen_hf.evaluation.without_gold_decoder import WithoutGoldDecoder

pytestmark = pytest.mark.xdist_group("evaluation")

OPTIONS: dict[str, Any] = {"max_new_tokens": 48, "batch_size": 2, "show_progress": False}
ANSWERS = ScoredAnswers([0.9, 0.5, 0.8, 0.7], [1.0, 0.0, 1.0, 0.5], [0.4, 0.6, 0.2, 0.3])


@pytest.mark.parametrize(
    ("threshold", "rightly", "wrongly", "lost"),
    [
        (-math.inf, 0, 0, 0),
        (0.2, 0, 0, 0),  # a score that equals the threshold is not below it
        (0.25, 0.25, 0, 0),
        (0.55, 0.75, 0.25, 0),
        (0.75, 1, 0.5, 12.5),
        (0.85, 1, 0.75, 37.5),
        (2, 1, 1, 62.5),
    ],
)
def test_what_a_threshold_does(threshold: float, rightly: float, wrongly: float, lost: float) -> None:
    assert ANSWERS.at(threshold) == Declining(threshold, rightly, wrongly, pytest.approx(lost))
    assert ANSWERS.mean_f1 == 62.5


def test_what_no_threshold_changes() -> None:
    answers = ScoredAnswers([-math.inf, 0.5, math.inf], [0.0, 1.0, 1.0], [-math.inf, 0.4, math.inf])
    assert answers.at(-math.inf) == Declining(-math.inf, 1 / 3, 1 / 3, 0)
    assert answers.at(0.9) == Declining(0.9, 2 / 3, 2 / 3, pytest.approx(100 / 3))
    with pytest.raises(ValueError, match="some of them are answered without a retrieval"):
        fit_answer_threshold(answers, decline=0.7, most_loss=100)


@pytest.mark.parametrize(
    ("decline", "most_loss", "threshold"),
    [
        # One of four from between 0.2 and 0.3 on, all from between 0.6 and 0.7 on, which costs nothing.
        (0.25, 0, (0.25 + 0.65) / 2),
        (0.75, 0, (0.45 + 0.65) / 2),
        (1, 0, 0.65),
        (1, 100, 0.65),  # a higher one would only cost
        (0, 0, (0.2 + 0.65) / 2),
    ],
)
def test_the_middle_of_what_keeps_both_promises(decline: float, most_loss: float, threshold: float) -> None:
    chosen = fit_answer_threshold(ANSWERS, decline, most_loss)
    assert chosen.threshold == pytest.approx(threshold)
    assert chosen == ANSWERS.at(chosen.threshold)
    assert chosen.declined_rightly >= decline and chosen.f1_lost <= most_loss


def test_promises_that_cannot_be_kept() -> None:
    answers = ScoredAnswers([0.9, 0.3], [1.0, 1.0], [0.8, 0.2])
    with pytest.raises(ValueError, match=r"no threshold declines 70% .* loses at most 3 points") as error:
        fit_answer_threshold(answers)
    assert "declining 100% costs 50.0 points; 0.0 points decline 50%" in str(error.value)
    assert fit_answer_threshold(answers, decline=0.5).threshold == pytest.approx(0.25)
    assert declining_at(answers, [0.5, 0.9]) == [answers.at(0.25), answers.at((0.8 + 0.9) / 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], [0.5]), "scores is empty"),
        (([0.5], [1.0], []), "unanswerable_scores is empty"),
        (([0.5], [], [0.5]), "1 scores and 0 values of f1"),
        (([0.5], [1.0], [0.1, math.nan]), r"unanswerable_scores\[1\] is NaN"),
    ],
)
def test_answers_that_say_nothing(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScoredAnswers(*arguments)


def test_gold_passages_are_left_out_of_the_search() -> None:
    rag = pipeline()
    size, gold = len(rag.index), [[["d4"], ["d1"]], [["d1"]]]
    decoder = WithoutGoldDecoder(rag.index, rag.tokenizer, rag.model.onegen_config, k=2, gold=gold)
    prompts = [rag.preprocess(row["question"])["prompt"] for row in rows([0, 1])]
    answered = rag.engine.answer(prompts, decoder, do_sample=False, max_new_tokens=48)
    whole = rag([row["question"] for row in rows([0, 1])], max_new_tokens=48, k=size)
    for row, result, hops in zip(answered, whole, gold, strict=True):
        left_out = {identifier for hop in hops for identifier in hop}
        # The first hop asks before anything was inserted, so both searches have the same query.
        expected = [passage.id for passage in result.retrievals[0].passages if passage.id not in left_out][:2]
        assert [hit.passage.id for hit in row.retrievals[0].hits] == expected
        assert all(len(hop.hits) == 2 for hop in row.retrievals)
        assert not left_out & {hit.passage.id for hop in row.retrievals for hit in hop.hits}
    assert len(rag.index) == size


def stored(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_model_is_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = [{**row, "id": str(place)} for place, row in enumerate(rows([0, 1, 1, 0]))]
    evaluate_rag(pipeline(), learned, tmp_path, **OPTIONS)
    monkeypatch.setattr(Answering, "answer", None)  # the answers of the evaluation are used
    calibration = calibrate_answers(pipeline(), learned, tmp_path, decline=0.5, most_loss=0, **OPTIONS)
    asked = stored(tmp_path / "answers.jsonl")
    without = stored(tmp_path / "answers_without_gold_passages.jsonl")
    for row, result in zip(learned, without, strict=True):
        gold = {identifier for hop in row["positives"] for identifier in hop}
        assert not gold & {passage["id"] for hop in result["retrievals"] for passage in hop["passages"]}
    threshold = calibration.chosen.threshold
    declined = [not one["answer"] or one["retrieval_confidence"] < threshold for one in without]
    assert calibration.chosen.declined_rightly == sum(declined) / len(declined) >= 0.5
    assert calibration.chosen.f1_lost == 0 and calibration.examples == 4 and calibration.f1 == 100
    assert all(one["retrieval_confidence"] >= threshold for one in asked)
    table = str(calibration).splitlines()
    assert table[0] == "4 questions, each with and without its gold passages in the index; F1 100.0"
    assert sum(line.endswith("chosen") for line in table) == 1
    assert f"{threshold:.3f}" in next(line for line in table if line.endswith("chosen"))


def test_a_calibration_needs_answers_and_positives() -> None:
    for row in ({**rows([0])[0], "answers": []}, {**rows([0])[0], "positives": []}):
        with pytest.raises(ValueError, match="none has both answers and positives"):
            calibrate_answers(pipeline(), [row], **OPTIONS)
    for name, value in (("decline", 1.1), ("most_loss", -1)):
        with pytest.raises(ValueError, match=f"{name}={value} must be"):
            calibrate_answers(pipeline(), rows(), **{name: value}, **OPTIONS)


def examples(*answers: list[str]) -> list[EvaluationExample]:
    return read_examples([{"id": str(n), "question": "?", "answers": each} for n, each in enumerate(answers)], [])


def result(answer: str, score: float) -> dict[str, Any]:
    return {
        "answer": answer, "answered": bool(answer), "citations": [], "confidence": score, "retrievals": [],
        "retrieval_confidence": score,
    }  # fmt: skip


def without_costs(score: ExampleScores) -> dict[str, float]:
    return {name: value for name, value in score.answer.items() if name not in COSTS}


def test_the_share_declined_rightly_and_wrongly() -> None:
    results = [result("ash", 0.9), result("bay", 0.3), result("cat", 0.2), result("dog", 0.8)]
    both = [
        without_costs(score)
        for score in score_rag(examples(["ash"], ["bay"], [], []), results, 1, answer_threshold=0.5)
    ]
    assert both == [
        {"exact_match": 1.0, "f1": 1.0, "declined_wrongly": 0.0},
        {"exact_match": 0.0, "f1": 0.0, "declined_wrongly": 1.0},
        {"declined_rightly": 1.0},
        {"declined_rightly": 0.0},
    ]
    answerable = score_rag(examples(["ash"], ["bay"]), results[:2], 1, answer_threshold=0.5)
    assert [score.answer["answered"] for score in answerable] == [1.0, 0.0]
    unlabelled = score_rag(examples([], []), results[:2], 1)
    assert [without_costs(score) for score in unlabelled] == [{"answered": 1.0}, {"answered": 1.0}]


def test_thresholds_are_applied_to_stored_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rag, asked = pipeline(), rows([0, 1])
    report = evaluate_rag(rag, asked, tmp_path, **OPTIONS)
    scores = [one["retrieval_confidence"] for one in stored(tmp_path / "answers.jsonl")]
    assert report.results["retrieved"].all.metrics["answered"].value == 1.0
    assert "answer_threshold" not in report.settings
    generate = rag.model.generate
    monkeypatch.setattr(rag.model, "generate", None)  # nothing is answered again
    between = sum(scores) / 2
    report = evaluate_rag(rag, asked, tmp_path, answer_threshold=between, **OPTIONS)
    assert report.results["retrieved"].all.metrics["answered"].value == 0.5
    assert report.results["retrieved"].all.metrics["exact_match"].value == 0.5
    assert report.settings["answer_threshold"] == between
    assert f"k=1, answer threshold {between:.3f}, float32" in format_report(report)
    monkeypatch.setattr(rag.model, "generate", generate)
    report = evaluate_rag(rag, [asked[0], {**asked[1], "answers": []}], answer_threshold=between, **OPTIONS)
    metrics = report.results["retrieved"].all.metrics
    assert metrics["declined_rightly"].value + metrics["declined_wrongly"].value == 1.0
    assert "declined_rightly" in format_report(report) and "declined_wrongly" in format_report(report)
    monkeypatch.setattr(rag.model, "generate", None)
    monkeypatch.setattr(rag.model.onegen_config, "answer_threshold", 1.0)
    assert evaluate_rag(rag, asked, tmp_path, **OPTIONS).results["retrieved"].all.metrics["answered"].value == 0.0
    report = evaluate_rag(rag, asked, tmp_path, answer_threshold=-math.inf, **OPTIONS)
    assert report.results["retrieved"].all.metrics["answered"].value == 1.0
