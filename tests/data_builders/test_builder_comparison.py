"""The comparison line follows from the sub answers."""

from __future__ import annotations

import datetime

import pytest

from data_builders.multi_hop.comparison import Comparison, compare, order_lines, parse_date


@pytest.mark.parametrize(
    ("text", "year", "day"),
    [
        ("20 April 1927", 1927, (1927, 4, 20)),
        ("April 20, 1927", 1927, (1927, 4, 20)),
        ("Sept 3rd 1927", None, None),
        ("3 Sep. 1927", 1927, (1927, 9, 3)),
        ("11 November 875", 875, (875, 11, 11)),
        ("1927-04-20", 1927, (1927, 4, 20)),
        ("May 1927", 1927, None),
        ("1927", 1927, None),
        ("31 February 1927", None, None),
        ("44 BC", None, None),
        ("3096 Days", None, None),
        ("12", None, None),
        ("German", None, None),
    ],
)
def test_parse_date(text: str, year: int | None, day: tuple[int, int, int] | None) -> None:
    date = parse_date(text)
    assert (date.year if date else None) == year
    assert (date.day if date else None) == (datetime.date(*day) if day else None)


@pytest.mark.parametrize(
    ("answers", "gold", "line"),
    [
        (("20 April 1927", "1960"), "A", "Compare: 1927 < 1960"),
        (("May 1, 1960", "20 April 1927"), "A", "Compare: 1960 > 1927"),
        (("20 April 1927", "May 1, 1927"), "A", "Compare: 1927-04-20 < 1927-05-01"),
        (("20 April 1927", "1927"), "A", "Compare: 1927 = 1927"),
        (("20 April 1927", "April 20, 1927"), "yes", "Compare: 1927-04-20 = 1927-04-20"),
        (("20 April 1927", "April 20, 1927"), "no", None),
        (("French", " french "), "yes", "Compare: French = french"),
        (("French", "German"), "no", "Compare: French != German"),
        (("French", "France"), "yes", None),
        (("French", "French"), "no", None),
        (("French", "French"), "French", "Compare: French = French"),
        (("French", None), "no", None),
    ],
)
def test_line(answers: tuple[str | None, str | None], gold: str, line: str | None) -> None:
    for found in (compare("comparison", answers, gold), compare("bridge_comparison", ("a", "b", *answers), gold)):
        assert (found and found.line) == line


def test_other_types_and_other_numbers_of_hops_have_no_comparison() -> None:
    assert compare("compositional", ("1927", "1960"), "A") is None
    assert compare(None, ("1927", "1960"), "A") is None
    # Who lived longer: the last two answers are the birth and the death of one person.
    assert compare("comparison", ("1900", "1980", "1910", "1950"), "A") is None


NEW_FIRST = Comparison("1960", ">", "1927")
OLD = ["Later: New", "Earlier: Old", "Earlier: Old"]


@pytest.mark.parametrize(
    ("comparison", "titles", "answer", "lines"),
    [
        (NEW_FIRST, ("New", "Old"), "Old", OLD),
        (Comparison("1927", "<", "1960"), ("Old", "New"), "Old", OLD),
        (NEW_FIRST, ("New", "Old", "Someone", "Other"), "new ", ["Later: new", "Earlier: Old", "Later: new"]),
        (NEW_FIRST, ("New (1960 film)", "Old (film)"), "Old", OLD),
        (NEW_FIRST, ("New", "Old (2)"), "Old (2)", ["Later: New", "Earlier: Old (2)", "Earlier: Old (2)"]),
        (NEW_FIRST, ("New (as asked)", "Old"), "Old", ["Later: New (as asked)", *OLD[1:]]),
        (NEW_FIRST, ("New", "Old"), "Older", []),
        (NEW_FIRST, ("New", "new"), "new", []),
        (NEW_FIRST, ("New",), "New", []),
        (Comparison("1927", "=", "1927"), ("Old", "New"), "Old", []),
        (Comparison("French", "!=", "German"), ("Old", "New"), "no", []),
        (None, ("Old", "New"), "Old", []),
    ],
)
def test_order(comparison: Comparison | None, titles: tuple[str, ...], answer: str, lines: list[str]) -> None:
    assert order_lines(comparison, titles, "Which is older, New (as asked) or Old?", answer) == lines
