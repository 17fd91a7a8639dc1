"""The language of filters: what it holds for, and what it refuses by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from onegen_hf.filters import PassageFilter, filter_rule

META = {
    "lang": "en",
    "year": 2001,
    "rating": 4.5,
    "open": True,
    "gone": None,
    "tags": ["bridge", "steel", 7],
    "author": {"name": "Selma", "born": [1902, 1910]},
    "parts": [{"kind": "deck"}, {"kind": "pier"}],
}


@pytest.mark.parametrize(
    ("filter", "holds"),
    [
        ({}, True),
        ({"lang": "en"}, True),
        ({"lang": "de"}, False),
        ({"lang": "EN"}, False),
        ({"year": 2001}, True),
        ({"year": 2001.0}, True),
        ({"year": "2001"}, False),
        ({"year": {"$gte": 2001}}, True),
        ({"year": {"$gt": 2001}}, False),
        ({"year": {"$gte": 2000, "$lt": 2002}}, True),
        ({"year": {"$gte": "2000"}}, False),
        ({"lang": {"$gt": "de", "$lte": "en"}}, True),
        ({"lang": {"$gt": 5}}, False),
        ({"open": True}, True),
        ({"open": 1}, False),
        ({"year": True}, False),
        ({"gone": None}, True),
        ({"missing": None}, True),
        ({"lang": None}, False),
        ({"lang": {"$ne": None}}, True),
        ({"lang": {"$ne": "de"}}, True),
        ({"missing": {"$ne": "de"}}, True),
        ({"missing": {"$gte": 0}}, False),
        ({"tags": "steel"}, True),
        ({"tags": 7}, True),
        ({"tags": {"$gt": 6}}, True),
        ({"tags": {"$ne": "steel"}}, False),
        ({"tags": {"$in": ["wood", "bridge"]}}, True),
        ({"tags": {"$nin": ["wood", "rope"]}}, True),
        ({"lang": {"$in": ["de", None]}}, False),
        ({"missing": {"$in": ["de", None]}}, True),
        ({"author.name": "Selma"}, True),
        ({"author.born": {"$lt": 1905}}, True),
        ({"author.name.first": "Selma"}, False),
        ({"parts.kind": "pier"}, True),
        ({"author": None}, False),
        ({"lang": "en", "year": 1999}, False),
        ({"$or": [{"lang": "de"}, {"year": 2001}]}, True),
        ({"$and": [{"lang": "de"}, {"year": 2001}]}, False),
        ({"$not": {"lang": "de"}}, True),
        ({"$not": {"lang": "en", "year": 1999}}, True),
        ({"$and": [{"$not": {"$or": [{"lang": "de"}, {"lang": "fr"}]}}, {"open": True}]}, True),
    ],
)
def test_what_a_filter_holds_for(filter: dict[str, Any], holds: bool) -> None:
    assert PassageFilter(filter).matches(META) is holds


@pytest.mark.parametrize("meta", [None, "en", 5, [], [1, "en"]])
def test_a_meta_without_keys_lacks_them_all(meta: Any) -> None:
    assert not PassageFilter({"lang": "en"}).matches(meta)
    assert PassageFilter({"lang": None}).matches(meta)
    assert PassageFilter({"lang": {"$ne": "en"}}).matches(meta)


@pytest.mark.parametrize(
    ("filter", "error", "message"),
    [
        ([], TypeError, r"filter=\[\] must be an object of paths and values"),
        ({1: 2}, TypeError, "the key 1 must be a text"),
        ({"a": {"$gtee": 1}}, ValueError, r"filter\['a'\]\['\$gtee'\].*did you mean '\$gte'"),
        ({"$gte": 1}, ValueError, r"operators such as '\$gte' go below a path"),
        ({"$nor": [{"a": 1}]}, ValueError, r"'\$nor' is no operator here: did you mean '\$or'"),
        ({"a": {}}, ValueError, "says nothing"),
        ({"a..b": 1}, ValueError, "has an empty name"),
        ({"a": {"b": 1}}, ValueError, "nested objects are reached by a path with dots"),
        ({"a": {"$in": []}}, TypeError, "must be a list of values, at least one"),
        ({"a": {"$in": "en"}}, TypeError, "must be a list of values"),
        ({"a": {"$gt": None}}, TypeError, "other values have no order"),
        ({"a": {"$gt": True}}, TypeError, "other values have no order"),
        ({"$or": []}, TypeError, "must be a list of filters"),
        ({"$or": [{"a": 1}, {"b": {"$x": 1}}]}, ValueError, r"filter\['\$or'\]\[1\]\['b'\]\['\$x'\]"),
        ({"a": [1, 2]}, TypeError, r"for one of several write \{'\$in'"),
        ({"a": math.nan}, ValueError, "must be finite"),
        ({"a": "x\0y"}, ValueError, "null character"),
    ],
)
def test_what_is_wrong_is_named(filter: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PassageFilter(filter)


def test_depth_is_bounded() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(40):
        deep = {"$not": deep}
    with pytest.raises(ValueError, match="nested more than 32 deep"):
        PassageFilter(deep)


def test_equal_filters_are_equal() -> None:
    one, other = PassageFilter({"a": 1, "b": 2}), PassageFilter({"b": 2, "a": 1})
    assert one == other and hash(one) == hash(other) and one != PassageFilter({"a": 1})
    assert filter_rule("filter", {}) is None
    assert filter_rule("filter", one) is one
