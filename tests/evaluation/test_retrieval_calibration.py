"""The threshold for a wished retrieval frequency: hand-worked fits, and the frequency that a model then has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evaluation_setup import pipeline, rows
from support.reflection_setup import reflection_setup

from onegen_hf import OneGenRagPipeline
from onegen_hf.evaluation import RetrievalFrequency, calibrate_retrieval, fit_retrieval_threshold

pytestmark = pytest.mark.xdist_group("evaluation")

OPTIONS: dict[str, Any] = {"max_new_tokens": 24, "batch_size": 2, "show_progress": False}


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        (0.0, RetrievalFrequency(1.0, 0.0)),
        (0.25, RetrievalFrequency(0.75, 0.25)),
        (0.5, RetrievalFrequency(0.5, 0.5)),
        (0.6, RetrievalFrequency(0.5, 0.5)),
        (1.0, RetrievalFrequency(0.0, 1.0)),
    ],
)
def test_between_two_probabilities(frequency: float, expected: RetrievalFrequency) -> None:
    assert fit_retrieval_threshold([0.9, 0.6, 0.4, 0.1], frequency) == expected


def test_equal_probabilities_retrieve_together() -> None:
    assert fit_retrieval_threshold([0.2, 0.8, 0.8, 0.8], 0.5) == RetrievalFrequency(0.5, 0.75)
    assert fit_retrieval_threshold([1.0, 0.0], 0.5) == RetrievalFrequency(0.5, 0.5)


@pytest.mark.parametrize(
    ("probabilities", "frequency", "message"),
    [
        ([], 0.5, "probabilities is empty"),
        ([0.5, 1.5], 0.5, r"probabilities\[1\]=1.5 must be from 0 to 1"),
        ([0.5], 50, "frequency=50 must be from 0 to 1"),
    ],
)
def test_faulty_arguments(probabilities: list[float], frequency: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_retrieval_threshold(probabilities, frequency)


@pytest.mark.parametrize(
    ("with_reflection", "frequency"),
    [
        (True, 0.1),
        (False, 0.5),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((True, 0.5), (True, 0.9), (False, 0.1), (False, 0.9))
        ),
    ],
)
def test_the_frequency_is_met(base_tokenizer: Any, tmp_path: Path, with_reflection: bool, frequency: float) -> None:
    if with_reflection:
        setup, _ = reflection_setup(base_tokenizer)
        rag = OneGenRagPipeline(model=setup.model, tokenizer=setup.tokenizer, index=setup.index, device="cpu")
    else:
        rag = pipeline()
    words = ["boat", "town", "sea", "north", "hill", "bay", "stone", "kite", "who", "where", "is", "red", "grey"]
    questions = [f"{one} {other}?" for one in words for other in words[::4]]
    examples = [{"id": str(n), "question": question} for n, question in enumerate(questions)]
    calibration = calibrate_retrieval(rag, examples, frequency, tmp_path, **OPTIONS)
    assert abs(calibration.chosen.frequency - frequency) <= 0.05
    results = rag(questions, threshold=calibration.chosen.threshold, max_new_tokens=24, batch_size=8)
    retrieved = sum(bool(result.retrievals) for result in results)
    # A retrieval needs one more token after the query token.
    assert retrieved / len(questions) == pytest.approx(calibration.chosen.frequency, abs=0.05)
    again = calibrate_retrieval(rag, examples, frequency, tmp_path, **OPTIONS)
    assert again == calibration and "chosen" in str(again)


def test_unanswered_questions_are_used_too() -> None:
    assert calibrate_retrieval(pipeline(), rows([0, 1]), 0.5, **OPTIONS).examples == 2
