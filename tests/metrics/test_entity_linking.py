"""Entity linking on tables worked out by hand from GERBIL's counters."""

from __future__ import annotations

from typing import Any

import pytest

from onegen_hf.metrics.entity_linking import (
    LinkingCounts,
    average_datasets,
    document_counts,
    linking_scores,
    summarize_counts,
)
from onegen_hf.metrics.mentions import Mention, read_mention

A, B, C = (0, 4, "Q1"), (6, 10, "Q2"), (12, 15, "Q3")


@pytest.mark.parametrize(
    ("predictions", "gold", "strong", "weak"),
    [
        ([A, B], [A, B], (2, 0, 0), (2, 0, 0)),
        ([(1, 3, "Q1")], [A], (0, 1, 1), (1, 0, 0)),
        ([(4, 5, "Q1")], [A], (0, 1, 1), (0, 1, 1)),  # touching is no overlap
        ([(0, 4, "Q9")], [A], (0, 1, 1), (0, 1, 1)),  # the right span, the wrong entity
        ([A, A], [A], (1, 1, 0), (1, 1, 0)),  # each prediction serves once
        ([A], [A, A], (1, 0, 1), (1, 0, 1)),
        ([(0, 2, "Q1"), (2, 4, "Q1")], [A], (0, 2, 1), (1, 1, 0)),
        ([(0, 4, None)], [A], (0, 0, 1), (0, 0, 1)),  # NIL on either side is left out
        ([A], [(0, 4, "<NIL>")], (0, 1, 0), (0, 1, 0)),
        ([(0, 4, "NIL")], [(0, 4, "Unknown7")], (0, 0, 0), (0, 0, 0)),
        ([], [A], (0, 0, 1), (0, 0, 1)),
        ([], [], (0, 0, 0), (0, 0, 0)),
        # The first gold mention takes the first prediction that overlaps, as GERBIL does, not the best.
        ([(0, 10, "Q1"), (0, 4, "Q1")], [(0, 4, "Q1"), (8, 9, "Q1")], (1, 1, 1), (1, 1, 1)),
    ],
)
def test_counts(predictions: Any, gold: Any, strong: Any, weak: Any) -> None:
    assert document_counts([predictions], [gold], "strong") == [strong]
    assert document_counts([predictions], [gold], "weak") == [weak]


def test_micro_and_macro() -> None:
    scores = linking_scores([[A, B], [], [], [C]], [[A, C], [], [A], []])
    assert scores["micro_precision"] == pytest.approx(1 / 3)
    assert scores["micro_recall"] == pytest.approx(1 / 3)
    assert scores["micro_f1"] == pytest.approx(1 / 3)
    # 1/2, then 1 for a document with nothing to find and nothing found, then 0 and 0.
    assert scores["macro_precision"] == scores["macro_recall"] == scores["macro_f1"] == pytest.approx(1.5 / 4)
    assert (scores["tp"], scores["fp"], scores["fn"]) == (1, 2, 2)


def test_macro_f1_is_the_mean_of_f1() -> None:
    scores = summarize_counts([LinkingCounts(1, 0, 3), LinkingCounts(1, 3, 0)])
    assert (scores["macro_precision"], scores["macro_recall"]) == (0.625, 0.625)
    assert scores["macro_f1"] == pytest.approx(0.4)


def test_nothing_anywhere_is_perfect() -> None:
    assert summarize_counts([LinkingCounts(0, 0, 0)])["micro_f1"] == 1.0


def test_redirects_and_unknown_ids() -> None:
    options: Any = {"redirects": {"Q9": "Q8", "Q8": "Q1", "Q5": "Q6", "Q6": "Q5"}, "known_ids": {"Q1", "Q2"}}
    assert document_counts([[(0, 4, "Q9"), (6, 10, "Q77")]], [[A, B, C]], **options) == [(1, 0, 1)]
    assert read_mention((0, 1, "Q5"), {"Q5": "Q6", "Q6": "Q5"}).entity_id in {"Q5", "Q6"}  # a circle ends


def test_evaluation_span_and_optional_labels() -> None:
    document = {
        "evaluation_span": [0, 11],
        "labels": [
            {"span": [0, 4], "entity_id": "Q1", "optional": True},
            {"span": [6, 10], "entity_id": "Q2"},
            {"span": [11, 12], "entity_id": "DATETIME", "type": "DATETIME"},
        ],
    }
    assert document_counts([[B]], [document]) == [(1, 0, 0)]
    assert document_counts([[A, B]], [document]) == [(1, 0, 0)]
    assert document_counts([[(0, 4, "Q7"), C]], [document]) == [(0, 1, 1)]  # C lies outside
    assert document_counts([[(9, 12, "Q7")]], [document]) == [(0, 0, 1)]  # not inside
    # An optional label never takes a prediction from one that counts.
    twice = {"labels": [{"span": [0, 4], "entity_id": "Q1", "optional": True}, {"span": [0, 4], "entity_id": "Q1"}]}
    assert document_counts([[A]], [twice]) == [(1, 0, 0)]


def test_layouts() -> None:
    expected = Mention(0, 4, "Q1")
    for record in (
        A,
        [0, 4, "Q1"],
        {"start": 0, "end": 4, "entity_id": "Q1", "mention": "Boat"},
        {"span": [0, 4], "entity_id": "Q1", "id": 7},
        {"span": [0, 4], "id": "Q1"},
    ):
        assert read_mention(record) == expected
    assert read_mention({"span": [0, 4]}) == Mention(0, 4, None)


def test_datasets_and_their_average() -> None:
    one, two = linking_scores([[A]], [[A]]), linking_scores([[]], [[A]])
    report = average_datasets({"one": one, "two": two})
    assert report["one/micro_f1"] == 1.0
    assert report["two/fn"] == 1.0
    assert report["average/micro_f1"] == report["average/macro_recall"] == 0.5
    assert "average/fn" not in report


def test_errors() -> None:
    with pytest.raises(ValueError, match="matching='exact'"):
        linking_scores([[A]], [[A]], "exact")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="predictions has 1 documents and gold 0"):
        linking_scores([[A]], [])
    with pytest.raises(ValueError, match="no document"):
        linking_scores([], [])
    for bad in ((4, 4, "Q1"), (-1, 3, "Q1"), {"start": 3, "entity_id": "Q1"}, "Q1", (1, 2)):
        with pytest.raises(ValueError, match="mention"):
            linking_scores([[bad]], [[A]])
