"""Self-RAG's match and accuracy, by hand from the official functions."""

from __future__ import annotations

import pytest

from onegen_hf.metrics.self_rag import accuracy, clean_prediction, closed_answer, match


@pytest.mark.parametrize(
    ("prediction", "answers", "expected"),
    [
        ("She is a singer.", ["painter", "singer"], 1.0),
        ("She is a Singer.", ["singer"], 0.0),  # case counts
        ("a café", ["cafe"], 0.0),
        ("", ["singer"], 0.0),
        ("untrue", ["true"], 1.0),  # any substring
    ],
)
def test_match(prediction: str, answers: list[str], expected: float) -> None:
    assert match(prediction, answers) == expected


@pytest.mark.parametrize(
    ("prediction", "answers", "equal", "contained"),
    [
        ("true", ["true"], 1.0, 1.0),
        ("B", ["A", "B"], 0.0, 0.0),  # only the first answer counts
        ("B: a boat", ["B"], 0.0, 1.0),
        ("", ["false"], 0.0, 0.0),
    ],
)
def test_accuracy(prediction: str, answers: list[str], equal: float, contained: float) -> None:
    assert accuracy(prediction, answers) == equal
    assert accuracy(prediction, answers, contained=True) == contained


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("[Retrieval]<paragraph>A\nB</paragraph>[Relevant]true[Fully supported][Utility:5]</s>", "ABtrue"),
        ("#true", "true"),
        ("::x", ":x"),
        ("", ""),
        ("The evidence SUPPORTS it, nothing REFUTES it", "true"),
        ("REFUTES", "false"),
    ],
)
def test_clean_prediction(text: str, clean: str) -> None:
    assert clean_prediction(text) == clean


def test_closed_answer() -> None:
    assert closed_answer("A or C, so C: a boat", choices="ABCD") == "C"
    assert closed_answer("none", choices="ABCD") == "none"
    assert closed_answer("TRUE", pubhealth=True) == "true"
    assert closed_answer("SUPPORTS", pubhealth=True) == "true"
    assert closed_answer("REFUTES", pubhealth=True) == "REFUTES"
    assert closed_answer("it is true, not false", pubhealth=True, choices=["true", "false"]) == "false"


def test_answers_must_be_given() -> None:
    with pytest.raises(ValueError, match="answers is empty"):
        match("x", [])
    with pytest.raises(TypeError, match="give a list"):
        accuracy("x", "true")
