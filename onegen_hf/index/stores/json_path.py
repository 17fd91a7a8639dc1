"""Filters as conditions over SQL/JSON paths."""

from __future__ import annotations

import json
from collections.abc import Callable

from ...filters import AllOf, AnyOf, Comparison, Condition, Membership, Negation
from ...filters.conditions import Scalar

_OPERATORS = {"$eq": "==", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def sql_condition(condition: Condition, exists: Callable[[str], str]) -> str:
    """
    Translate a filter. The result is true or false for every passage, never null.

    Args:
        condition ([`Condition`])
        exists (`Callable[[str], str]`): The SQL for "this JSON path leads to something", true or false.

    Returns:
        `str`: A condition of SQL.
    """
    if isinstance(condition, (AllOf, AnyOf)):
        word = " AND " if isinstance(condition, AllOf) else " OR "
        return f"({word.join(sql_condition(part, exists) for part in condition.parts)})"
    if isinstance(condition, Negation):
        return f"(NOT {sql_condition(condition.part, exists)})"
    if isinstance(condition, Membership):
        tests = " || ".join(_test("$eq", value) for value in condition.values)
        return exists(f"{_path(condition.path)} ? ({tests})")
    assert isinstance(condition, Comparison)
    if condition.value is None:
        return f"(NOT {exists(f'{_path(condition.path)} ? (@ != null)')})"
    return exists(f"{_path(condition.path)} ? ({_test(condition.operator, condition.value)})")


def _path(path: tuple[str, ...]) -> str:
    # [*] looks into a list and leaves another value as it is.
    return "$[*]" + "".join(f".{json.dumps(name, ensure_ascii=False)}[*]" for name in path)


def _test(operator: str, value: Scalar) -> str:
    return f"@ {_OPERATORS[operator]} {json.dumps(value, ensure_ascii=False)}"
