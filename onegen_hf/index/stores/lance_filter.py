"""Filters in the SQL of Lance, over the columns `facts` and `bounds` that are made of [`facts`]."""

from __future__ import annotations

from typing import Any

from ...filters import AllOf, AnyOf, Comparison, Condition, Membership, Negation
from .facts import bound_key, facts, token

_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def fact_columns(meta: Any) -> tuple[list[str], dict[str, Any]]:
    """
    The values of the two columns.

    Args:
        meta (any JSON value)

    Returns:
        `tuple[list[str], dict[str, Any]]`: `facts`, and `bounds`, a JSON object.
    """
    known = facts(meta)
    bounds = {f"{side}_{key}": value for side in ("low", "high") for key, value in known[side].items()}
    return known["is"], bounds


def lance_filter(condition: Condition) -> str:
    """
    Translate a filter. The result is true or false for every passage, never null.

    Args:
        condition ([`Condition`])

    Returns:
        `str`: A condition of SQL.
    """
    if isinstance(condition, (AllOf, AnyOf)):
        word = " AND " if isinstance(condition, AllOf) else " OR "
        return f"({word.join(lance_filter(part) for part in condition.parts)})"
    if isinstance(condition, Negation):
        return f"(NOT {lance_filter(condition.part)})"
    if isinstance(condition, Membership):
        return f"({' OR '.join(_has(token(condition.path, value)) for value in condition.values)})"
    assert isinstance(condition, Comparison)
    if condition.value is None:
        return f"(NOT {_has(token(condition.path))})"
    if condition.operator == "$eq":
        return _has(token(condition.path, condition.value))
    side = "high" if condition.operator in ("$gt", "$gte") else "low"
    key = f"{side}_{bound_key(condition.path, condition.value)}"
    if isinstance(condition.value, str):
        bound, value = f"json_get_string(bounds, '{key}')", literal(condition.value)
    else:
        bound, value = f"json_get_float(bounds, '{key}')", repr(float(condition.value))
    return f"coalesce({bound} {_OPERATORS[condition.operator]} {value}, false)"


def literal(text: str) -> str:
    """A text of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _has(word: str) -> str:
    return f"array_has(facts, '{word}')"
