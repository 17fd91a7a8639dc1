"""SQuAD 1.1 and 2.0 on tables worked out by hand from the rules of the official scripts."""

from __future__ import annotations

import pytest

from onegen_hf.metrics.squad import squad_scores, squad_v2_scores


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("the Paris.", ["London", "Paris"], 1.0, 1.0),
        ("no one", ["no"], 0.0, 2 / 3),  # HotpotQA would give 0
        ("yes", ["no"], 0.0, 0.0),
        ("", ["Paris"], 0.0, 0.0),
        ("the", ["an"], 1.0, 0.0),
        ("new york city", ["york", "new york"], 0.0, 0.8),
        ("Ünal’s", ["ünal’s"], 1.0, 1.0),
    ],
)
def test_squad(prediction: str, answers: list[str], exact: float, f1: float) -> None:
    assert squad_scores(prediction, answers) == pytest.approx({"exact_match": exact, "f1": f1})


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1", "has_answer"),
    [
        ("", [], 1.0, 1.0, 0.0),
        ("the.", [], 1.0, 1.0, 0.0),
        ("Paris", [], 0.0, 0.0, 0.0),
        ("", ["Paris"], 0.0, 0.0, 1.0),
        ("Paris, France", ["the", "Paris"], 0.0, 2 / 3, 1.0),  # "the" is no answer
        ("the", ["a"], 1.0, 1.0, 0.0),  # here no words at all are a match, unlike in 1.1
    ],
)
def test_squad_v2(prediction: str, answers: list[str], exact: float, f1: float, has_answer: float) -> None:
    expected = {"exact_match": exact, "f1": f1, "has_answer": has_answer}
    assert squad_v2_scores(prediction, answers) == pytest.approx(expected)


def test_answers_must_be_a_list_of_some() -> None:
    with pytest.raises(ValueError, match="answers is empty"):
        squad_scores("x", [])
    with pytest.raises(TypeError, match=r"give a list of acceptable answers, such as \['Paris'\]"):
        squad_scores("x", "Paris")
