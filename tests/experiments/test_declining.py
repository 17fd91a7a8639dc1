"""What a threshold declines and costs, by hand."""

from __future__ import annotations

from typing import Any

from experiments.people.declining import declining


def record(score: float | None, f1: float = 0.0, answered: bool = True) -> dict[str, Any]:
    return {"f1": f1, "answered": answered, "scores": [] if score is None else [[0.9], [score]]}


def test_declining_by_hand() -> None:
    asked = [record(0.8, 1.0), record(0.5, 0.5), record(0.3, 1.0), record(None)]
    unanswerable = [record(0.6), record(0.4), record(0.9, answered=False), record(0.2)]
    low, high = declining(asked, unanswerable, [0.35, 0.55])
    assert low == {"threshold": 0.35, "declined_rightly": 0.5, "declined_wrongly": 0.5, "f1_lost": 25.0}
    assert high == {"threshold": 0.55, "declined_rightly": 0.75, "declined_wrongly": 0.75, "f1_lost": 37.5}
