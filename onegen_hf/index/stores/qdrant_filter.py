"""Filters in Qdrant's terms."""

from __future__ import annotations

from itertools import product
from typing import Any

from ...filters import AllOf, AnyOf, Comparison, Condition, Membership, Negation

_BOUNDS = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


def qdrant_filter(condition: Condition, models: Any) -> Any:
    """
    Translate a filter. Qdrant looks into lists of values by itself, and treats what is missing as unequal.

    Args:
        condition ([`Condition`])
        models: The module `qdrant_client.models`.

    Returns:
        `qdrant_client.models.Filter`

    Raises:
        `ValueError`: If Qdrant has nothing like it: an order of texts, or a key with a quotation mark.
    """
    if isinstance(condition, AllOf):
        return models.Filter(must=[qdrant_filter(part, models) for part in condition.parts])
    if isinstance(condition, AnyOf):
        return models.Filter(should=[qdrant_filter(part, models) for part in condition.parts])
    if isinstance(condition, Negation):
        return models.Filter(must_not=[qdrant_filter(condition.part, models)])
    if isinstance(condition, Membership):
        equal = [Comparison(condition.path, "$eq", value) for value in condition.values]
        return models.Filter(should=[qdrant_filter(part, models) for part in equal])
    assert isinstance(condition, Comparison)
    if condition.value is None:
        # No value that is not null.
        empty = [models.PayloadField(key=key) for key in _keys(condition.path)]
        return models.Filter(must=[models.IsEmptyCondition(is_empty=field) for field in empty])
    return models.Filter(should=[_leaf(key, condition, models) for key in _keys(condition.path)])


def _leaf(key: str, condition: Comparison, models: Any) -> Any:
    value = condition.value
    if condition.operator == "$eq":
        if isinstance(value, (bool, str)):
            return models.FieldCondition(key=key, match=models.MatchValue(value=value))
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    if isinstance(value, str):
        raise ValueError(
            f"filter[{'.'.join(condition.path)!r}][{condition.operator!r}]={value!r}: Qdrant has no order of texts; "
            "keep a number in `meta`, such as a year"
        )
    return models.FieldCondition(key=key, range=models.Range(**{_BOUNDS[condition.operator]: value}))


def _keys(path: tuple[str, ...]) -> list[str]:
    """The places of a path in the payload: each object on the way may also stand in a list."""
    if any('"' in name for name in path):
        raise ValueError(f"filter[{'.'.join(path)!r}]: Qdrant finds no key with a quotation mark: rename it in `meta`")
    *way, last = ("meta", *map(_quoted, path))
    return [
        ".".join([*(name + ending for name, ending in zip(way, endings, strict=True)), last])
        for endings in product(("", "[]"), repeat=len(way))
    ]


def _quoted(name: str) -> str:
    return name if name.replace("_", "a").replace("-", "a").isalnum() else f'"{name}"'
