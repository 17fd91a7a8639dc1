"""The NIL threshold against all others, and where it is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegen_hf import OneGenConfig
from onegen_hf.linking.threshold import fit_threshold, write_threshold


def f1(scores: list[float], is_right: list[bool], num_gold: int, threshold: float) -> float:
    kept = [right for score, right in zip(scores, is_right, strict=True) if score >= threshold]
    return 2 * sum(kept) / (len(kept) + num_gold)


@pytest.mark.parametrize(
    ("scores", "is_right", "num_gold", "expected"),
    [
        ([0.9, 0.8, 0.3, 0.2], [True, True, False, False], 2, 0.55),
        ([0.9, 0.8, 0.3, 0.2], [True, True, False, True], 3, 0.2),
        ([0.5], [True], 1, 0.5),
        ([0.5, 0.5, 0.25], [True, False, False], 1, 0.375),  # of one score, all are kept or none
        ([0.75, 0.25], [False, False], 5, 0.25),  # nothing helps: all are kept
        ([0.875, 0.75, 0.5, 0.25], [True, False, False, True], 1 + 1, 0.8125),  # 2/3 alone, 4/6 with all
    ],
)
def test_by_hand(scores: Any, is_right: Any, num_gold: int, expected: float) -> None:
    fitted = fit_threshold(scores, is_right, num_gold)
    best = max(f1(scores, is_right, num_gold, other) for other in (*scores, 1.0))
    assert f1(scores, is_right, num_gold, fitted) == best
    if expected != 0.8125:
        assert fitted == expected
    else:  # as good as 0.8125, and it keeps more
        assert fitted == 0.25


MENTIONS = st.lists(st.tuples(st.floats(-1, 1).map(lambda x: round(x, 2)), st.booleans()), min_size=1, max_size=30)


@given(MENTIONS, st.integers(0, 5))
def test_no_threshold_does_better(mentions: list[tuple[float, bool]], missed: int) -> None:
    scores, is_right = [score for score, _ in mentions], [right for _, right in mentions]
    num_gold = max(sum(is_right) + missed, 1)
    fitted = fit_threshold(scores, is_right, num_gold)
    found = f1(scores, is_right, num_gold, fitted)
    others = {other: f1(scores, is_right, num_gold, other) for other in (*scores, 2.0)}
    assert found == max(others.values())
    lowest = min(score for score in scores if score >= fitted)
    assert lowest == min(other for other, value in others.items() if value == found)


def test_neighbouring_floats() -> None:
    assert fit_threshold([1.0000000000000002, 1.0], [True, False], 1) == 1.0000000000000002


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 1), "scores is empty"),
        (([0.5], [True, False], 2), "give one of each per mention"),
        (([0.5, float("inf")], [True, False], 2), r"scores\[1\]=inf must be finite"),
        (([0.5], [False], 0), "num_gold=0 must be at least 1"),
        (([0.5, 0.5], [True, True], 1), "at least the 2 mentions that are right"),
    ],
)
def test_sets_that_cannot_be_fitted(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_threshold(*arguments)


def test_kept_in_the_checkpoint(tmp_path: Path) -> None:
    config = {"model_type": "llama", "onegen": OneGenConfig(scale=7.0).to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_threshold(tmp_path, 0.25)
    written = json.loads((tmp_path / "config.json").read_text())
    assert OneGenConfig.from_dict(written["onegen"]) == OneGenConfig(scale=7.0, link_threshold=0.25)
    assert written["model_type"] == "llama"
    with pytest.raises(ValueError, match="link_threshold=nan must be a finite number"):
        write_threshold(tmp_path, float("nan"))
    (tmp_path / "config.json").write_text("{}")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ValueError, match="no directory of a OneGen checkpoint"):
            write_threshold(folder, 0.5)
