"""Answer scores on a table worked out by hand from the rules of the official scripts."""

from __future__ import annotations

from typing import Any

import pytest

from onegen_hf.metrics import accuracy, match, squad_scores, squad_v2_scores
from onegen_hf.metrics.answers import answer_f1, exact_match
from onegen_hf.metrics.normalization import normalize_answer


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat, an A-list star.", "cat alist star"),
        ("a", ""),
        ("anthem the", "anthem"),
        ("\tÉcole\n", "école"),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation counts
        ("U.S.", "us"),
        ("", ""),
    ],
)
def test_normalization(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("prediction", "answers", "match", "f1"),
    [
        ("Paris", ["paris"], 1.0, 1.0),
        ("the Paris.", ["London", "Paris"], 1.0, 1.0),
        ("Paris, France", ["Paris"], 0.0, 2 / 3),
        ("14 July 1918", ["July 14, 1918"], 0.0, 1.0),
        ("yes", ["yes"], 1.0, 1.0),
        ("yes it is", ["yes"], 0.0, 0.0),
        ("no", ["no one"], 0.0, 0.0),
        ("", ["Paris"], 0.0, 0.0),
        ("the", ["a"], 1.0, 0.0),  # both empty: equal, but without a shared word
        ("a b b c", ["b b d"], 0.0, 2 * (2 / 3) * (2 / 3) / (2 / 3 + 2 / 3)),  # "a" is an article
        ("new york", ["york new city", "boston"], 0.0, 0.8),
    ],
)
def test_scores(prediction: str, answers: list[str], match: float, f1: float) -> None:
    assert exact_match(prediction, answers) == match
    assert answer_f1(prediction, answers) == pytest.approx(f1)


@pytest.mark.parametrize("metric", [exact_match, answer_f1, squad_scores, squad_v2_scores, match, accuracy])
@pytest.mark.parametrize(
    ("prediction", "answers", "message"),
    [
        (None, ["a"], "prediction=None must be a str"),
        ("a", [5], r"answers\[0\]=5 must be a str"),
        ("a", 5, "answers=5 must be a list of texts"),
        ("a", None, "answers=None must be a list of texts"),
        ("a", "b", "answers is the text 'b'"),
    ],
)
def test_what_is_no_text(metric: Any, prediction: Any, answers: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        metric(prediction, answers)
