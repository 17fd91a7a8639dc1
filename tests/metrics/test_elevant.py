"""ELEVANT's treatment of nested and optional labels, worked out by hand from its case generator."""

from __future__ import annotations

from typing import Any

import pytest

from onegen_hf.metrics.elevant import elevant_counts, word_boundary

TEXT = "Ada Moll, Fern Bay's boat-maker, in 1931."
#       0         10        20        30


def label(number: int, start: int, end: int, entity_id: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "span": [start, end], "entity_id": entity_id, **more}


def counts(predictions: Any, labels: list[dict[str, Any]], **document: Any) -> tuple[int, int, int]:
    return elevant_counts(predictions, {"text": TEXT, "labels": labels, **document})


@pytest.mark.parametrize(
    ("span", "text", "widened"),
    [
        ((0, 4), "Moll's boat", (0, 6)),
        ((1, 4), "Moll is", (0, 4)),
        ((1, 9), '"Grey Stone" is a song.', (0, 12)),
        ((3, 7), '"Grey Stone', (1, 10)),  # the opening mark alone is left out, and so is the last character
        ((0, 3), "Tin-boat", (0, 3)),
        ((0, 2), "Tin", (0, 2)),  # the last character of a text
    ],
)
def test_word_boundary(span: tuple[int, int], text: str, widened: tuple[int, int]) -> None:
    assert word_boundary(span, text) == widened


ADA, BAY = label(1, 0, 8, "Q1"), label(2, 10, 18, "Q2")


@pytest.mark.parametrize(
    ("predictions", "labels", "expected"),
    [
        ([(0, 8, "Q1"), (10, 18, "Q2")], [ADA, BAY], (2, 0, 0)),
        ([(10, 20, "Q2")], [ADA, BAY], (1, 0, 1)),  # "Fern Bay's" is the same words
        ([(11, 18, "Q2")], [BAY], (1, 0, 0)),
        ([(10, 14, "Q2")], [BAY], (0, 1, 1)),  # a part of them is not
        ([(0, 8, "Q3")], [ADA], (0, 1, 1)),
        ([(0, 8, None)], [ADA], (0, 0, 1)),
        ([(0, 8, "Q3")], [label(1, 0, 8, "<NIL>")], (0, 1, 0)),
        ([(0, 8, None)], [label(1, 0, 8, "<NIL>")], (0, 0, 0)),
        ([], [label(1, 0, 8, "<NIL>")], (0, 0, 0)),
        ([], [label(1, 0, 8, "Q1", optional=True)], (0, 0, 0)),
        ([(0, 8, "Q1")], [label(1, 0, 8, "Q1", optional=True)], (0, 0, 0)),
        ([(0, 8, "Q3")], [label(1, 0, 8, "Q1", optional=True)], (0, 1, 0)),
        ([(36, 40, "Q1931")], [label(1, 36, 40, "DATETIME", type="DATETIME")], (0, 1, 0)),
        (
            [{"span": [36, 40], "id": "Q1931", "type": "DATETIME"}],
            [label(1, 36, 40, "DATETIME", type="DATETIME")],
            (0, 0, 0),
        ),
        ([(21, 25, "Q7")], [ADA], (0, 1, 1)),
    ],
)
def test_flat_labels(predictions: Any, labels: list[dict[str, Any]], expected: tuple[int, int, int]) -> None:
    assert counts(predictions, labels) == expected


PHRASE = label(1, 0, 18, "Q9", children=[2, 3])
INNER = [label(2, 0, 8, "Q1", parent=1), label(3, 10, 18, "Q2", parent=1)]


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        ([], (0, 0, 1)),  # one error, not three
        ([(0, 18, "Q9")], (1, 0, 0)),
        ([(0, 18, "Q9"), (0, 8, "Q1")], (1, 0, 0)),
        ([(0, 8, "Q1"), (10, 18, "Q2")], (1, 0, 0)),  # right through its parts
        ([(0, 8, "Q1")], (0, 0, 1)),  # the other part is missing
        ([(0, 8, "Q1"), (10, 18, "Q5")], (0, 1, 1)),
        ([(0, 18, "Q5")], (0, 1, 1)),
    ],
)
def test_nested_labels(predictions: Any, expected: tuple[int, int, int]) -> None:
    assert counts(predictions, [PHRASE, *INNER]) == expected


def test_an_optional_label_with_something_required_in_it_is_missed() -> None:
    assert counts([], [{**PHRASE, "optional": True}, *INNER]) == (0, 0, 1)
    optional = [{**inner, "optional": True} for inner in INNER]
    assert counts([], [{**PHRASE, "optional": True}, *optional]) == (0, 0, 0)


def test_a_part_that_spans_the_whole_does_not_count_unless_it_is_right() -> None:
    same = [label(1, 0, 8, "Q9", children=[2]), label(2, 0, 8, "Q1", parent=1)]
    assert counts([(0, 8, "Q5")], same) == (0, 1, 1)
    assert counts([(0, 8, "Q1")], same) == (1, 0, 0)


def test_evaluation_span() -> None:
    assert counts([(21, 25, "Q7"), (0, 8, "Q1")], [ADA], evaluation_span=[0, 20]) == (1, 0, 0)
    assert counts([(15, 25, "Q7"), (0, 8, "Q1")], [ADA], evaluation_span=[0, 20]) == (1, 0, 0)


def test_errors() -> None:
    with pytest.raises(ValueError, match="label 2 refers to the label 1, which is not there"):
        counts([], [INNER[0]])
    with pytest.raises(ValueError, match="an id stands for more than one"):
        counts([], [ADA, ADA])
