"""Filters in Milvus' terms, over the field [`facts`]."""

from __future__ import annotations

import json

from ...filters import AllOf, AnyOf, Comparison, Condition, Membership, Negation
from .facts import bound_key, token

_OPPOSITE = {"$gt": "<=", "$gte": "<", "$lt": ">=", "$lte": ">"}
_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def milvus_filter(condition: Condition, negated: bool = False) -> str:
    """
    Translate a filter, with negations carried to the comparisons.

    Args:
        condition ([`Condition`])
        negated (`bool`, *optional*, defaults to `False`)

    Returns:
        `str`: An expression over the field `facts`.
    """
    if isinstance(condition, Negation):
        return milvus_filter(condition.part, not negated)
    if isinstance(condition, (AllOf, AnyOf)):
        word = " and " if isinstance(condition, AllOf) is not negated else " or "
        return f"({word.join(milvus_filter(part, negated) for part in condition.parts)})"
    if isinstance(condition, Membership):
        return _contains([token(condition.path, value) for value in condition.values], negated)
    assert isinstance(condition, Comparison)
    if condition.value is None:
        return _contains([token(condition.path)], not negated)
    if condition.operator == "$eq":
        return _contains([token(condition.path, condition.value)], negated)
    side = "high" if condition.operator in ("$gt", "$gte") else "low"
    field = f'facts["{side}"]["{bound_key(condition.path, condition.value)}"]'
    value = json.dumps(condition.value, ensure_ascii=False)
    if negated:
        return f"({field} {_OPPOSITE[condition.operator]} {value} or not exists {field})"
    return f"({field} {_OPERATORS[condition.operator]} {value})"


def _contains(tokens: list[str], negated: bool) -> str:
    known = " or ".join(f'json_contains(facts["is"], "{word}")' for word in tokens)
    return f"not ({known})" if negated else f"({known})"
